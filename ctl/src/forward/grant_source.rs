//! The grant of a forwarder: its proxy URL, from a file or the environment.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use regauth_shared::ErrorBody;
use url::Url;

use crate::error;

/// Place of the proxy URL that `regauthctl grant` printed. It may hold the URL, so it has no `Debug`.
pub(crate) enum GrantSource {
    /// File, read again for each connection: a new grant takes effect without a restart.
    File(PathBuf),
    /// The URL.
    Url(String),
}

/// Proxy and the header that shows the grant to it.
pub(crate) struct GrantedProxy {
    /// Host of the proxy, an IPv6 address without brackets.
    pub(crate) host: String,
    /// Port of the proxy.
    pub(crate) port: u16,
    /// Value of `Proxy-Authorization` (RFC 7617).
    pub(crate) authorization: String,
}

impl GrantSource {
    /// Reads the grant.
    ///
    /// # Errors
    /// The file cannot be read, or the text is not a grant's proxy URL. No message repeats it.
    pub(crate) fn read(&self) -> Result<GrantedProxy, ErrorBody> {
        match self {
            Self::File(file) => {
                let place = file.display().to_string();
                let text = fs::read_to_string(file).map_err(error::io(format!("cannot read {place}")))?;
                parse(text.trim()).ok_or_else(|| no_grant(&place))
            }
            Self::Url(url) => parse(url).ok_or_else(|| no_grant("HTTPS_PROXY")),
        }
    }
}

fn no_grant(place: &str) -> ErrorBody {
    error::usage(format!("{place} does not contain the proxy URL of a grant"))
        .hint("`regauthctl grant` prints one: http://regauth:TOKEN@HOST:PORT")
}

fn parse(url: &str) -> Option<GrantedProxy> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "http")?;
    let token = percent_decode_str(url.password()?).decode_utf8().ok()?;
    if url.username() != "regauth" || token.is_empty() {
        return None;
    }
    Some(GrantedProxy {
        host: url.host_str()?.trim_matches(['[', ']']).to_owned(),
        port: url.port_or_known_default()?,
        authorization: format!("Basic {}", STANDARD.encode(format!("regauth:{token}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_url_that_grant_prints() {
        let grant = parse("http://regauth:t%2Dk@[::1]:9001").unwrap();
        assert_eq!((grant.host.as_str(), grant.port), ("::1", 9001));
        assert_eq!(grant.authorization, format!("Basic {}", STANDARD.encode("regauth:t-k")));
        assert_eq!(parse("http://regauth:tok@gateway.corp").unwrap().port, 80);
    }

    #[test]
    fn refuses_every_other_text_without_repeating_it() {
        for text in [
            "",
            "sentinel",
            "http://127.0.0.1:9001",
            "http://regauth@127.0.0.1:9001/sentinel",
            "http://me:sentinel@127.0.0.1:9001",
            "https://regauth:sentinel@127.0.0.1:9001",
        ] {
            let error = GrantSource::Url(text.to_owned()).read().err().unwrap();
            assert!(!format!("{error:?}").contains("sentinel"), "{text}");
        }
    }
}
