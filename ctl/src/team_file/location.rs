//! Location of a team's file: a file, a folder at or below the one that has it, or an https URL.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use regauth_shared::ErrorBody;
use url::Url;

use super::certificates::{CaFile, read_bounded, read_inside};
use super::{FILE_NAME, MAX_BYTES};
use crate::child_output::{self, Limits};
use crate::error;
use crate::index::ProxySettings;
use crate::program::on_path;
use crate::progress::Progress;

/// Location as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// Path of a file or folder.
    Path(PathBuf),
    /// https URL.
    Url(Url),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Ok(Self::Path(text.into()));
        }
        let url = Url::parse(text).map_err(|error| format!("it is not a URL: {error}"))?;
        let has_password = !url.username().is_empty() || url.password().is_some();
        match url.scheme() {
            "https" if has_password => Err("the URL contains a user name or a password".to_owned()),
            "https" => Ok(Self::Url(url)),
            _ => Err("only https:// URLs are read: others could be changed on the way".to_owned()),
        }
    }
}

/// A team's file that was found, and its text.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path or URL, for messages.
    pub(crate) title: String,
    /// Text.
    pub(crate) text: String,
    base: Base,
}

/// Place of the files beside it.
#[derive(Debug)]
enum Base {
    Folder(PathBuf),
    /// URL of the file, and the end of the time for it and the files beside it.
    Url(Url, Instant),
}

impl Source {
    /// Finds and reads the file. `settings` are for a URL, which is read through the proxy.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub(crate) fn open(
        location: &Location,
        settings: impl FnOnce() -> Result<(String, String), ErrorBody>,
    ) -> Result<Self, ErrorBody> {
        match location {
            Location::Path(path) => Self::at(&find(path)?),
            Location::Url(url) => {
                let until = Instant::now() + MAX_TIME;
                Ok(Self {
                    title: url.to_string(),
                    text: fetch(url, &settings()?, until)?,
                    base: Base::Url(url.clone(), until),
                })
            }
        }
    }

    fn at(file: &Path) -> Result<Self, ErrorBody> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(Self {
            title: file.display().to_string(),
            text: read_bounded(file)?,
            base: Base::Folder(folder.unwrap_or(Path::new(".")).to_owned()),
        })
    }

    /// Folder of the file, if it is not a URL.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.base {
            Base::Folder(folder) => Some(folder),
            Base::Url(..) => None,
        }
    }

    /// Reads a CA file that the team's file names.
    ///
    /// # Errors
    /// It cannot be read, lies elsewhere, or is no CA file.
    pub(crate) fn ca_file(
        &self,
        name: &str,
        settings: impl FnOnce() -> Result<(String, String), ErrorBody>,
    ) -> Result<CaFile, ErrorBody> {
        let text = match &self.base {
            Base::Folder(folder) => read_inside(folder, name)?,
            Base::Url(url, until) => {
                let beside = url.join(name).ok().filter(|beside| is_below(url, beside));
                let beside = beside.ok_or_else(|| error::usage("the CA file does not lie beside the URL"))?;
                fetch(&beside, &settings()?, *until)?
            }
        };
        CaFile::parse(name, text)
    }
}

/// True if a URL is in the folder of another, or below it.
fn is_below(file: &Url, other: &Url) -> bool {
    let folder = file.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    file.origin() == other.origin() && other.path().starts_with(&format!("{folder}/"))
}

/// True if the current folder, or one above it in the same repository, has a team's file.
pub(crate) fn is_in_repository() -> bool {
    find(Path::new(".")).is_ok()
}

/// The file itself; or `regauth.toml` in a folder, or in one above it as far as the repository reaches.
fn find(path: &Path) -> Result<PathBuf, ErrorBody> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let start = fs::canonicalize(path).map_err(error::io(format!("cannot read {}", path.display())))?;
    for folder in start.ancestors() {
        let file = folder.join(FILE_NAME);
        if file.is_file() {
            return require_own(&start, file);
        }
        // The root of a repository; in a worktree it is a file.
        if folder.join(".git").exists() {
            break;
        }
    }
    let message = format!("there is no {FILE_NAME} in {} or above it", path.display());
    Err(error::usage(message).hint("give its path: regauthctl add-registry --from path/to/regauth.toml"))
}

/// Refuses a file that another user has put into a folder above: in /tmp anybody could.
fn require_own(start: &Path, file: PathBuf) -> Result<PathBuf, ErrorBody> {
    let owner = fs::metadata(&file).map(|metadata| metadata.uid());
    let own = rustix::process::getuid().as_raw();
    let is_trusted = file.parent() == Some(start) || owner.is_ok_and(|owner| owner == own || owner == 0);
    match is_trusted {
        true => Ok(file),
        false => {
            let message = format!("{} belongs to another user", file.display());
            Err(error::refused(message).hint("if that is the right one, give its path"))
        }
    }
}

