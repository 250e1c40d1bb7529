//! Tests of our certificates, and of rogue ones, with webpki and whole handshakes in memory.

use std::io::{Read, Write};

use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection, SupportedProtocolVersion,
};
use time::Duration;

use super::*;

const NAME: &str = "corp.example";

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

fn authority(text: &str) -> (Arc<Authority>, Secret) {
    let (authority, key) = Authority::create(&host(text)).unwrap();
    (Arc::new(authority), key)
}

/// Client that trusts only this authority.
fn client(authority: &Authority, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(parse_pem(&authority.certificates.root).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Performs a handshake and sends one byte, so that the client receives its session tickets.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        deliver(&mut server, &mut client)?;
    }
    server.writer().write_all(b"!").unwrap();
    deliver(&mut server, &mut client)?;
    client.reader().read_exact(&mut [0]).unwrap();
    Ok((client, server))
}

fn deliver(server: &mut ServerConnection, client: &mut ClientConnection) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut wire).unwrap();
    }
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        client.read_tls(&mut rest).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// Server with a leaf that a thief of the intermediate's key signed.
fn rogue(authority: &Authority, key: &Secret, alternative_name: SanType) -> Arc<ServerConfig> {
    let issuer =
        Issuer::from_ca_cert_pem(&authority.certificates.intermediate, Key::from_secret(key).unwrap()).unwrap();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "a rogue leaf");
    parameters.subject_alt_names = vec![alternative_name];
    parameters.is_ca = IsCa::ExplicitNoCa;
    let key = KeyPair::generate().unwrap();
    let leaf = parameters.signed_by(&key, &issuer).unwrap();
    let chain = vec![leaf.into(), authority.intermediate.clone()];
    let config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.serialize_der().try_into().unwrap())
        .unwrap();
    Arc::new(config)
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

#[test]
fn serves_every_kind_of_host_over_tls_1_2_and_1_3() {
    let long = format!("{}.example", ["abcdefghi"; 24].join("."));
    for text in [
        NAME,
        "localhost",
        "xn--bcher-kva.example",
        "under_score.example",
        &long,
        "127.0.0.1",
        "::1",
    ] {
        let (authority, _) = authority(text);
        let server = authority.server_config().unwrap();
        for version in [&TLS12, &TLS13] {
            let client = client(&authority, &[version], &[]);
            let (client, _) = handshake(&client, &server, text).unwrap();
            assert_eq!(client.protocol_version(), Some(version.version), "{text}");
        }
    }
}

#[test]
fn refuses_a_name_that_no_certificate_can_carry() {
    let error = Authority::create(&host("corp-.example")).unwrap_err();
    assert!(matches!(error, AuthorityError::InvalidName));
}

#[test]
fn a_stolen_key_signs_for_no_other_name() {
    let (authority, key) = authority(NAME);
    let client = client(&authority, &[&TLS13], &[]);
    for (alternative_name, asked) in [
        (dns("evil.example"), "evil.example"),
        (dns("*.evil.example"), "www.evil.example"),
        (dns("notcorp.example"), "notcorp.example"),
        (dns("www.corp.example"), "www.corp.example"),
        (dns("*.corp.example"), "www.corp.example"),
        (ip("127.0.0.1"), "127.0.0.1"),
        (ip("::1"), "::1"),
    ] {
        let server = rogue(&authority, &key, alternative_name.clone());
        let error = handshake(&client, &server, asked).unwrap_err();
        assert!(
            error.to_string().contains("NameConstraint"),
            "{alternative_name:?}: {error}"
        );
    }
    handshake(&client, &rogue(&authority, &key, dns(NAME)), NAME).unwrap();
}

/// RUSTSEC-2026-0099: a permitted name does not permit a wildcard that matches it.
#[test]
fn a_wildcard_above_the_host_covers_nothing() {
    let (authority, key) = authority("www.corp.example");
    let client = client(&authority, &[&TLS13], &[]);
    let server = rogue(&authority, &key, dns("*.corp.example"));
    for asked in ["www.corp.example", "other.corp.example"] {
        let error = handshake(&client, &server, asked).unwrap_err();
        assert!(error.to_string().contains("NameConstraint"), "{asked}: {error}");
    }
}

#[test]
fn an_authority_for_an_address_signs_for_no_name_and_no_other_address() {
    for (text, others) in [("127.0.0.1", ["127.0.0.2", "::1"]), ("::1", ["::2", "127.0.0.1"])] {
        let (authority, key) = authority(text);
        let client = client(&authority, &[&TLS13], &[]);
        for other in others {
            let error = handshake(&client, &rogue(&authority, &key, ip(other)), other).unwrap_err();
            assert!(error.to_string().contains("NameConstraint"), "{text} {other}: {error}");
        }
        for name in ["localhost", NAME] {
            let error = handshake(&client, &rogue(&authority, &key, dns(name)), name).unwrap_err();
            assert!(error.to_string().contains("NameConstraint"), "{text} {name}: {error}");
        }
    }
}

#[test]
fn a_client_rejects_another_authority_for_the_same_host() {
    let ((ours, _), (other, _)) = (authority(NAME), authority(NAME));
    let client = client(&other, &[&TLS13], &[]);
    assert!(handshake(&client, &ours.server_config().unwrap(), NAME).is_err());
}

#[test]
fn alpn_offers_only_http() {
    let (authority, _) = authority(NAME);
    let server = authority.server_config().unwrap();
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let client = client(&authority, &[&TLS13], offered);
        assert_eq!(handshake(&client, &server, NAME).unwrap().0.alpn_protocol(), chosen);
    }
    let client = client(&authority, &[&TLS13], &["spdy/1"]);
    let error = handshake(&client, &server, NAME).unwrap_err();
    assert_eq!(error, rustls::Error::NoApplicationProtocol);
}

