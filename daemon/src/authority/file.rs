//! Authority in one PEM file, which several daemons share: the intermediate's key, the intermediate, the root.
//!
//! `regauthd --create-authority HOST` prints such a file. Clients trust its last certificate, the root.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_shared::secret::Secret;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::authority::{Authority, AuthorityError, Certificates, root};
use crate::host::Host;

/// Creates an authority for a host, as the text of its file.
///
/// # Errors
/// As [`Authority::create`].
pub fn create(host: &Host) -> Result<Zeroizing<String>, AuthorityError> {
    let (certificates, key) = root::create(host, OffsetDateTime::now_utc())?;
    let key = Zeroizing::new(key.to_pem());
    Ok(Zeroizing::new(
        [key.as_str(), &certificates.intermediate, &certificates.root].concat(),
    ))
}

/// File of a host's authority in a folder. Names of keys in a Kubernetes Secret have no colons.
pub(crate) fn path(folder: &Path, host: &Host) -> PathBuf {
    let name = host.to_string().replace(':', "_").replace(['[', ']'], "");
    folder.join(format!("{name}.pem"))
}

/// Restores an authority from the text of its file.
///
/// # Errors
/// As [`Authority::restore`].
pub(crate) fn restore(host: &Host, text: &str) -> Result<Authority, AuthorityError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| AuthorityError::UnreadableKey)?;
    let key = Zeroizing::new(STANDARD.encode(key.secret_pkcs8_der()));
    let key = Secret::parse(&key).map_err(|_| AuthorityError::UnreadableKey)?;
    let starts: Vec<usize> = text.match_indices(CERTIFICATE).map(|(at, _)| at).collect();
    let [intermediate, root] = *starts else {
        return Err(AuthorityError::Unreadable);
    };
    let (first, last) = (text.get(intermediate..root), text.get(root..));
    let certificates = Certificates {
        intermediate: first.unwrap_or_default().to_owned(),
        root: last.unwrap_or_default().to_owned(),
    };
    Authority::restore(host, certificates, &key)
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_restores_one_authority_for_its_host_and_no_other() {
        let [host, other] = ["corp.example", "other.example"].map(|name| name.parse::<Host>().unwrap());
        let text = create(&host).unwrap();
        let [one, two] = [(), ()].map(|()| restore(&host, &text).unwrap());
        assert_eq!(one.certificates(), two.certificates());
        let derived = |authority: &Authority, purpose: &str| authority.derive_secret(purpose.as_bytes()).unwrap();
        assert_eq!(derived(&one, "a"), derived(&two, "a"));
        assert_ne!(derived(&one, "a"), derived(&one, "b"));
        let another = restore(&host, &create(&host).unwrap()).unwrap();
        assert_ne!(derived(&one, "a"), derived(&another, "a"));
        assert!(restore(&other, &text).is_err());
        assert!(restore(&host, &text[..text.len() - 60]).is_err(), "half written");
        assert!(restore(&host, "").is_err());
    }

    #[test]
    fn a_file_is_named_after_its_host() {
        let name = |host: &str| path(Path::new("/a"), &host.parse().unwrap());
        assert_eq!(name("corp.example"), Path::new("/a/corp.example.pem"));
        assert_eq!(name("[2001:db8::1]"), Path::new("/a/2001_db8__1.pem"));
    }
}
