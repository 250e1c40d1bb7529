//! A token in a file: a mounted secret, a systemd credential, something that an agent writes.
//!
//! The file is looked at every second rather than watched by inotify or kqueue: those don't see what happens behind a
//! bind mount or on a network, and see a Kubernetes secret change only in a folder that is not the file's. A look is one
//! stat of what the path leads to at that moment, links followed; only a file that differs is read.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use regauth_shared::Secret;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use crate::credential::source::{FetchError, FetchedToken};

/// A file and what it was when it was read last.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    read_as: Option<Stamp>,
}

/// What tells one state of a file from another: replaced, or written in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl WatchedFile {
    /// A file that was not read yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read_as: None,
        }
    }

    /// Whether it is another one than was read last.
    pub(crate) async fn has_changed(&self) -> bool {
        self.stamp().await.ok() != self.read_as
    }

    /// Its one line.
    ///
    /// # Errors
    /// [`FetchError`] when it cannot be read or holds no token.
    pub(crate) async fn read(&mut self) -> Result<FetchedToken, FetchError> {
        // One that is absent or unusable is not read again and again either: it is noticed when it is mended.
        self.read_as = self.stamp().await.ok();
        let (text, stamp) = self.contents().await.map_err(|error| self.unreadable(&error))?;
        self.read_as = Some(stamp);
        let secret = Secret::parse(&text)
            .map_err(|invalid| FetchError::new(format!("what {} holds is no token: {invalid}", self.path.display())))?;
        Ok(FetchedToken {
            secret,
            expires: None,
            ttl: None,
        })
    }

    /// Read until it is the same before and after, since it may be written in place just now.
    async fn contents(&self) -> io::Result<(Zeroizing<String>, Stamp)> {
        let mut before = self.stamp().await?;
        for _ in 0..ATTEMPTS {
            let text = read_text(&self.path).await?;
            let after = self.stamp().await?;
            if before == after {
                return Ok((text, after));
            }
            before = after;
        }
        Err(io::Error::other("it does not stop changing"))
    }

    async fn stamp(&self) -> io::Result<Stamp> {
        let metadata = tokio::fs::metadata(&self.path).await?;
        if !metadata.is_file() {
            // Reading a pipe or a device might never end.
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn unreadable(&self, error: &io::Error) -> FetchError {
        FetchError::new(format!("cannot read {}: {error}", self.path.display()))
    }
}

async fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MOST));
    let file = tokio::fs::File::open(path).await?;
    file.take(MOST as u64).read_to_string(&mut text).await?;
    Ok(text)
}

/// Twice what a [`Secret`] takes.
const MOST: usize = 32 * 1024;
const ATTEMPTS: usize = 5;

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
        assert!(!file.has_changed().await, "it is as absent as before");

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

    /// As Kubernetes does it: `token` leads to `..data/token`, and `..data` to a folder that is exchanged.
    #[tokio::test]
    async fn follows_links_that_are_exchanged() {
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
    async fn what_is_no_token_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for text in ["", "canary\ncanary\n", "canary \u{e9}"] {
            fs::write(&path, text).unwrap();
            let failure = WatchedFile::new(&path).read().await.unwrap_err();
            assert!(failure.message.contains("no token"), "{failure:?}");
            assert!(!failure.message.contains("canary"), "{failure:?}");
        }
        let failure = WatchedFile::new(folder.path()).read().await.unwrap_err();
        assert!(failure.message.contains("not a regular file"), "{failure:?}");
    }

    async fn found(file: &mut WatchedFile) -> String {
        assert!(file.has_changed().await);
        file.read().await.unwrap().secret.expose().to_owned()
    }
}
