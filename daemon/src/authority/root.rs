//! The root and the intermediate of an authority, and the name constraints that bind both to one host.
//!
//! It makes certificates and forgets the root's key; keeping the intermediate's is the caller's business. What the
//! intermediate signs is in [`crate::authority::leaf`].
//!
//! Why both are constrained (RFC 5280, section 4.2.1.10), and how, was tried with OpenSSL 3.0, GnuTLS 3.7, webpki, Node 20
//! and Java 17; `daemon/tests/authority.rs` tries it again, Java apart:
//!
//! - Java ignores constraints on a root, so the intermediate has them. The root has them too, because it is what clients
//!   trust: not even its lost key could have signed for another host.
//! - A constraint speaks of one kind of name only: without the exclusion of all addresses, DNS names would be bound and
//!   addresses free. GnuTLS even takes IPv4 and IPv6 for two kinds.
//! - A permitted name also permits the names below it. Excluding `.name` takes them away again and leaves the name
//!   itself. The leading dot is not in the RFC, but the five above read it so, as do Go and NSS by their sources; old macOS
//!   matches it with nothing, which loses this exclusion and no other.
//! - For an address, every DNS name must go. An excluded empty name does it in OpenSSL, GnuTLS and webpki, but is an
//!   exception in Java; permitting a name that cannot exist does it everywhere.
//! - Java fails on a mixture of IPv4 and IPv6 constraints and so accepts nothing from an authority for an address. Without
//!   the exclusion of the other family, GnuTLS would accept any address of it: no Java is the lesser evil.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyUsagePurpose, NameConstraints,
};
use time::{Duration, OffsetDateTime};

use super::{AuthorityError, Certificates};
use crate::authority::key::Key;
use crate::host::Host;

/// Makes both certificates, and the intermediate's key. The root's key is wiped before this returns.
pub(super) fn establish(host: &Host, now: OffsetDateTime) -> Result<(Certificates, Key), AuthorityError> {
    let root_key = Key::generate()?;
    let root = parameters(host, "root", &root_key, now);
    let root_certificate = root.self_signed(&root_key).map_err(AuthorityError::Unsigned)?;

    let key = Key::generate()?;
    let mut intermediate = parameters(host, "intermediate", &key, now);
    intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    intermediate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = intermediate
        .signed_by(&key, &Issuer::new(root, root_key))
        .map_err(AuthorityError::Unsigned)?;

    let certificates = Certificates {
        root: root_certificate.pem(),
        intermediate: certificate.pem(),
    };
    Ok((certificates, key))
}

/// What the two have in common. The serial number and the key identifiers come from the fresh key, by hash.
fn parameters(host: &Host, role: &str, key: &Key, now: OffsetDateTime) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = name(host, role, &parameters.key_identifier(key));
    parameters.not_before = now - CLOCK_SKEW;
    parameters.not_after = now + LIFE;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.name_constraints = Some(constraints(host));
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

/// A name that no other authority has, though there was one for the same host before: OpenSSL finds an issuer by its
/// name, and the system's keychains list by it.
fn name(host: &Host, role: &str, key_identifier: &[u8]) -> DistinguishedName {
    let identifier: String = key_identifier
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANIZATION);
    name.push(DnType::OrganizationalUnitName, format!("{role} {identifier}"));
    name.push(
        DnType::CommonName,
        upper_bounded(&format!("regauth authority for {host}")),
    );
    name
}

/// At most 64 characters, as a name's parts may have (RFC 5280, appendix A.1): a longer host loses its end. It is for
/// people only.
pub(super) fn upper_bounded(text: &str) -> String {
    text.chars().take(64).collect()
}

fn constraints(host: &Host) -> NameConstraints {
    let all_v4 = GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4]));
    let all_v6 = GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16]));
    let no_name = GeneralSubtree::DnsName(NOWHERE.to_owned());
    let (permitted, excluded) = match host {
        Host::Name(name) => (
            vec![GeneralSubtree::DnsName(name.to_string())],
            vec![GeneralSubtree::DnsName(format!(".{name}")), all_v4, all_v6],
        ),
        Host::Address(IpAddr::V4(address)) => {
            let address = GeneralSubtree::IpAddress(CidrSubnet::V4(address.octets(), [0xff; 4]));
            (vec![address, no_name], vec![all_v6])
        }
        Host::Address(IpAddr::V6(address)) => {
            let address = GeneralSubtree::IpAddress(CidrSubnet::V6(address.octets(), [0xff; 16]));
            (vec![address, no_name], vec![all_v4])
        }
    };
    NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: excluded,
    }
}

/// The only name that an authority for an address may sign for: no resolver ever answers it (RFC 6761, section 6.4).
pub(super) const NOWHERE: &str = "regauth.invalid";

/// The organization in the name of every certificate of ours.
pub(super) const ORGANIZATION: &str = "regauth";

/// How far a client's clock, in a container or on another machine, may be behind ours.
pub(super) const CLOCK_SKEW: Duration = Duration::hours(1);

const LIFE: Duration = Duration::days(3650);
