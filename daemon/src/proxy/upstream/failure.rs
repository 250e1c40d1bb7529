//! Reasons why an upstream gave no answer, and their texts.
//!
//! [`UpstreamFailure::of`] finds the reason in the chain of an error. Each reason has one pair of constant texts, which the
//! responses to clients, `add-registry`, `verify`, `show`, `doctor` and the log all use.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};

use crate::proxy::exchange::body::StalledBody;
use crate::proxy::upstream::dial::{NameLookupError, NotLoopback};
use crate::proxy::upstream::proxy_handshake::CorporateProxyError;

/// Reason why an upstream gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UpstreamFailure {
    /// The name servers do not know the host's name.
    NameUnknown,
    /// No name server answers.
    NameServerSilent,
    /// Nothing listens on the port.
    Refused,
    /// The network has no route to the host.
    NoRoute,
    /// No connection within the deadline.
    ConnectTimeout,
    /// The daemon has reached its limit of open files.
    OutOfDescriptors,
    /// The corporate proxy cannot be reached or refuses the host.
    CorporateProxy,
    /// A registry's plain HTTP scope is not on loopback after resolution.
    NotLoopback,
    /// The connection ended before the answer.
    Closed,
    /// The connection ended during the TLS handshake.
    ClosedInHandshake,
    /// The answer is not HTTP.
    NotHttp,
    /// The head of the answer exceeds our limits.
    HeadTooLarge,
    /// An HTTP/2 connection or stream failed. h2 reports a head beyond our limits in the same way.
    Http2Failed,
    /// No answer within the deadline.
    NoAnswer,
    /// The certificate has expired.
    CertificateExpired,
    /// The certificate is not valid yet.
    CertificateNotYetValid,
    /// The certificate is for another name.
    CertificateForOtherName,
    /// No trusted authority signed the certificate.
    CertificateUntrusted,
    /// The server's own certificate is an authority's.
    CertificateIsAuthority,
    /// The certificate has no subjectAltName, or is older than X.509 version 3.
    CertificateOldForm,
    /// The certificate's signature uses an algorithm that rustls does not accept.
    CertificateWeak,
    /// The certificate is not meant for servers.
    CertificateNotForServers,
    /// The certificate is malformed, revoked, or invalid in another way.
    CertificateInvalid,
    /// The port does not speak TLS.
    NotTls,
    /// No TLS version, cipher, key exchange or signature scheme in common.
    NoCommonTls,
    /// The TLS handshake failed for another reason.
    TlsFailed,
    /// The server wants a client certificate, and the registry has none.
    ClientCertificateWanted,
    /// The server rejects the registry's client certificate.
    ClientCertificateRefused,
    /// The registry's `ca-file` or client certificate cannot be read.
    CertificatesUnreadable,
    /// Any other error.
    Other,
}

/// Class of failures that share a `regauth-error` code and a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// No connection, or no usable answer on it.
    Unreachable,
    /// The upstream has not proved its identity, or TLS failed.
    Untrusted,
    /// A deadline has passed.
    Timeout,
}

