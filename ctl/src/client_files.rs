//! Files that the environment names, for clients without variables for the proxy or the bundle: RubyGems, Bundler and PHP.

use std::fs;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use crate::daemon_info::DaemonInfo;
use crate::environment::Variable;
use crate::{error, text_file};

/// File of regauth's own, and the variable that names it.
#[derive(Debug)]
pub(crate) struct ClientFile {
    /// Role of the file, in the record of `setup`.
    pub(crate) role: &'static str,
    /// Path of the file.
    pub(crate) path: PathBuf,
    /// Whole text of the file.
    pub(crate) text: String,
    variable: &'static str,
    /// True if the client reads its usual files only for an empty entry of the list.
    needs_empty_entry: bool,
    value: PathBuf,
}

impl ClientFile {
    /// Variable that names the file after those of `current`. Both clients read a list.
    pub(crate) fn variable(&self, current: impl Fn(&str) -> Option<String>) -> Variable {
        let ours = self.value.display().to_string();
        let current = current(self.variable).unwrap_or_default();
        let kept: Vec<_> = current.split(':').filter(|entry| *entry != ours).collect();
        let kept = kept.join(":");
        let value = if kept.is_empty() && !self.needs_empty_entry {
            ours
        } else {
            format!("{kept}:{ours}")
        };
        (self.variable.to_owned(), Some(value))
    }

    /// True if the file exists. A private daemon has none: its folder must be empty when it ends.
    pub(crate) fn is_written(&self) -> bool {
        self.path.exists()
    }

    fn write(&self) -> Result<(), ErrorBody> {
        let path = self.path.display().to_string();
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let written =
            fs::create_dir_all(folder).and_then(|()| text_file::write_private(&self.path, self.text.as_bytes()));
        written.map_err(error::io(format!("cannot write {path}")))
    }
}

/// All files. A path that breaks a client's list of files has none.
pub(crate) fn all(info: &DaemonInfo) -> Vec<ClientFile> {
    let folder = info.state.join("clients");
    if folder.display().to_string().contains(':') {
        return Vec::new();
    }
    let (proxy, bundle) = (&info.proxy, &info.bundle);
    let (gemrc, php) = (folder.join("gemrc"), folder.join("php"));
    vec![
        ClientFile {
            role: "gemrc",
            // RubyGems 3.3 ignores `http_proxy` with a colon in front, and `ssl_ca_cert` without one.
            text: format!("http_proxy: {proxy}\n:ssl_ca_cert: {bundle}\n"),
            variable: "GEMRC",
            needs_empty_entry: false,
            value: gemrc.clone(),
            path: gemrc,
        },
        ClientFile {
            role: "php",
            text: format!("curl.cainfo = \"{bundle}\"\nopenssl.cafile = \"{bundle}\"\n"),
            variable: "PHP_INI_SCAN_DIR",
            needs_empty_entry: true,
            path: php.join("regauth.ini"),
            value: php,
        },
    ]
}

/// Writes all files.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(info: &DaemonInfo) -> Result<(), ErrorBody> {
    all(info).iter().try_for_each(ClientFile::write)
}
