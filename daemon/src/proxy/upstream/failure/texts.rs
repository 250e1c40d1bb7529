//! Table of the texts of all failures.

use super::{FailureClass, UpstreamFailure};

/// The texts of a failure: what happened, as a predicate of "The host", and what to do, both without a full stop.
pub(super) struct Texts {
    pub(super) class: FailureClass,
    /// Stable name for programs.
    pub(super) name: &'static str,
    pub(super) predicate: &'static str,
    pub(super) remedy: &'static str,
}

impl UpstreamFailure {
    /// Texts of this failure.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub(super) fn texts(self) -> Texts {
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
}