#[test]
fn sessions_resume_without_early_data() {
    let (authority, _) = authority(NAME);
    let server = authority.server_config().unwrap();
    for version in [&TLS12, &TLS13] {
        let client = client(&authority, &[version], &[]);
        handshake(&client, &server, NAME).unwrap();
        let (second, _) = handshake(&client, &server, NAME).unwrap();
        assert_eq!(second.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
    }
    assert_eq!(server.max_early_data_size, 0);
    assert!(!server.send_half_rtt_data);
}

#[test]
fn clients_still_trust_a_restored_authority() {
    let (before, key) = authority(NAME);
    let client = client(&before, &[&TLS13], &[]);
    let json = serde_json::to_string(before.certificates()).unwrap();
    let after = Authority::restore(&host(NAME), serde_json::from_str(&json).unwrap(), &key).unwrap();
    assert_eq!(after.certificates(), before.certificates());
    handshake(&client, &Arc::new(after).server_config().unwrap(), NAME).unwrap();
}

#[test]
fn refuses_to_restore_mismatched_certificates_and_keys() {
    let ((ours, key), (other, other_key)) = (authority(NAME), authority(NAME));
    let (host, certificates) = (host(NAME), ours.certificates().clone());
    let restore = |host: &Host, certificates: &Certificates, key: &Secret| {
        Authority::restore(host, certificates.clone(), key)
            .map(|_| ())
            .unwrap_err()
    };
    let is = |error: AuthorityError, expected: &str| assert!(format!("{error:?}").starts_with(expected), "{error:?}");

    is(restore(&host, &certificates, &other_key), "OtherKey");
    is(
        restore(&host, &certificates, &Secret::parse("bm90IGEga2V5").unwrap()),
        "UnreadableKey",
    );
    is(
        restore(&host, &certificates, &Secret::parse("not base64").unwrap()),
        "UnreadableKey",
    );
    for stranger in ["evil.example", "www.corp.example", "example", "127.0.0.1", "::1"] {
        is(restore(&stranger.parse().unwrap(), &certificates, &key), "OtherHost");
    }
    let mixed = |root: &str, intermediate: &str| Certificates {
        root: root.to_owned(),
        intermediate: intermediate.to_owned(),
    };
    let others = other.certificates();
    is(
        restore(&host, &mixed(&others.root, &certificates.intermediate), &key),
        "Broken",
    );
    is(
        restore(&host, &mixed(&certificates.root, &others.intermediate), &key),
        "OtherKey",
    );
    is(
        restore(&host, &mixed("", &certificates.intermediate), &key),
        "Unreadable",
    );
    is(
        restore(&host, &mixed(&unconstrained_root(), &certificates.intermediate), &key),
        "OtherHost",
    );
}

/// Root that an attacker with write access to the journal could add to the bundle.
fn unconstrained_root() -> String {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn restores_an_authority_only_within_its_validity() {
    let (authority, key) = authority("127.0.0.1");
    let at = |time| {
        let certificates = authority.certificates().clone();
        Authority::restore_at(authority.host(), certificates, &key, time).map(|_| ())
    };
    let created = OffsetDateTime::now_utc();
    assert!(matches!(
        at(created - Duration::hours(2)),
        Err(AuthorityError::NotYetValid { .. })
    ));
    assert!(at(created + Duration::days(3600)).is_ok());
    for days in [3630, 4000] {
        let error = at(created + Duration::days(days)).unwrap_err();
        let AuthorityError::Expiring { expires } = error else {
            panic!("{error}")
        };
        assert!((3649..=3650).contains(&(expires - created).whole_days()), "{expires}");
    }
}

#[test]
fn replaces_a_leaf_after_half_its_lifetime() {
    let (authority, _) = authority(NAME);
    let now = OffsetDateTime::now_utc();
    let first = authority.leaf_at(now);
    assert!(Arc::ptr_eq(&first, &authority.leaf_at(now + Duration::hours(10))));

    let second = authority.leaf_at(now + Duration::hours(12));
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &authority.leaf_at(now + Duration::hours(13))));

    let after_the_clock_was_put_back = authority.leaf_at(now - Duration::hours(2));
    assert!(!Arc::ptr_eq(&second, &after_the_clock_was_put_back));
}

#[test]
fn a_leaf_is_valid_for_a_day_and_has_its_own_key() {
    let (authority, _) = authority(NAME);
    let now = OffsetDateTime::now_utc();
    let keys: Vec<_> = [now, now + Duration::days(1)]
        .iter()
        .map(|time| {
            let certified = authority.leaf_at(*time).certified();
            assert_eq!(certified.cert.len(), 2);
            let (_, leaf) = x509_parser::parse_x509_certificate(&certified.cert[0]).unwrap();
            let validity = leaf.validity();
            let life = validity.not_after.to_datetime() - validity.not_before.to_datetime();
            assert!(life <= Duration::days(1) && validity.not_before.to_datetime() <= *time - Duration::minutes(59));
            leaf.public_key().raw.to_vec()
        })
        .collect();
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn debug_and_errors_hold_no_key() {
    let (authority, key) = authority(NAME);
    let error = Authority::restore(&host("evil.example"), authority.certificates().clone(), &key).unwrap_err();
    for text in [format!("{authority:?}"), format!("{error:?} {error}")] {
        assert!(!text.contains(key.expose()) && !text.contains(&key.expose()[40..80]));
    }
}
