//! Reasons to refuse a request as malformed or ambiguous, and the text for each.

use crate::policy::path::PathProblem;

/// Reason why a request is answered 400 `bad-request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestProblem {
    /// The path has no safe interpretation, or interpretations that belong to different scopes.
    Path(PathProblem),
    /// The length is not one number, or the transfer coding is not `chunked`.
    Framing,
    /// HTTP/1.1 without exactly one valid Host, or HTTP/2 without `:authority`.
    Host,
    /// The head of a connection's first request is too long.
    LongHead,
    /// A header overrides the path.
    PathOverride,
    /// The target is regauthd's own port.
    OwnPort,
    /// The token of a Git LFS object is not one that this process has sealed for this registry and host.
    ActionToken,
}

impl RequestProblem {
    /// Two sentences: what is wrong, and what to do. Constant.
    pub fn message(self) -> &'static str {
        match self {
            Self::Path(PathProblem::NotAbsolute) => PATH_NOT_ABSOLUTE,
            Self::Path(PathProblem::Climbs) => PATH_CLIMBS,
            Self::Path(PathProblem::InvalidEscape) => PATH_INVALID_ESCAPE,
            Self::Path(PathProblem::InvalidCharacter) => PATH_INVALID_CHARACTER,
            Self::Path(PathProblem::TooManyReadings) => PATH_TOO_MANY_READINGS,
            Self::Path(PathProblem::DifferentScopes) => PATH_DIFFERENT_SCOPES,
            Self::Framing => FRAMING,
            Self::Host => HOST,
            Self::LongHead => LONG_HEAD,
            Self::PathOverride => PATH_OVERRIDE,
            Self::OwnPort => OWN_PORT,
            Self::ActionToken => ACTION_TOKEN,
        }
    }
}

const PATH_NOT_ABSOLUTE: &str = "The request's path does not begin with a slash, so regauth did not send it. Send a path such as /index/config.json.\n";
const PATH_CLIMBS: &str = "A segment of the request's path is `..` or encodes it, so regauth did not send the request. Send \
    the path that it leads to.\n";
const PATH_INVALID_ESCAPE: &str = "The request's path contains a backslash or a `%` without two hexadecimal digits, so \
    regauth did not send the request. Encode them as %5C and %25.\n";
const PATH_INVALID_CHARACTER: &str = "The request's path is not UTF-8, or contains a control character or a look-alike of a \
    slash or dot, so regauth did not send the request. Remove that character from the path.\n";
const PATH_TOO_MANY_READINGS: &str =
    "The request's path is encoded several times over, so regauth did not send the request. Encode it once.\n";
const PATH_DIFFERENT_SCOPES: &str = "Servers can read the request's path in different ways, which belong to different \
    registries or to none, so regauth did not send the request. Check the path for double slashes, dots, `;`, encoded slashes \
    and the case of letters, and spell it as the scope that `regauthctl show` prints for the registry.\n";
const FRAMING: &str = "The request's Content-Length is not one number, or its Transfer-Encoding is not `chunked`, so regauth \
    did not send the request. Send one length or one chunked body.\n";
const HOST: &str = "The request does not name exactly one host, so regauth did not send it. Send one Host header, or \
    `:authority` over HTTP/2.\n";
const LONG_HEAD: &str = "The head of the request is longer than 32 KiB, so regauth did not read it. Send fewer or shorter headers; a \
    token for the proxy may have 16 KiB.\n";
const PATH_OVERRIDE: &str = "The request has a header that replaces its path, such as X-Original-URL, so regauth did not send \
    it. Remove the header.\n";
const OWN_PORT: &str =
    "The request's target is regauth's own port. Use that address as a proxy, not as a web server.\n";
const ACTION_TOKEN: &str = "The token for this Git LFS object was given for another host or registry, or before regauth was \
    started, so regauth did not send it. Run the git command again, which asks for another token.\n";
