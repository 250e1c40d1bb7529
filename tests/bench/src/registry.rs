//! The registry that everybody asks: one nginx, with what is open and the same behind a token.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use regauth_tests::certificates::Authority;
use regauth_tests::nginx::Nginx;
use tempfile::TempDir;

use crate::shelf::shelf;

/// A running registry.
#[derive(Debug)]
pub(crate) struct Origin {
    nginx: Nginx,
    authority: Authority,
    folder: TempDir,
}

impl Origin {
    /// Starts it, with a large file of this length.
    pub(crate) fn start(large: u64) -> Self {
        let authority = Authority::new("Corp Root");
        let folder = folder();
        fill(folder.path(), large);
        let files = folder.path().display();
        let serve = format!("alias {files}/; dav_methods PUT; client_body_temp_path {files}/incoming;");
        let nginx = Nginx::builder(&authority.issue(&[HOST, STRANGER]))
            .host(HOST)
            .workers(available_parallelism().map_or(1, usize::from))
            .http(&format!(
                "map $http_authorization $known {{ default 0; '~^Bearer {TOKEN}[0-9]+$' 1; }}\n\
                 open_file_cache max=2000 inactive=600s; open_file_cache_valid 600s;\n"
            ))
            .server("access_log off; keepalive_requests 1000000000;\n")
            .location(&format!("/{OPEN}/"), &serve)
            .location(&format!("/{GUARDED}/"), &format!("{CHECK} {serve}"))
            .location(&format!("= /{OPEN}/index/config.json"), &config(OPEN))
            .location(
                &format!("= /{GUARDED}/index/config.json"),
                &format!("{CHECK} {}", config(GUARDED)),
            )
            .start();
        Self {
            nginx,
            authority,
            folder,
        }
    }

    /// `https://localhost:PORT/SECTION/NAME`.
    pub(crate) fn url(&self, section: &str, name: &str) -> String {
        self.nginx.url(&format!("/{section}/{name}"))
    }

    /// `localhost:PORT`.
    pub(crate) fn authority(&self) -> String {
        self.nginx.authority()
    }

    /// The root that vouches for it.
    pub(crate) fn roots(&self) -> PathBuf {
        self.authority.file()
    }

    /// The folder that both sections serve.
    pub(crate) fn files(&self) -> &Path {
        self.folder.path()
    }
}

/// The index's `config.json`: the registry is wherever the client came from, be it over the wire.
fn config(section: &str) -> String {
    let place = format!("https://$http_host/{section}");
    format!(r#"return 200 '{{"dl":"{place}/crates","api":"{place}"}}';"#)
}

/// A folder in memory where that is possible: no disk is measured. ext4 would be felt: it looks for a place among the files
/// that were deleted in the last seconds, and every `cargo fetch` leaves thousands of them.
pub(crate) fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn fill(folder: &Path, large: u64) {
    fs::write(folder.join(SMALL), [b'x'; 1024]).unwrap();
    for part in ["index", "crates"] {
        symlink(shelf().join(part), folder.join(part)).unwrap();
    }
    File::create(folder.join(LARGE)).unwrap().set_len(large).unwrap();
}

const CHECK: &str = "if ($known = 0) { return 401; }";

/// The registry's name.
pub(crate) const HOST: &str = "localhost";

/// The same server by a name that nobody configured.
pub(crate) const STRANGER: &str = "127.0.0.1";

/// The section that asks for no token.
pub(crate) const OPEN: &str = "open";

/// The section that does: every token that begins with [`TOKEN`] and ends with digits is good.
pub(crate) const GUARDED: &str = "api";

/// How tokens begin.
pub(crate) const TOKEN: &str = "bench-t0ken-";

/// A file of 1 KiB.
pub(crate) const SMALL: &str = "small";

/// A large file of zeros.
pub(crate) const LARGE: &str = "large";
