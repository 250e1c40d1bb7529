//! CA files beside a team's file: read within limits, shown by their fingerprints, and copied into regauth's own folder, so
//! that a later change of the repository changes nothing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use sha2::{Digest, Sha256};

use super::MAX_BYTES;
use crate::error;

/// Contents of a CA file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaFile {
    /// Name in the team's file.
    pub(crate) name: String,
    text: String,
    fingerprints: Vec<String>,
}

/// True for the path of a file in the folder of the team's file, or below it.
pub(super) fn is_beside(path: &str) -> bool {
    let mut components = Path::new(path).components();
    let all_normal = components.all(|component| matches!(component, Component::Normal(_)));
    // `a//b` and `a/.` have normal components only.
    let is_canonical = path.split('/').all(|part| !part.is_empty() && part != ".");
    all_normal && is_canonical && !path.contains(char::is_control)
}

/// Reads a file whose path stays inside a folder, symbolic links included.
///
/// # Errors
/// The file is missing, outside of the folder, no regular file, or too large.
pub(super) fn read_inside(folder: &Path, name: &str) -> Result<String, ErrorBody> {
    let path = folder.join(name);
    let unreadable = |error: std::io::Error| {
        error::failed(format!("cannot read {}: {error}", path.display())).hint("nothing was added")
    };
    let folder = fs::canonicalize(folder).map_err(unreadable)?;
    let target = fs::canonicalize(&path).map_err(unreadable)?;
    if !target.starts_with(&folder) {
        let message = format!("{} is a link to a file outside of the folder", path.display());
        return Err(error::refused(message).hint("nothing was added; put the file itself beside the team's file"));
    }
    read_bounded(&target)
}

/// Reads a regular file of at most [`MAX_BYTES`].
///
/// # Errors
/// It is no such file, or no text.
pub(super) fn read_bounded(path: &Path) -> Result<String, ErrorBody> {
    let unreadable = |reason: String| error::failed(format!("cannot read {}: {reason}", path.display()));
    // A named pipe would block the open.
    let metadata = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a regular file".to_owned()));
    }
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(unreadable(format!("it is longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

impl CaFile {
    /// Checks the text of a CA file: certificates in PEM, and no private key.
    ///
    /// # Errors
    /// It has no certificate, or is no PEM.
    pub(crate) fn parse(name: &str, text: String) -> Result<Self, ErrorBody> {
        let invalid = |reason: &str| {
            error::usage(format!("the CA file {name} {reason}"))
                .hint("nothing was added; a CA file has certificates in PEM and nothing else")
        };
        if text.contains("PRIVATE KEY-----") {
            return Err(invalid("has a private key"));
        }
        // A parser may read another section, or one without an end, as part of the certificate that follows.
        if text.matches("-----BEGIN ").count() != text.matches(BEGIN).count() {
            return Err(invalid("has sections other than certificates"));
        }
        let bodies = text
            .split(BEGIN)
            .skip(1)
            .map(|rest| rest.split_once(END).map(|(body, _)| body));
        let mut fingerprints = Vec::new();
        for body in bodies {
            let body: String = body.unwrap_or_default().split_whitespace().collect();
            let der = STANDARD.decode(body).ok().filter(|der| !der.is_empty());
            let der = der.ok_or_else(|| invalid("is damaged"))?;
            fingerprints.push(hex(&Sha256::digest(der)));
        }
        if fingerprints.is_empty() {
            return Err(invalid("has no certificate"));
        }
        Ok(Self {
            name: name.to_owned(),
            text,
            fingerprints,
        })
    }

    /// Description for a person: name and SHA-256 fingerprints, as `openssl x509 -fingerprint -sha256` gives them.
    pub(crate) fn describe(&self) -> String {
        format!("{} (SHA-256 {})", self.name, self.fingerprints.join(", "))
    }

    /// True if a file has the same text.
    pub(crate) fn is_same_as(&self, path: &Path) -> bool {
        read_bounded(path).is_ok_and(|text| text == self.text)
    }

    /// SHA-256 fingerprints of its certificates.
    pub(crate) fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }

    /// Contents of the file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Name of a copy, with the digest of the contents: a copy never changes.
    pub(crate) fn copy_name(&self) -> String {
        let digest = hex(&Sha256::digest(self.text.as_bytes()));
        format!("{}.pem", digest.get(..32).unwrap_or(&digest))
    }

    /// Path of the copy.
    pub(crate) fn copy(&self, folders: &Folders) -> PathBuf {
        folder(folders).join(self.copy_name())
    }

    /// Copies the file into regauth's own folder. The name has the digest of the contents, so a copy never changes.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn install(&self, folders: &Folders) -> Result<PathBuf, ErrorBody> {
        let (folder, path) = (folder(folders), self.copy(folders));
        if self.is_same_as(&path) {
            return Ok(path);
        }
        let failed = error::io(format!("cannot write {}", path.display()));
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&folder);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = made.and_then(|()| options.open(&path)?.write_all(self.text.as_bytes()));
        written.map_err(failed)?;
        Ok(path)
    }
}

