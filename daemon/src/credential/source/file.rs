//! A token in a file: a mounted secret, a systemd credential, something that an agent writes.
//!
//! The refresher checks the file every second. inotify and kqueue do not see changes behind a bind mount or on a
//! network, and see a Kubernetes secret change only in another folder. A check is one stat that follows links. Only a
//! file that differs is read. On a local file system the stat takes a microsecond, so it needs no other thread: a thousand
//! files cost little.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use regauth_shared::Secret;
use zeroize::Zeroizing;

use crate::configured_file;
use crate::credential::source::environment::{PEM_BEGIN, parse_pem};
use crate::credential::source::{FetchError, FetchedToken};
use crate::file_stamp::FileStamp;

/// A file with a token, and its stamp at the last read.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    last_read: Option<FileStamp>,
    /// True if the file was on a file system of this machine at the last read, where a stat does not wait.
    is_local: bool,
}

impl WatchedFile {
    /// A file that has not been read.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            last_read: None,
            is_local: false,
        }
    }

    /// True if the file differs from the last read.
    pub(crate) async fn has_changed(&self) -> bool {
        self.stamp().await.ok() != self.last_read
    }

    /// Reads the token, which is the file's one line.
    ///
    /// # Errors
    /// [`FetchError`] if the file cannot be read or holds no token.
    pub(crate) async fn read(&mut self) -> Result<FetchedToken, FetchError> {
        let path = self.path.clone();
        let is_local = tokio::task::spawn_blocking(move || is_local(&path)).await;
        self.is_local = is_local.unwrap_or(false);
        // An absent or unusable file is not read again until it changes.
        self.last_read = self.stamp().await.ok();
        let (text, stamp) = self.contents().await.map_err(|error| self.unreadable(&error))?;
        self.last_read = Some(stamp);
        let secret = Secret::parse(&text)
            .map_err(|invalid| FetchError::new(format!("what {} holds is no token: {invalid}", self.path.display())))?;
        Ok(FetchedToken {
            secret,
            expires: None,
            ttl: None,
        })
    }

    /// Reads until the stamp is the same before and after: a program may be writing the file in place.
    async fn contents(&self) -> io::Result<(Zeroizing<String>, FileStamp)> {
        let mut before = self.stamp().await?;
        for _ in 0..MAX_READS {
            let text = read_text(&self.path).await?;
            let after = self.stamp().await?;
            if before == after {
                return Ok((text, after));
            }
            before = after;
        }
        Err(io::Error::other("it does not stop changing"))
    }

    async fn stamp(&self) -> io::Result<FileStamp> {
        let metadata = if self.is_local {
            std::fs::metadata(&self.path)?
        } else {
            tokio::fs::metadata(&self.path).await?
        };
        FileStamp::from_metadata(&metadata)
    }

    fn unreadable(&self, error: &io::Error) -> FetchError {
        FetchError::new(format!("cannot read {}: {error}", self.path.display()))
    }
}

/// Reads a secret from a file once: one line, or a private key in PEM.
///
/// # Errors
/// [`FetchError`] if the file cannot be read or holds no secret.
pub(super) async fn read_secret(path: &Path) -> Result<Secret, FetchError> {
    let file = WatchedFile::new(path);
    let (text, _) = file.contents().await.map_err(|error| file.unreadable(&error))?;
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
    let file = WatchedFile::new(path);
    let contents = file.contents().await.map_err(|error| file.unreadable(&error))?;
    Ok(contents.0)
}

async fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let path = path.to_owned();
    let read = move || {
        let file = configured_file::open(&path)?;
        // A start reads all files at once, so each gets only the memory that it needs.
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(READ_LIMIT);
        let mut text = Zeroizing::new(String::with_capacity(length.min(READ_LIMIT)));
        file.take(READ_LIMIT as u64).read_to_string(&mut text)?;
        Ok(text)
    };
    tokio::task::spawn_blocking(read).await?
}

/// Is the file on a file system whose metadata are in this machine's memory? Others, such as NFS and FUSE, may hang.
#[cfg(target_os = "linux")]
fn is_local(path: &Path) -> bool {
    let kind = rustix::fs::statfs(path).map(|status| u64::try_from(status.f_type));
    matches!(kind, Ok(Ok(kind)) if LOCAL_FILE_SYSTEMS.contains(&kind))
}

#[cfg(not(target_os = "linux"))]
fn is_local(_: &Path) -> bool {
    false
}

/// statfs(2): btrfs, ext4, f2fs, ramfs, tmpfs, xfs.
#[cfg(target_os = "linux")]
const LOCAL_FILE_SYSTEMS: [u64; 6] = [0x9123_683e, 0xef53, 0xf2f5_2010, 0x8584_58f6, 0x0102_1994, 0x5846_5342];
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
        let mut file = WatchedFile::new(&path);
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_in_memory_is_local_and_one_of_the_kernel_is_not() {
        assert!(is_local(Path::new("/dev/shm")));
        assert!(!is_local(Path::new("/proc/version")));
        assert!(!is_local(Path::new("/absent")));
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
        let mut file = WatchedFile::new(&folder.path().join("token"));
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
            let error = WatchedFile::new(&path).read().await.unwrap_err();
            assert!(error.message.contains("no token"), "{error:?}");
            assert!(!error.message.contains("canary"), "{error:?}");
        }
        let error = WatchedFile::new(folder.path()).read().await.unwrap_err();
        assert!(error.message.contains("not a regular file"), "{error:?}");
    }

    async fn found(file: &mut WatchedFile) -> String {
        assert!(file.has_changed().await);
        file.read().await.unwrap().secret.expose().to_owned()
    }
}
