//! Leaf certificate for exactly one host, with a key of its own, valid for a day.
//!
//! [`super::Authority`] replaces a leaf that is no longer fresh at the next handshake.

use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::AuthorityError;
use crate::authority::key::Key;
use crate::authority::root::{CLOCK_SKEW, ORGANIZATION, truncate_name};
use crate::crypto;
use crate::host::Host;

pub(super) struct Leaf {
    certified: Arc<CertifiedKey>,
    not_before: OffsetDateTime,
}

impl Leaf {
    /// Signs a new leaf with a new key.
    pub(super) fn issue(
        host: &Host,
        issuer: &Issuer<'_, Key>,
        intermediate: &CertificateDer<'static>,
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let not_before = now - CLOCK_SKEW;
        let key = Key::generate()?;
        let certificate = parameters(host, not_before)?
            .signed_by(&key, issuer)
            .map_err(AuthorityError::Signing)?;
        let chain = vec![certificate.into(), intermediate.clone()];
        let certified =
            CertifiedKey::from_der(chain, key.to_tls(), &crypto::provider()).map_err(AuthorityError::Tls)?;
        Ok(Self {
            certified: Arc::new(certified),
            not_before,
        })
    }

    /// Is at least half of its lifetime left? A leaf from the future is not fresh: the clock was set back.
    pub(super) fn is_fresh(&self, now: OffsetDateTime) -> bool {
        (Duration::ZERO..=LIFETIME / 2).contains(&(now - self.not_before))
    }

    /// Chain, leaf first, and key.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

fn parameters(host: &Host, not_before: OffsetDateTime) -> Result<CertificateParams, AuthorityError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANIZATION);
    // No common name: without a DNS name beside it, GnuTLS and OpenSSL treat it as one, which the name constraints of
    // an authority for an address exclude.
    name.push(
        DnType::OrganizationalUnitName,
        truncate_name(&format!("leaf for {host}")),
    );

    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = name;
    parameters.not_before = not_before;
    parameters.not_after = not_before + LIFETIME;
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.subject_alt_names = vec![alternative_name(host)?];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

fn alternative_name(host: &Host) -> Result<SanType, AuthorityError> {
    match host {
        Host::Name(name) => Ia5String::try_from(name.as_ref())
            .map(SanType::DnsName)
            .map_err(AuthorityError::Signing),
        Host::Address(address) => Ok(SanType::IpAddress(*address)),
    }
}

const LIFETIME: Duration = Duration::hours(24);
