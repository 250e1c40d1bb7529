use std::collections::BTreeSet;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage, OtherError, PeerIncompatible};

use super::*;
use crate::proxy::upstream::dial::{DialError, NameLookupError, NotLoopback};
use crate::proxy::upstream::proxy_handshake::{CorporateProxyError, ProxyProblem};

fn tls(error: TlsError) -> io::Error {
    io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
}

fn certificate(error: webpki::Error) -> io::Error {
    tls(TlsError::InvalidCertificate(CertificateError::Other(OtherError(
        std::sync::Arc::new(error),
    ))))
}

fn lookup(text: &str) -> NameLookupError {
    NameLookupError(io::Error::other(text))
}

fn dial(error: impl StdError + Send + Sync + 'static) -> DialError {
    DialError::Unreachable {
        addresses: Box::default(),
        source: Box::new(error),
    }
}

#[test]
fn each_cause_has_its_own_reason() {
    let errors: Vec<(Box<dyn StdError>, UpstreamFailure)> = vec![
        (
            Box::new(dial(lookup(
                "failed to lookup address information: Name or service not known",
            ))),
            UpstreamFailure::NameUnknown,
        ),
        (
            Box::new(dial(lookup(
                "failed to lookup address information: Temporary failure in name resolution",
            ))),
            UpstreamFailure::NameServerSilent,
        ),
        (
            Box::new(dial(io::Error::from_raw_os_error(libc::ECONNREFUSED))),
            UpstreamFailure::Refused,
        ),
        (
            Box::new(dial(io::Error::from_raw_os_error(libc::EHOSTUNREACH))),
            UpstreamFailure::NoRoute,
        ),
        (
            Box::new(dial(io::Error::from_raw_os_error(libc::EMFILE))),
            UpstreamFailure::OutOfDescriptors,
        ),
        (
            Box::new(dial(NameLookupError(io::Error::from_raw_os_error(libc::EMFILE)))),
            UpstreamFailure::OutOfDescriptors,
        ),
        (
            Box::new(dial(io::Error::from(io::ErrorKind::TimedOut))),
            UpstreamFailure::ConnectTimeout,
        ),
        (
            Box::new(DialError::Proxy(CorporateProxyError {
                proxy: "http://proxy.corp:3128".to_owned(),
                problem: ProxyProblem::Unreachable,
            })),
            UpstreamFailure::CorporateProxy,
        ),
        (
            Box::new(DialError::NotLoopback(NotLoopback)),
            UpstreamFailure::NotLoopback,
        ),
        (
            Box::new(io::Error::from(io::ErrorKind::UnexpectedEof)),
            UpstreamFailure::ClosedInHandshake,
        ),
        (
            Box::new(tls(TlsError::InvalidCertificate(CertificateError::Expired))),
            UpstreamFailure::CertificateExpired,
        ),
        (
            Box::new(tls(TlsError::InvalidCertificate(CertificateError::UnknownIssuer))),
            UpstreamFailure::CertificateUntrusted,
        ),
        (
            Box::new(certificate(webpki::Error::CaUsedAsEndEntity)),
            UpstreamFailure::CertificateIsAuthority,
        ),
        (
            Box::new(certificate(webpki::Error::UnsupportedCertVersion)),
            UpstreamFailure::CertificateOldForm,
        ),
        (
            Box::new(certificate(webpki::Error::BadDer)),
            UpstreamFailure::CertificateInvalid,
        ),
        (
            Box::new(tls(TlsError::InvalidMessage(InvalidMessage::InvalidContentType))),
            UpstreamFailure::NotTls,
        ),
        (
            Box::new(tls(TlsError::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ))),
            UpstreamFailure::NoCommonTls,
        ),
        (
            Box::new(tls(TlsError::AlertReceived(AlertDescription::CertificateRequired))),
            UpstreamFailure::ClientCertificateWanted,
        ),
        (
            Box::new(tls(TlsError::AlertReceived(AlertDescription::UnknownCA))),
            UpstreamFailure::ClientCertificateRefused,
        ),
        (Box::new(io::Error::other("something else")), UpstreamFailure::Other),
    ];
    for (error, expected) in errors {
        assert_eq!(UpstreamFailure::of(&*error), expected, "{error:?}");
    }
}

#[test]
fn a_missing_client_certificate_differs_from_a_wrong_one() {
    use UpstreamFailure::{CertificateExpired, ClientCertificateRefused, ClientCertificateWanted, NoCommonTls};
    for (failure, has_certificate, expected) in [
        (NoCommonTls, false, ClientCertificateWanted),
        (NoCommonTls, true, ClientCertificateRefused),
        (ClientCertificateRefused, false, ClientCertificateWanted),
        (CertificateExpired, false, CertificateExpired),
    ] {
        assert_eq!(failure.after_certificate_request(has_certificate), expected);
    }
    assert_eq!(
        ClientCertificateRefused.with_client_certificate(false),
        ClientCertificateWanted
    );
    assert_eq!(
        ClientCertificateWanted.with_client_certificate(true),
        ClientCertificateRefused
    );
    assert_eq!(NoCommonTls.with_client_certificate(true), NoCommonTls);
}

#[test]
fn a_stalled_upload_is_found_below_the_client_library() {
    let wrapped = dial(StalledBody);
    assert!(is_stalled_upload(&wrapped));
    assert!(!is_stalled_upload(&io::Error::other("reset")));
}

#[test]
fn each_reason_has_texts_and_a_name_of_its_own() {
    let all = UpstreamFailure::ALL;
    for (number, failure) in all.iter().enumerate() {
        assert_eq!(*failure as usize, number);
        for text in [failure.predicate(), failure.remedy()] {
            assert!(
                !text.ends_with('.') && !text.contains("  ") && !text.contains('\n'),
                "{text}"
            );
        }
    }
    let distinct = |text: fn(UpstreamFailure) -> &'static str| all.map(text).into_iter().collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(UpstreamFailure::name), all.len());
    assert_eq!(distinct(UpstreamFailure::predicate), all.len());
}