/// Fetches a text with curl through the proxy, before `until`. No redirect is followed: it could lead to another host.
fn fetch(url: &Url, (proxy, bundle): &(String, String), until: Instant) -> Result<String, ErrorBody> {
    let settings = ProxySettings { proxy, bundle };
    let curl = on_path("curl").ok_or_else(|| {
        error::failed("curl is needed to read a URL, and is not installed").hint("download the file, and give its path")
    })?;
    let _progress = Progress::start("reading the file");
    let left = time_until(until);
    let limits = Limits {
        bytes: MAX_BYTES + STATUS_BYTES,
        // curl's own limit comes first, with a better message.
        time: left + Duration::from_secs(1),
    };
    let output = child_output::read(&mut command(&curl, url, &settings, left), "", limits);
    let output = output.map_err(|error| {
        error::failed(format!("cannot read {url}: {error}")).hint("download the file, and give its path")
    })?;
    let stdout = String::from_utf8(output.stdout).map_err(|_| error::failed(format!("{url} is not text")))?;
    let (text, status) = stdout.rsplit_once('\n').unwrap_or((&stdout, ""));
    match (output.status.success(), status) {
        (true, "200") if text.len() as u64 <= MAX_BYTES => Ok(text.to_owned()),
        (true, "200") => Err(error::failed(format!("{url} is longer than {MAX_BYTES} bytes"))),
        (true, "301" | "302" | "303" | "307" | "308") => {
            Err(error::failed(format!("{url} is redirected")).hint("give the URL that it leads to"))
        }
        (true, status) => Err(error::failed(format!("{url} answered {status}")).hint("check the URL in a browser")),
        (false, _) => {
            let reason = output.stderr.trim();
            Err(error::failed(format!("cannot read {url}: {reason}")).hint("check the URL and the network"))
        }
    }
}

/// curl for one transfer. Without `--globoff`, a `[1-1000]` in the URL would be a thousand, each with a time limit of its own.
fn command(curl: &Path, url: &Url, settings: &ProxySettings<'_>, left: Duration) -> Command {
    let mut command = Command::new(curl);
    command
        .args(["-q", "--globoff", "--silent", "--show-error", "--proto", "=https"])
        .args(["--max-time", &format!("{:.3}", left.as_secs_f64())])
        .args(["--max-filesize", &MAX_BYTES.to_string(), "--noproxy", ""])
        .args(["--proxy", settings.proxy, "--cacert", settings.bundle])
        .args(["--write-out", "\n%{http_code}"])
        .arg(url.as_str());
    command
}

/// Time that is left. It is never zero, which curl takes for no limit.
fn time_until(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(MIN_TIME)
}

/// Longest time for a team's file at a URL with all CA files beside it.
const MAX_TIME: Duration = Duration::from_secs(30);
/// Shortest time that curl is given.
const MIN_TIME: Duration = Duration::from_millis(1);
/// Length of what `--write-out` adds.
const STATUS_BYTES: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_https_and_has_no_password() {
        assert!(matches!("regauth.toml".parse(), Ok(Location::Path(_))));
        assert!(matches!("https://x.example/regauth.toml".parse(), Ok(Location::Url(_))));
        for bad in [
            "http://x.example/r",
            "file:///etc/passwd",
            "https://u:p@x.example/r",
            "https://",
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_stands_for_the_file_in_it_or_above_as_far_as_the_repository_reaches() {
        let home = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(home.path()).unwrap();
        let (repository, inner) = (root.join("repository"), root.join("repository/a/b"));
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir(repository.join(".git")).unwrap();
        fs::write(root.join(FILE_NAME), "outside").unwrap();
        assert!(find(&inner).is_err(), "beyond the repository");
        fs::write(repository.join(FILE_NAME), "inside").unwrap();
        assert_eq!(find(&inner).unwrap(), repository.join(FILE_NAME));
        assert_eq!(find(Path::new("some/file")).unwrap(), Path::new("some/file"));
    }

    #[test]
    fn curl_makes_one_transfer_within_the_time_that_is_left() {
        let settings = ProxySettings {
            proxy: "http://127.0.0.1:1",
            bundle: "/bundle.pem",
        };
        let url: Url = "https://x.example/[1-9].toml".parse().unwrap();
        let command = command(Path::new("/usr/bin/curl"), &url, &settings, Duration::from_millis(1500));
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_str().unwrap()).collect();
        // curlrc could have any other option.
        assert_eq!(arguments[..2], ["-q", "--globoff"]);
        assert!(
            arguments.windows(2).any(|pair| pair == ["--max-time", "1.500"]),
            "{arguments:?}"
        );
    }

    #[test]
    fn a_time_that_has_passed_is_not_no_limit() {
        assert_eq!(time_until(Instant::now()), MIN_TIME);
        assert!(time_until(Instant::now() + MAX_TIME) <= MAX_TIME);
    }

    #[test]
    fn files_beside_a_url_stay_on_its_host_and_in_its_folder() {
        let file: Url = "https://x.example/team/regauth.toml".parse().unwrap();
        for (name, expected) in [
            ("ca.pem", true),
            ("sub/ca.pem", true),
            ("//evil.example/team/ca.pem", false),
            ("../ca.pem", false),
        ] {
            assert_eq!(is_below(&file, &file.join(name).unwrap()), expected, "{name}");
        }
    }
}