/// The texts of a failure: what happened, as a predicate of "The host", and what to do, both without a full stop.
struct Texts {
    class: FailureClass,
    /// Stable name for programs.
    name: &'static str,
    predicate: &'static str,
    remedy: &'static str,
}

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

    /// The reason, if the server has asked for a client certificate in the handshake that failed. Before TLS 1.3, servers
    /// report a missing one by an alert that means something else as well.
    #[must_use]
    pub(super) fn after_certificate_request(self, has_certificate: bool) -> Self {
        match self {
            Self::NoCommonTls | Self::ClientCertificateRefused | Self::TlsFailed if has_certificate => {
                Self::ClientCertificateRefused
            }
            Self::NoCommonTls | Self::ClientCertificateRefused | Self::TlsFailed => Self::ClientCertificateWanted,
            other => other,
        }
    }

    /// The reason, by whether the registry has a client certificate. TLS 1.3 servers reject a missing one after the
    /// handshake, and some with the alert for a wrong one.
    #[must_use]
    pub(super) fn with_client_certificate(self, has_certificate: bool) -> Self {
        match (self, has_certificate) {
            (Self::ClientCertificateRefused, false) => Self::ClientCertificateWanted,
            (Self::ClientCertificateWanted, true) => Self::ClientCertificateRefused,
            (other, _) => other,
        }
    }

    /// Class of the failure.
    pub fn class(self) -> FailureClass {
        self.texts().class
    }

    /// Stable name of the failure, for programs.
    pub fn name(self) -> &'static str {
        self.texts().name
    }

    /// The failure, as a predicate of "The host".
    pub fn predicate(self) -> &'static str {
        self.texts().predicate
    }

    /// Advice for the user.
    pub fn remedy(self) -> &'static str {
        self.texts().remedy
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn texts(self) -> Texts {
        use FailureClass::{Timeout, Unreachable, Untrusted};
        let (class, name, predicate, remedy) = match self {
            Self::NameUnknown => (
                Unreachable,
                "name-unknown",
                "has no address: the name servers do not know its name",
                "check the spelling of the host, then the network and VPN; if only a corporate proxy can resolve it, set \
                 `proxy` in [upstream] in config.toml",
            ),
            Self::NameServerSilent => (
                Unreachable,
                "name-server-silent",
                "cannot be looked up: no name server answers",
                "check this machine's network, VPN and DNS settings",
            ),
            Self::Refused => (
                Unreachable,
                "refused",
                "refuses connections on this port",
                "check the port in the URL, and whether the server is up",
            ),
            Self::NoRoute => (
                Unreachable,
                "no-route",
                "cannot be reached: the network has no route to it",
                "check the network, VPN and firewall",
            ),
            Self::ConnectTimeout => (
                Timeout,
                "connect-timeout",
                "did not accept a connection in time",
                "check whether the host is up, then the network, VPN and firewall on the way",
            ),
            Self::OutOfDescriptors => (
                Unreachable,
                "out-of-descriptors",
                "was not asked: regauthd has no file descriptor left",
                "raise the limit of open files where regauthd starts (LimitNOFILE, `ulimit -n`), or end some clients",
            ),
            Self::CorporateProxy => (
                Unreachable,
                "corporate-proxy",
                "cannot be reached through the corporate proxy",
                "check the proxy's address and password: `proxy` in [upstream] in config.toml, or HTTPS_PROXY where \
                 regauthd starts",
            ),
            Self::NotLoopback => (
                Unreachable,
                "not-loopback",
                "has an address that is not loopback, and plain HTTP with a token goes to loopback only, so nothing was sent",
                "give the registry an https:// scope, or correct the name in /etc/hosts or DNS",
            ),
            Self::Closed => (
                Unreachable,
                "closed",
                "closed the connection without an answer",
                "repeat; if it happens again, ask its operators",
            ),
            Self::ClosedInHandshake => (
                Unreachable,
                "closed-in-handshake",
                "closed the connection during the TLS handshake",
                "check the host and port in the URL; if they are right, ask its operators",
            ),
            Self::NotHttp => (
                Unreachable,
                "not-http",
                "answered something that is not valid HTTP",
                "check the port in the URL; if it is right, ask its operators",
            ),
            Self::HeadTooLarge => (
                Unreachable,
                "head-too-large",
                "answered with more headers than regauth accepts",
                "ask its operators to send fewer",
            ),
            Self::Http2Failed => (
                Unreachable,
                "http2-failed",
                "broke off its answer over HTTP/2, or sent more headers than regauth accepts",
                "repeat; if it happens again, ask its operators",
            ),
            Self::NoAnswer => (
                Timeout,
                "no-answer",
                "did not answer in time",
                "repeat later; check whether the server is up",
            ),
            Self::CertificateExpired => (
                Untrusted,
                "certificate-expired",
                "has a certificate that has expired, so nothing was sent",
                "ask its operators to renew it; check this machine's clock, too",
            ),
            Self::CertificateNotYetValid => (
                Untrusted,
                "certificate-not-yet-valid",
                "has a certificate that is not valid yet, so nothing was sent",
                "check this machine's clock; if it is right, ask its operators for another certificate",
            ),
            Self::CertificateForOtherName => (
                Untrusted,
                "certificate-for-other-name",
                "has a certificate for another name, so nothing was sent",
                "use the certificate's name in the URL, or ask its operators for a certificate \
                 with this name",
            ),
            Self::CertificateUntrusted => (
                Untrusted,
                "certificate-untrusted",
                "has a certificate that no trusted authority signed, so nothing was sent",
                "if your company's own authority signed it, give that authority's certificate: --ca-file with \
                 `regauthctl add-registry`, or ca-file in config.toml and `regauthctl reload`; the host may also have left \
                 out an intermediate certificate",
            ),
            Self::CertificateIsAuthority => (
                Untrusted,
                "certificate-is-authority",
                "uses an authority's certificate (CA:TRUE) as its own, which regauth does not accept, so nothing was sent",
                "have it issued again as a server's (`openssl req -x509` with `-addext \
                 basicConstraints=critical,CA:FALSE`), and give the new one as ca-file",
            ),
            Self::CertificateOldForm => (
                Untrusted,
                "certificate-old-form",
                "has a certificate of an old form, without subjectAltName, so nothing was sent",
                "have it issued again with the host's name as subjectAltName (`openssl req -x509` with `-addext \
                 subjectAltName=DNS:NAME`)",
            ),
            Self::CertificateWeak => (
                Untrusted,
                "certificate-weak",
                "has a certificate with a signature that regauth does not accept, so nothing was sent",
                "have it issued again with an ECDSA key or an RSA key of 2048 to 8192 bits, and SHA-256",
            ),
            Self::CertificateNotForServers => (
                Untrusted,
                "certificate-not-for-servers",
                "has a certificate that is not meant for servers, so nothing was sent",
                "have it issued again with the extended key usage serverAuth",
            ),
            Self::CertificateInvalid => (
                Untrusted,
                "certificate-invalid",
                "has a certificate that is not valid, so nothing was sent",
                "look at it with `openssl s_client -showcerts`, and ask its operators for another",
            ),
            Self::NotTls => (
                Untrusted,
                "not-tls",
                "does not speak TLS on this port, so nothing was sent",
                "check the port in the URL; plain http:// is for registries on loopback only",
            ),
            Self::NoCommonTls => (
                Untrusted,
                "no-common-tls",
                "has no TLS version or cipher in common with regauth, so nothing was sent",
                "ask its operators for TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20",
            ),
            Self::TlsFailed => (
                Untrusted,
                "tls-failed",
                "did not complete the TLS handshake",
                "check the host and port in the URL; `regauthctl log debug` adds the details to the log",
            ),
            Self::ClientCertificateWanted => (
                Untrusted,
                "client-certificate-wanted",
                "wants a client certificate",
                "set client-cert and client-key of the registry in config.toml, then `regauthctl reload`",
            ),
            Self::ClientCertificateRefused => (
                Untrusted,
                "client-certificate-refused",
                "refuses the registry's client certificate",
                "check client-cert of the registry: its dates, and whether the host trusts its issuer",
            ),
            Self::CertificatesUnreadable => (
                Untrusted,
                "certificates-unreadable",
                "was not asked: the registry's ca-file or client certificate cannot be read",
                "`regauthctl status` names the file; correct it, then `regauthctl reload`",
            ),
            Self::Other => (
                Unreachable,
                "other",
                "cannot be reached",
                "check the network and the host's name; `regauthctl log debug` adds the details to the log",
            ),
        };
        Texts {
            class,
            name,
            predicate,
            remedy,
        }
    }

    /// All failures, in the order of their numbers.
    pub const ALL: [Self; 30] = [
        Self::NameUnknown,
        Self::NameServerSilent,
        Self::Refused,
        Self::NoRoute,
        Self::ConnectTimeout,
        Self::OutOfDescriptors,
        Self::CorporateProxy,
        Self::NotLoopback,
        Self::Closed,
        Self::ClosedInHandshake,
        Self::NotHttp,
        Self::HeadTooLarge,
        Self::Http2Failed,
        Self::NoAnswer,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateForOtherName,
        Self::CertificateUntrusted,
        Self::CertificateIsAuthority,
        Self::CertificateOldForm,
        Self::CertificateWeak,
        Self::CertificateNotForServers,
        Self::CertificateInvalid,
        Self::NotTls,
        Self::NoCommonTls,
        Self::TlsFailed,
        Self::ClientCertificateWanted,
        Self::ClientCertificateRefused,
        Self::CertificatesUnreadable,
        Self::Other,
    ];
}

/// Returns true if the request failed because its client stopped sending the body.
pub(super) fn is_stalled_upload(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<StalledBody>() {
            return true;
        }
        next = cause.source();
    }
    false
}

#[cfg(test)]
mod tests;
