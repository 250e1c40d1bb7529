//! The bundle once more, as Java reads it: the format JKS. Java reads no PEM file as a trust store, and tells JKS from
//! PKCS #12 by itself, whichever is its default.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;

/// A key store that holds these certificates as trusted, in this order. Its date is the epoch, so that the same
/// certificates give the same bytes.
///
/// The format is that of OpenJDK's `sun.security.provider.JavaKeyStore`; whoever opens it without a password skips the
/// check of the digest at its end, which protects nothing: everybody knows its password.
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

/// Java's modified UTF-8, which ASCII is, behind its length.
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

/// No system has four billion roots, and no certificate four gigabytes.
fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
/// What Java's own store of roots has had since ever, and keytool tries.
const PASSWORD: &str = "changeit";

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken from what `keytool -importcert -storetype JKS` writes, but for the date and the alias.
    #[test]
    fn it_is_laid_out_as_java_has_it() {
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
