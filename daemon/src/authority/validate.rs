//! Validation of certificates that were read from the journal: constraints, validity, and acceptance by a client.
//!
//! [`super::Authority::restore`] calls it.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};

use super::AuthorityError;
use crate::authority::leaf::Leaf;
use crate::authority::root::NO_HOST;
use crate::crypto;
use crate::host::Host;

/// Checks that a certificate is constrained to `host` and valid for more than 30 days. Returns its SubjectPublicKeyInfo
/// in DER.
pub(super) fn check_certificate(
    der: &CertificateDer<'_>,
    host: &Host,
    now: OffsetDateTime,
) -> Result<Vec<u8>, AuthorityError> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|_| AuthorityError::Unreadable)?;
    if !is_constrained_to(&certificate, host) {
        return Err(AuthorityError::OtherHost);
    }
    let validity = certificate.validity();
    let (not_before, expires) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    if now < not_before {
        return Err(AuthorityError::NotYetValid { not_before });
    }
    if expires - now < NEAR_EXPIRY {
        return Err(AuthorityError::Expiring { expires });
    }
    Ok(certificate.public_key().raw.to_vec())
}

/// Is the certificate constrained to `host` alone? Someone who can write the journal could add a root without
/// constraints, and our bundle would make clients trust it for every host.
fn is_constrained_to(certificate: &X509Certificate<'_>, host: &Host) -> bool {
    let Ok(Some(constraints)) = certificate.name_constraints() else {
        return false;
    };
    let permitted: Vec<_> = bases(constraints.value.permitted_subtrees.as_deref());
    let excluded: Vec<_> = bases(constraints.value.excluded_subtrees.as_deref());
    let excludes = |range: &[u8]| excluded.contains(&&GeneralName::IPAddress(range));
    match (permitted.as_slice(), host) {
        ([GeneralName::DNSName(name)], Host::Name(host)) => **name == **host && excludes(ALL_V4) && excludes(ALL_V6),
        ([GeneralName::IPAddress(range), GeneralName::DNSName(NO_HOST)], Host::Address(IpAddr::V4(host))) => {
            **range == [host.octets(), [0xff; 4]].concat() && excludes(ALL_V6)
        }
        ([GeneralName::IPAddress(range), GeneralName::DNSName(NO_HOST)], Host::Address(IpAddr::V6(host))) => {
            **range == [host.octets(), [0xff; 16]].concat() && excludes(ALL_V4)
        }
        _ => false,
    }
}

fn bases<'a, 'b>(subtrees: Option<&'b [GeneralSubtree<'a>]>) -> Vec<&'b GeneralName<'a>> {
    subtrees
        .unwrap_or_default()
        .iter()
        .map(|subtree| &subtree.base)
        .collect()
}

/// Verifies the leaf as a client does, so that the daemon finds a broken authority before a client does.
pub(super) fn verify_as_client(
    host: &Host,
    root: CertificateDer<'_>,
    leaf: &Leaf,
    now: OffsetDateTime,
) -> Result<(), AuthorityError> {
    let mut roots = RootCertStore::empty();
    roots.add(root).map_err(AuthorityError::Broken)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto::provider())
        .build()
        .map_err(|_| AuthorityError::Unreadable)?;
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let certified = leaf.certified();
    let (end, chain) = certified.cert.split_first().ok_or(AuthorityError::Unreadable)?;
    verifier
        .verify_server_cert(end, chain, &server_name(host)?, &[], time)
        .map_err(AuthorityError::Broken)?;
    Ok(())
}

fn server_name(host: &Host) -> Result<ServerName<'static>, AuthorityError> {
    match host {
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| AuthorityError::InvalidName),
        Host::Address(address) => Ok(ServerName::from(*address)),
    }
}

/// Address and mask, all zeros (RFC 5280, section 4.2.1.10).
const ALL_V4: &[u8] = &[0; 8];
const ALL_V6: &[u8] = &[0; 32];

const NEAR_EXPIRY: Duration = Duration::days(30);
