//! The certificate that is served: for exactly one host, with a key of its own, for a day at most.
//!
//! It decides when it is old, but does not replace itself: [`super::Authority`] does, when a client asks.

use std::sync::Arc;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use super::AuthorityError;
use crate::authority::key::Key;
use crate::authority::root::{CLOCK_SKEW, ORGANIZATION, upper_bounded};
use crate::host::Host;

pub(super) struct Leaf {
    certified: Arc<CertifiedKey>,
    begins: OffsetDateTime,
}

impl Leaf {
    pub(super) fn mint(
        host: &Host,
        issuer: &Issuer<'_, Key>,
        intermediate: &CertificateDer<'static>,
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let begins = now - CLOCK_SKEW;
        let key = Key::generate()?;
        let certificate = parameters(host, begins)?
            .signed_by(&key, issuer)
            .map_err(AuthorityError::Unsigned)?;
        let chain = vec![certificate.into(), intermediate.clone()];
        let certified =
            CertifiedKey::from_der(chain, key.to_tls(), &default_provider()).map_err(AuthorityError::Tls)?;
        Ok(Self {
            certified: Arc::new(certified),
            begins,
        })
    }

    /// Whether half of its life or more is left. One from the future is not fresh: the clock was put back.
    pub(super) fn is_fresh(&self, now: OffsetDateTime) -> bool {
        (Duration::ZERO..=LIFE / 2).contains(&(now - self.begins))
    }

    /// The chain, leaf first, and the key.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

fn parameters(host: &Host, begins: OffsetDateTime) -> Result<CertificateParams, AuthorityError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANIZATION);
    // No common name: with no DNS name beside it, GnuTLS and OpenSSL take it for one, which an authority for an address
    // must not sign.
    name.push(
        DnType::OrganizationalUnitName,
        upper_bounded(&format!("leaf for {host}")),
    );

    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = name;
    parameters.not_before = begins;
    parameters.not_after = begins + LIFE;
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
            .map_err(AuthorityError::Unsigned),
        Host::Address(address) => Ok(SanType::IpAddress(*address)),
    }
}

const LIFE: Duration = Duration::hours(24);
