//! Search for the reason in an error's chain: errors of h2, hyper, rustls and the system.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};

use super::UpstreamFailure;
use crate::proxy::upstream::dial::{NameLookupError, NotLoopback};
use crate::proxy::upstream::proxy_handshake::CorporateProxyError;

impl UpstreamFailure {
    /// The reason in an error's chain.
    pub(crate) fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut is_http = false;
        let mut found = Self::Other;
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(cause) = next {
            if let Some(failure) = Self::of_cause(cause) {
                return failure;
            }
            if let Some(error) = cause.downcast_ref::<hyper::Error>() {
                (is_http, found) = (true, Self::of_http(error));
            }
            if let Some(error) = cause.downcast_ref::<h2::Error>() {
                found = Self::Http2Failed;
                next = error.get_io().map(|error| error as &(dyn StdError + 'static));
                continue;
            }
            let io = cause.downcast_ref::<io::Error>();
            if let Some(failure) = io.and_then(|error| Self::of_io(error, is_http)) {
                found = failure;
            }
            // `source()` of an io::Error skips the error that it wraps.
            let wrapped = io.and_then(io::Error::get_ref);
            next = wrapped
                .map(|inner| inner as &(dyn StdError + 'static))
                .or_else(|| cause.source());
        }
        found
    }

    /// The reason that one error of a chain settles, whatever it wraps.
    fn of_cause(cause: &(dyn StdError + 'static)) -> Option<Self> {
        if cause.is::<CorporateProxyError>() {
            return Some(Self::CorporateProxy);
        }
        if cause.is::<NotLoopback>() {
            return Some(Self::NotLoopback);
        }
        if let Some(lookup) = cause.downcast_ref::<NameLookupError>() {
            return Some(Self::of_lookup(lookup));
        }
        cause.downcast_ref().map(Self::of_tls)
    }

    fn of_lookup(lookup: &NameLookupError) -> Self {
        match lookup.0.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => Self::OutOfDescriptors,
            // std keeps only the text of getaddrinfo's EAI_AGAIN: glibc and macOS, musl.
            _ if ["Temporary failure", "Try again"]
                .iter()
                .any(|text| lookup.0.to_string().contains(text)) =>
            {
                Self::NameServerSilent
            }
            _ => Self::NameUnknown,
        }
    }

    fn of_http(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::HeadTooLarge
        } else if error.is_parse() {
            Self::NotHttp
        } else {
            Self::Closed
        }
    }

    fn of_io(error: &io::Error, is_http: bool) -> Option<Self> {
        if let Some(libc::EMFILE | libc::ENFILE) = error.raw_os_error() {
            return Some(Self::OutOfDescriptors);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown => {
                Some(Self::NoRoute)
            }
            // TCP_USER_TIMEOUT and keep-alive end an open connection with the same error.
            io::ErrorKind::TimedOut if is_http => Some(Self::NoAnswer),
            io::ErrorKind::TimedOut => Some(Self::ConnectTimeout),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if !is_http => {
                Some(Self::ClosedInHandshake)
            }
            _ => None,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::NoCertificatesPresented => Self::CertificateInvalid,
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => Self::NoCommonTls,
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            _ => Self::TlsFailed,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::NoApplicationProtocol => Self::NoCommonTls,
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Self::ClientCertificateWanted,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Self::ClientCertificateRefused,
            _ => Self::TlsFailed,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::CertificateExpired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::CertificateNotYetValid,
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
                Self::CertificateOldForm
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::CertificateForOtherName
            }
            // A name constraint or another signer of the same name gives a bad signature.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::CertificateUntrusted,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::CertificateNotForServers
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::CertificateWeak,
            CertificateError::Other(OtherError(error)) => match error.downcast_ref() {
                Some(webpki::Error::CaUsedAsEndEntity) => Self::CertificateIsAuthority,
                Some(webpki::Error::UnsupportedCertVersion) => Self::CertificateOldForm,
                _ => Self::CertificateInvalid,
            },
            _ => Self::CertificateInvalid,
        }
    }
}
