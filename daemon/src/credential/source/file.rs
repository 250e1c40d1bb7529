//! A token in a file: a mounted secret, a systemd credential, something that an agent writes.
//!
//! The refresher looks at the file when [`crate::file_watch`] reports a change, and from time to time. A look is one stat
//! that follows links. Only a file that differs is read. On a local file system the stat takes a microsecond, so it needs no
//! other thread: a thousand files cost little.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use regauth_shared::Secret;
use zeroize::Zeroizing;

use crate::configured_file;
use crate::credential::source::environment::{PEM_BEGIN, parse_pem};
use crate::credential::source::{FetchError, FetchedToken};
use crate::file_stamp::FileStamp;
use crate::file_watch::{FileWatch, FileWatcher};

/// A file with a token, and its stamp at the last read.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    watch: FileWatch<1>,
    last_read: Option<FileStamp>,
}

impl WatchedFile {
    /// A file that has not been read.
    pub(crate) fn new(path: &Path, watcher: &Arc<FileWatcher>) -> Self {
        Self {
            path: path.to_owned(),
            watch: FileWatch::new(watcher, [path.to_owned()]),
            last_read: None,
        }
    }

    /// Waits until the file is to be looked at. Cancel safe.
    pub(crate) async fn until_look(&self) {
        self.watch.until_look(CHECK_INTERVAL).await;
    }

    /// True if the file differs from the last read.
    pub(crate) async fn has_changed(&mut self) -> bool {
        let [stamp] = self.watch.look().await;
        stamp != self.last_read
    }

    /// Reads the token, which is the file's one line.
    ///
    /// # Errors
    /// [`FetchError`] if the file cannot be read or holds no token.
    pub(crate) async fn read(&mut self) -> Result<FetchedToken, FetchError> {
        // An absent or unusable file is not read again until it changes.
        [self.last_read] = self.watch.look().await;
        let (text, stamp) = read_whole(&self.path).await?;
        self.last_read = Some(stamp);
        let secret = Secret::parse(&text)
            .map_err(|invalid| FetchError::new(format!("what {} holds is no token: {invalid}", self.path.display())))?;
        Ok(FetchedToken {
            secret,
            expires: None,
            ttl: None,
        })
    }
}

/// Reads a secret from a file once: one line, or a private key in PEM.
///
/// # Errors
/// [`FetchError`] if the file cannot be read or holds no secret.
pub(super) async fn read_secret(path: &Path) -> Result<Secret, FetchError> {
    let (text, _) = read_whole(path).await?;
    let secret = match text.starts_with(PEM_BEGIN) {
        true => parse_pem(&text),
        false => Secret::parse(&text).map_err(|invalid| invalid.to_string()),
    };
    secret.map_err(|invalid| FetchError::new(format!("what {} holds is no secret: {invalid}", path.display())))
}

/// Reads a document, such as a credentials file in JSON, once.
///
/// # Errors
/// [`FetchError`] if the file cannot be read.
pub(super) async fn read_document(path: &Path) -> Result<Zeroizing<String>, FetchError> {
    Ok(read_whole(path).await?.0)
}

async fn read_whole(path: &Path) -> Result<(Zeroizing<String>, FileStamp), FetchError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || contents(&owned)).await;
    let read = read.map_err(io::Error::from).flatten();
    read.map_err(|error| FetchError::new(format!("cannot read {}: {error}", path.display())))
}

/// Reads until the stamp is the same before and after: a program may be writing the file in place.
fn contents(path: &Path) -> io::Result<(Zeroizing<String>, FileStamp)> {
    let mut before = FileStamp::of(path)?;
    for _ in 0..MAX_READS {
        let text = read_text(path)?;
        let after = FileStamp::of(path)?;
        if before == after {
            return Ok((text, after));
        }
        before = after;
    }
    Err(io::Error::other("it does not stop changing"))
}

fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = configured_file::open(path)?;
    // A start reads all files at once, so each gets only the memory that it needs.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(READ_LIMIT);
    let mut text = Zeroizing::new(String::with_capacity(length.min(READ_LIMIT)));
    file.take(READ_LIMIT as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// Time between two looks at a file whose changes are not reported.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Twice the length of the longest [`Secret`], in bytes.
const READ_LIMIT: usize = 32 * 1024;
const MAX_READS: usize = 5;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn notices_every_way_to_replace_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let mut file = watched(&path);
        assert!(file.read().await.unwrap_err().message.contains("cannot read"));
        assert!(!file.has_changed().await, "it is still absent");

        fs::write(&path, "one\n").unwrap();
        assert_eq!(found(&mut file).await, "one");
        fs::write(&path, "two").unwrap();
        assert_eq!(found(&mut file).await, "two");
        let beside = folder.path().join("new");
        fs::write(&beside, "six").unwrap();
        fs::rename(&beside, &path).unwrap();
        assert_eq!(found(&mut file).await, "six");
        assert!(!file.has_changed().await);
        fs::remove_file(&path).unwrap();
        assert!(file.has_changed().await);
    }

    /// Kubernetes links `token` to `..data/token`, and replaces the link `..data` to a folder.
    #[tokio::test]
    async fn follows_links_that_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let link = |target: &str, name: &str| {
            let beside = folder.path().join("link");
            std::os::unix::fs::symlink(target, &beside).unwrap();
            fs::rename(&beside, folder.path().join(name)).unwrap();
        };
        for (version, token) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(folder.path().join(version)).unwrap();
            fs::write(folder.path().join(version).join("token"), token).unwrap();
        }
        link("v1", "..data");
        link("..data/token", "token");
        let mut file = watched(&folder.path().join("token"));
        assert_eq!(found(&mut file).await, "one");
        link("v2", "..data");
        assert_eq!(found(&mut file).await, "two");
    }

    #[tokio::test]
    async fn a_file_without_a_token_is_named_and_its_text_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for text in ["", "canary\ncanary\n", "canary \u{7}"] {
            fs::write(&path, text).unwrap();
            let error = watched(&path).read().await.unwrap_err();
            assert!(error.message.contains("no token"), "{error:?}");
            assert!(!error.message.contains("canary"), "{error:?}");
        }
        let error = watched(folder.path()).read().await.unwrap_err();
        assert!(error.message.contains("not a regular file"), "{error:?}");
    }

    fn watched(path: &Path) -> WatchedFile {
        WatchedFile::new(path, &FileWatcher::without_events())
    }

    async fn found(file: &mut WatchedFile) -> String {
        assert!(file.has_changed().await);
        file.read().await.unwrap().secret.expose().to_owned()
    }
}
