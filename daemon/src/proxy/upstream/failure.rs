//! Reasons why an upstream gave no answer, and their texts.
//!
//! [`UpstreamFailure::of`] finds the reason in the chain of an error. Each reason has one pair of constant texts, which the
//! responses to clients, `add-registry`, `verify`, `show`, `doctor` and the log all use.

mod cause;
mod texts;

use std::error::Error as StdError;

use crate::proxy::exchange::body::StalledBody;

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

impl UpstreamFailure {
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
