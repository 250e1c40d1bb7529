//! Wall clock and disk of a daemon under the control of the test, by a library that is loaded before libc (Linux).
//!
//! The monotonic clock stays as it is. A sync blocks while its file's path contains a text that the test has set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::daemon::Builder;
use crate::{exec, poll};

/// Compiled library and its control files.
#[derive(Debug)]
pub struct SystemShim {
    folder: TempDir,
}

impl SystemShim {
    /// Compiles the library.
    ///
    /// # Panics
    /// When cc fails.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let source = folder.path().join("shim.c");
        fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
        compiler.arg(library(folder.path())).arg(&source).arg("-ldl");
        exec::run(&mut compiler).succeeds();
        Self { folder }
    }

    /// Loads the library into the daemon of `builder`.
    pub fn load_into(&self, builder: Builder) -> Builder {
        let folder = self.folder.path().display().to_string();
        builder
            .env("LD_PRELOAD", &library(self.folder.path()).display().to_string())
            .env("SHIM_FOLDER", &folder)
    }

    /// Sets the wall clock forward or back by so many seconds.
    pub fn shift_clock(&self, seconds: i64) {
        self.set("clock", &seconds.to_string());
    }

    /// Blocks syncs of files whose path contains `text`.
    pub fn hold_syncs(&self, text: &str) {
        self.set("hold", text);
    }

    /// Waits until a sync is blocked.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`].
    pub fn wait_for_held_sync(&self) {
        let mark = self.folder.path().join("held");
        poll::wait_for("a blocked sync", || mark.exists().then_some(()));
    }

    /// Lets blocked syncs go on, and blocks no more.
    pub fn release_syncs(&self) {
        let _ = fs::remove_file(self.folder.path().join("hold"));
    }

    /// Makes [`SystemShim::wait_for_held_sync`] wait for another one.
    pub fn forget_held_syncs(&self) {
        let _ = fs::remove_file(self.folder.path().join("held"));
    }

    /// Written whole, because the library may read at any time.
    fn set(&self, name: &str, text: &str) {
        let draft = self.folder.path().join("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, self.folder.path().join(name)).unwrap();
    }
}

impl Default for SystemShim {
    fn default() -> Self {
        Self::new()
    }
}

fn library(folder: &Path) -> PathBuf {
    folder.join("shim.so")
}

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int content(const char *name, char *text, size_t size) {
    const char *folder = getenv("SHIM_FOLDER");
    static __thread char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "/nowhere", name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, size - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    return length > 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    char text[64];
    if (clock == CLOCK_REALTIME && content("clock", text, sizeof text)) now->tv_sec += atol(text);
    return result;
}

static void hold(int file) {
    char link[64], path[PATH_MAX], text[PATH_MAX], mark[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    while (content("hold", text, sizeof text) && strstr(path, text)) {
        snprintf(mark, sizeof mark, "%s/held", getenv("SHIM_FOLDER"));
        int made = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (made >= 0) close(made);
        usleep(10 * 1000);
    }
}

int fsync(int file) {
    hold(file);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
    hold(file);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
"#;
