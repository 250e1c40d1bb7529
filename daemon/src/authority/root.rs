//! Root and intermediate of an authority, with name constraints for one host.
//!
//! The root's key is dropped after its one signature. The caller keeps the intermediate's key, which signs the
//! certificates of [`crate::authority::leaf`].
//!
//! Both are constrained (RFC 5280, section 4.2.1.10). The constraints were tested with OpenSSL 3.0, GnuTLS 3.7, webpki,
//! Node 20 and Java 17; `daemon/tests/authority.rs` repeats the tests except Java's:
//!
//! - Java ignores constraints on a root, so the intermediate has them. The root has them too, because clients trust it:
//!   even its key could not sign for another host.
//! - A constraint covers one type of name only. Without the exclusion of all addresses, DNS names would be constrained
//!   and addresses not. GnuTLS treats IPv4 and IPv6 as two types.
//! - A permitted name also permits the names below it. Excluding `.name` removes them and leaves the name itself. The
//!   leading dot is not in the RFC, but the five verifiers above accept it, and so do Go and NSS by their sources. Old
//!   macOS ignores the exclusion, and only that one.
//! - For an address, all DNS names must be excluded. An excluded empty name works in OpenSSL, GnuTLS and webpki, but
//!   throws an exception in Java. Permitting a name that cannot exist works in all of them.
//! - Java fails on a mixture of IPv4 and IPv6 constraints, and so accepts nothing from an authority for an address.
//!   Without the exclusion of the other family, GnuTLS would accept any address of it, which is worse.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyUsagePurpose, NameConstraints,
};
use time::{Duration, OffsetDateTime};

use super::{AuthorityError, Certificates};
use crate::authority::key::Key;
use crate::host::Host;

/// Creates both certificates and the intermediate's key. The root's key is zeroized before this returns.
pub(super) fn create(host: &Host, now: OffsetDateTime) -> Result<(Certificates, Key), AuthorityError> {
    let root_key = Key::generate()?;
    let root = parameters(host, "root", &root_key, now);
    let root_certificate = root.self_signed(&root_key).map_err(AuthorityError::Signing)?;

    let key = Key::generate()?;
    let mut intermediate = parameters(host, "intermediate", &key, now);
    intermediate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    intermediate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = intermediate
        .signed_by(&key, &Issuer::new(root, root_key))
        .map_err(AuthorityError::Signing)?;

    let certificates = Certificates {
        root: root_certificate.pem(),
        intermediate: certificate.pem(),
    };
    Ok((certificates, key))
}

/// Common parameters of both certificates. Serial number and key identifiers are hashes of the new key.
fn parameters(host: &Host, role: &str, key: &Key, now: OffsetDateTime) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = name(host, role, &parameters.key_identifier(key));
    parameters.not_before = now - CLOCK_SKEW;
    parameters.not_after = now + LIFETIME;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.name_constraints = Some(constraints(host));
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

/// Unique name, also among former authorities for the same host: OpenSSL finds an issuer by its name, and the system's
/// keychains list certificates by it.
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
        truncate_name(&format!("regauth authority for {host}")),
    );
    name
}

/// Cuts a text to 64 characters, the limit of a name's part (RFC 5280, appendix A.1). Only people read these names.
pub(super) fn truncate_name(text: &str) -> String {
    text.chars().take(64).collect()
}

fn constraints(host: &Host) -> NameConstraints {
    let all_v4 = GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4]));
    let all_v6 = GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16]));
    let no_name = GeneralSubtree::DnsName(NO_HOST.to_owned());
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

/// The only DNS name that an authority for an address may sign for. No resolver answers it (RFC 6761, section 6.4).
pub(super) const NO_HOST: &str = "regauth.invalid";

/// Organization in the name of every certificate of ours.
pub(super) const ORGANIZATION: &str = "regauth";

/// Tolerance for a client's clock that is behind ours, in a container or on another machine.
pub(super) const CLOCK_SKEW: Duration = Duration::hours(1);

const LIFETIME: Duration = Duration::days(3650);
