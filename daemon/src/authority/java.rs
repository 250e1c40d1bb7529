//! Bundle for Java, as a JKS key store. Java cannot read a PEM file as a trust store. It detects JKS by itself, even
//! where PKCS
//! #12 is its default.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;

/// Key store with these certificates as trusted entries, in this order. Its dates are the epoch, so that equal
/// certificates give equal bytes.
///
/// The format follows OpenJDK's `sun.security.provider.JavaKeyStore`. The digest at the end protects nothing, because
/// its password is public; Java skips the digest if it opens the store without a password.
pub fn trust_store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut store = Vec::new();
    store.extend(MAGIC.to_be_bytes());
    store.extend(VERSION.to_be_bytes());
    store.extend(length(certificates).to_be_bytes());
    for (number, certificate) in certificates.iter().enumerate() {
        store.extend(TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut store, &format!("root-{number}"));
        store.extend(0_u64.to_be_bytes());
        text(&mut store, "X.509");
        store.extend(length(certificate).to_be_bytes());
        store.extend_from_slice(certificate);
    }
    let digest = digest(&store);
    store.extend(digest);
    store
}

/// Appends a string in Java's modified UTF-8, which equals ASCII here, after its length.
fn text(store: &mut Vec<u8>, ascii: &str) {
    store.extend(u16::try_from(ascii.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend(ascii.bytes());
}

fn digest(store: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>());
    context.update(b"Mighty Aphrodite");
    context.update(store);
    context.finish().as_ref().to_vec()
}

/// Length as 32 bits. No system has four billion roots, and no certificate four gigabytes.
fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
/// Default password of Java's own trust store, which keytool tries.
const PASSWORD: &str = "changeit";

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are those of `keytool -importcert -storetype JKS`, except the date and the alias.
    #[test]
    fn the_layout_matches_keytools() {
        let store = trust_store(&[vec![0xAB, 0xCD].into()]);
        let expected = [
            &[0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1][..],
            &[0, 0, 0, 2, 0, 6],
            b"root-0",
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 5],
            b"X.509",
            &[0, 0, 0, 2, 0xAB, 0xCD],
        ]
        .concat();
        let (content, digest) = store.split_at(expected.len());
        assert_eq!((content, digest.len()), (expected.as_slice(), 20));
    }
}