/// Deletes a CA file that regauth has copied, if no registry uses it any more.
pub(crate) fn forget(folders: &Folders, path: &Path, in_use: impl Fn(&Path) -> bool) -> Result<(), ErrorBody> {
    if !is_copy(folders, path) || in_use(path) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != IoErrorKind::NotFound => {
            Err(error::io(format!("cannot delete {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// True for a CA file that regauth has copied.
pub(crate) fn is_copy(folders: &Folders, path: &Path) -> bool {
    path.parent() == Some(&folder(folders))
}

fn folder(folders: &Folders) -> PathBuf {
    folders.config.join("ca")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_out_of_the_folder_is_refused_and_one_inside_is_read() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        fs::write(&secret, "s3cret").unwrap();
        fs::write(folder.path().join("real.pem"), "text").unwrap();
        symlink(&secret, folder.path().join("out.pem")).unwrap();
        symlink(outside.path(), folder.path().join("out")).unwrap();
        symlink("real.pem", folder.path().join("in.pem")).unwrap();
        assert_eq!(read_inside(folder.path(), "in.pem").unwrap(), "text");
        for name in ["out.pem", "out/secret"] {
            let error = read_inside(folder.path(), name).unwrap_err();
            assert!(error.message.contains("outside") && !error.message.contains("s3cret"));
        }
        assert!(read_inside(folder.path(), "missing.pem").is_err());
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        fs::write(&large, vec![b'x'; MAX_BYTES as usize + 1]).unwrap();
        assert!(read_bounded(&large).unwrap_err().message.contains("longer"));
        assert!(read_bounded(folder.path()).unwrap_err().message.contains("regular"));
        assert!(
            read_bounded(Path::new("/dev/zero"))
                .unwrap_err()
                .message
                .contains("regular")
        );
    }

    #[test]
    fn a_ca_file_has_certificates_and_no_key() {
        let certificate = format!("{BEGIN}\nAAEC\n{END}\n");
        let parsed = CaFile::parse("ca.pem", certificate.clone()).unwrap();
        assert!(
            parsed.describe().starts_with("ca.pem (SHA-256 AE4B3280"),
            "{}",
            parsed.describe()
        );
        for bad in [
            String::new(),
            format!("{BEGIN}\n!!\n{END}"),
            format!("{BEGIN}\nAAEC"),
            format!("{certificate}-----BEGIN PRIVATE KEY-----\n"),
            format!("-----BEGIN X-----\nAAEC\n{certificate}"),
        ] {
            assert!(CaFile::parse("ca.pem", bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_copy_is_deleted_only_if_it_is_ours_and_unused() {
        let home = tempfile::tempdir().unwrap();
        let folders = Folders::below(home.path());
        let ca = CaFile::parse("ca.pem", format!("{BEGIN}\nAAEC\n{END}\n")).unwrap();
        let copy = ca.install(&folders).unwrap();
        assert!(ca.is_same_as(&copy));
        let own = home.path().join("own.pem");
        fs::write(&own, "x").unwrap();
        forget(&folders, &own, |_| false).unwrap();
        forget(&folders, &copy, |_| true).unwrap();
        assert!(own.exists() && copy.exists());
        forget(&folders, &copy, |_| false).unwrap();
        assert!(!copy.exists());
    }
}
