//! `regauthctl upstream`.

use regauth_shared::request::{Nothing, SetUpstream};
use regauth_shared::response::{Status, UpstreamProxy, UpstreamSet};
use regauth_shared::secret::Secret;
use regauth_shared::{ErrorBody, Request};
use secrecy::zeroize::Zeroizing;

use crate::client::Client;
use crate::error;
use crate::output::{self, Report};
use crate::token;

/// Show or set the company's proxy
///
/// Without a URL, shows the proxies in use and where each was set. With one, writes it to config.toml, in place of the one
/// there. If it names a user, asks for the password and keeps that in the store. A new password for the proxy in use counts
/// at once, a new proxy from the next start of regauthd.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// URL of the proxy, without a password: http://, https://, socks5h:// or socks5://
    #[arg(value_name = "URL")]
    proxy: Option<String>,

    /// Read the password from stdin instead of asking
    #[arg(long, requires = "proxy")]
    password_stdin: bool,

    /// Remove the proxy from config.toml, and its password from the store
    #[arg(long, conflicts_with = "proxy")]
    remove: bool,

    /// A host, .suffix or address range to reach without the proxy; can be given several times
    #[arg(long, value_name = "HOST", requires = "proxy")]
    no_proxy: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl upstream
  regauthctl upstream http://proxy.corp.example:3128 --no-proxy .corp.example
  regauthctl upstream http://me@proxy.corp.example:3128
  regauthctl upstream --remove
  pass show proxy | regauthctl upstream http://me@proxy:3128 --password-stdin";

/// Shows or sets the proxy.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    if arguments.remove {
        return removal(client);
    }
    let Some(proxy) = &arguments.proxy else {
        let status: Status = client.call(&Request::Status(Nothing {}))?.answer;
        let text = describe(&status.upstream_proxies);
        return Report::from_value(&status.upstream_proxies, text);
    };
    let request = Request::SetUpstream(SetUpstream {
        proxy: Some(with_password(proxy, arguments.password_stdin)?),
        no_proxy: arguments.no_proxy,
        replace: true,
        ..SetUpstream::default()
    });
    let reply = client.call(&request)?;
    Ok(Report::from_reply(reply, describe_change))
}

/// Removes the proxy and its password.
///
/// # Errors
/// Those of the store and the files.
pub(super) fn removal(client: &Client) -> Result<Report, ErrorBody> {
    let request = Request::SetUpstream(SetUpstream {
        remove: true,
        ..SetUpstream::default()
    });
    Ok(Report::from_reply(client.call(&request)?, describe_change))
}

fn describe_change(set: &UpstreamSet) -> String {
    output::notes(&set.notes)
}

/// The URL with the password of its user, if it names one.
fn with_password(proxy: &str, from_stdin: bool) -> Result<Secret, ErrorBody> {
    let url = parse(proxy)?;
    if url.password().is_some() {
        return Err(
            error::usage("passwords in arguments are visible to every process; leave it out of the URL")
                .hint("`regauthctl upstream http://USER@HOST:PORT` asks for it; --password-stdin reads it from stdin"),
        );
    }
    let whole = |text: &str| Secret::parse(text).map_err(|why| error::usage(format!("the proxy's URL: {why}")));
    if url.username().is_empty() {
        return if from_stdin {
            Err(error::usage("the URL names no user").hint("http://USER@HOST:PORT --password-stdin"))
        } else {
            whole(proxy)
        };
    }
    let password = if from_stdin {
        token::from_stdin()?
    } else {
        token::from_terminal(&format!("Password of {} for the proxy: ", url.username()))
            .map_err(|error| error.hint("--password-stdin reads it from stdin"))?
    };
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(error::usage("the password is empty"));
    }
    let encoded =
        Zeroizing::new(percent_encoding::utf8_percent_encode(password, percent_encoding::NON_ALPHANUMERIC).to_string());
    let Some((scheme, rest)) = proxy.split_once("://") else {
        return Err(not_a_proxy());
    };
    let (user, address) = rest.rsplit_once('@').ok_or_else(not_a_proxy)?;
    whole(&Zeroizing::new(format!("{scheme}://{user}:{}@{address}", *encoded)))
}

fn parse(proxy: &str) -> Result<url::Url, ErrorBody> {
    let url = url::Url::parse(proxy).map_err(|_| not_a_proxy())?;
    let is_known = ["http", "https", "socks5", "socks5h"].contains(&url.scheme());
    (is_known && url.host().is_some())
        .then_some(url)
        .ok_or_else(not_a_proxy)
}

fn not_a_proxy() -> ErrorBody {
    error::usage("expected the URL of a proxy").hint("such as http://proxy.corp.example:3128, or http://USER@HOST:PORT")
}

fn describe(proxies: &[UpstreamProxy]) -> String {
    if proxies.is_empty() {
        return "No proxy: connections to registries and other hosts are direct.\n".to_owned();
    }
    let line = |proxy: &UpstreamProxy| {
        format!(
            "{} for {}, set by {}\n",
            proxy.url,
            proxy.used_for.join(" and "),
            proxy.set_by
        )
    };
    proxies.iter().map(line).collect()
}
