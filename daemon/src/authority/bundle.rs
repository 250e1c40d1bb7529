//! Bundle: one PEM file with the system's roots and ours, for clients that accept a single file.
//!
//! The module composes the text; the caller writes the file. Equal certificates give equal text, whatever their order
//! in the system, so an unchanged bundle need not be written.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::authority::root::ORGANIZATION;
use crate::host::Host;

/// Text of the bundle: the system's roots, sorted, then ours in the given order. Each of ours is below a line that
/// names its host; text between certificates is allowed (RFC 7468, section 2).
pub fn compose<'a>(system_roots: &[CertificateDer<'_>], roots: impl Iterator<Item = (&'a Host, &'a str)>) -> String {
    let sorted: BTreeSet<&[u8]> = system_roots.iter().map(AsRef::as_ref).collect();
    let mut bundle = String::from("# Written by regauthd, and replaced whenever a host is added or removed.\n\n");
    for root in sorted {
        bundle.push_str(&pem(root));
    }
    for (host, root) in roots {
        bundle.push_str(&format!("\n# regauth authority for {host}\n{}\n", root.trim_end()));
    }
    bundle
}

/// Certificates of a bundle, in its order.
pub fn certificates(bundle: &str) -> Vec<CertificateDer<'static>> {
    // The daemon wrote the bundle, so every certificate in it can be read.
    CertificateDer::pem_slice_iter(bundle.as_bytes())
        .filter_map(Result::ok)
        .collect()
}

/// Loads the system's roots, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, without ours. The second value lists
/// problems.
///
/// If a person exported the bundle as `SSL_CERT_FILE`, the daemon reads its own bundle here. With our roots kept, a
/// removed authority would stay trusted, and the daemon would trust itself as upstream.
pub fn system_roots() -> (Vec<CertificateDer<'static>>, Vec<String>) {
    let found = rustls_native_certs::load_native_certs();
    let mut problems: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let (ours, roots): (Vec<_>, Vec<_>) = found.certs.into_iter().partition(is_ours);
    if !ours.is_empty() {
        problems.push(OWN_BUNDLE.to_owned());
    }
    if roots.is_empty() {
        problems.push(NO_ROOTS.to_owned());
    }
    (roots, problems)
}

/// Loads the system's roots and logs problems.
pub fn system_roots_or_warn() -> Vec<CertificateDer<'static>> {
    let (roots, problems) = system_roots();
    for problem in problems {
        tracing::warn!(problem, "loaded the system's root certificates with a problem");
    }
    roots
}

/// True if regauth made this root.
pub(super) fn is_ours(certificate: &CertificateDer<'_>) -> bool {
    x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, certificate)| {
        certificate
            .subject()
            .iter_organization()
            .any(|organization| organization.as_str() == Ok(ORGANIZATION))
    })
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + text.len() / LINE + 60);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % LINE == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

const OWN_BUNDLE: &str =
    "SSL_CERT_FILE or SSL_CERT_DIR names regauth's own bundle; regauth's certificates in it were ignored";
const NO_ROOTS: &str = "no root certificate was found; clients that use the bundle will trust the registries only";

/// RFC 7468, section 2: lines of 64 characters.
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    fn der(byte: u8) -> CertificateDer<'static> {
        vec![byte; 100].into()
    }

    #[test]
    fn the_order_of_the_systems_roots_does_not_matter() {
        let (a, b) = (der(1), der(2));
        let one = compose(&[a.clone(), b.clone()], std::iter::empty());
        let other = compose(&[b.clone(), a.clone(), b.clone()], std::iter::empty());
        assert_eq!(one, other);
        assert_eq!(certificates(&one), [a, b]);
    }

    #[test]
    fn our_roots_come_last_and_name_their_host() {
        let host: Host = "corp.example".parse().unwrap();
        let (authority, _) = Authority::create(&host).unwrap();
        let root = authority.certificates().root.as_str();
        let bundle = compose(&[der(1)], std::iter::once((&host, root)));
        assert!(bundle.ends_with(&format!("\n# regauth authority for corp.example\n{root}")));
        assert!(bundle.lines().all(|line| line.len() <= 80));
        assert_eq!(certificates(&bundle).len(), 2);
    }

    #[test]
    fn recognises_our_own_roots() {
        let (authority, _) = Authority::create(&"corp.example".parse().unwrap()).unwrap();
        let root = CertificateDer::from_pem_slice(authority.certificates().root.as_bytes()).unwrap();
        assert!(is_ours(&root));
        assert!(!is_ours(&der(1)));
    }
}
