//! The registry of all candidates: one nginx that serves the same files publicly and behind a token.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use regauth_tests::certificates::Authority;
use regauth_tests::nginx::Nginx;
use tempfile::TempDir;

use crate::crate_index;

/// Running registry. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct TestRegistry {
    nginx: Nginx,
    authority: Authority,
    folder: TempDir,
}

impl TestRegistry {
    /// Starts nginx with a large file of the given size in bytes.
    pub(crate) fn start(large_file_size: u64) -> Self {
        let authority = Authority::new("Corp Root");
        let folder = memory_folder();
        fill(folder.path(), large_file_size);
        let files = folder.path().display();
        let serve = format!("alias {files}/; dav_methods PUT; client_body_temp_path {files}/incoming;");
        let nginx = Nginx::builder(&authority.issue(&[HOST, UNCONFIGURED_HOST]))
            .host(HOST)
            .workers(available_parallelism().map_or(1, usize::from))
            .http(&format!(
                "map $http_authorization $known {{ default 0; '~^Bearer {TOKEN_PREFIX}[0-9]+$' 1; }}\n\
                 open_file_cache max=2000 inactive=600s; open_file_cache_valid 600s;\n"
            ))
            .server("access_log off; keepalive_requests 1000000000;\n")
            .location(&format!("/{PUBLIC}/"), &serve)
            .location(&format!("/{PROTECTED}/"), &format!("{REQUIRE_TOKEN} {serve}"))
            .location(&format!("= /{PUBLIC}/index/config.json"), &config(PUBLIC))
            .location(
                &format!("= /{PROTECTED}/index/config.json"),
                &format!("{REQUIRE_TOKEN} {}", config(PROTECTED)),
            )
            .start();
        Self {
            nginx,
            authority,
            folder,
        }
    }

    /// URL of a file: `https://localhost:PORT/PREFIX/NAME`.
    pub(crate) fn url(&self, prefix: &str, name: &str) -> String {
        self.nginx.url(&format!("/{prefix}/{name}"))
    }

    /// Host and port: `localhost:PORT`.
    pub(crate) fn authority(&self) -> String {
        self.nginx.authority()
    }

    /// Another certificate for the registry's name and its key, in one PEM text.
    pub(crate) fn certificate_and_key(&self) -> String {
        let certificate = self.authority.issue(&[HOST]);
        [certificate.chain_file(), certificate.key_file()]
            .map(|file| fs::read_to_string(file).unwrap())
            .concat()
    }

    /// PEM file with the root that signed the registry's certificate.
    pub(crate) fn roots(&self) -> PathBuf {
        self.authority.file()
    }

    /// Folder with the files that both prefixes serve.
    pub(crate) fn files(&self) -> &Path {
        self.folder.path()
    }
}

/// nginx directive for the index's `config.json`. Its URLs use the request's host and port, so that downloads take the
/// client's way, for example over the link emulator.
fn config(prefix: &str) -> String {
    let base = format!("https://$http_host/{prefix}");
    format!(r#"return 200 '{{"dl":"{base}/crates","api":"{base}"}}';"#)
}

/// Creates a temporary folder in memory if possible, so that the benchmark does not measure the disk.
///
/// ext4 would slow down: it searches for space among recently deleted files, and every `cargo fetch` leaves thousands.
pub(crate) fn memory_folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn fill(folder: &Path, large_file_size: u64) {
    fs::write(folder.join(SMALL), [b'x'; 1024]).unwrap();
    for part in ["index", "crates"] {
        symlink(crate_index::folder().join(part), folder.join(part)).unwrap();
    }
    File::create(folder.join(LARGE))
        .unwrap()
        .set_len(large_file_size)
        .unwrap();
}

const REQUIRE_TOKEN: &str = "if ($known = 0) { return 401; }";

/// Host name of the registry.
pub(crate) const HOST: &str = "localhost";

/// Another name of the same server, which no proxy is configured to intercept.
pub(crate) const UNCONFIGURED_HOST: &str = "127.0.0.1";

/// Path prefix of the files that need no token.
pub(crate) const PUBLIC: &str = "open";

/// Path prefix of the files that need a token: [`TOKEN_PREFIX`] followed by digits.
pub(crate) const PROTECTED: &str = "api";

/// First characters of every accepted token.
pub(crate) const TOKEN_PREFIX: &str = "bench-t0ken-";

/// Name of a file of 1 KiB.
pub(crate) const SMALL: &str = "small";

/// Name of a large file of zeros.
pub(crate) const LARGE: &str = "large";
