//! Checks of a gateway from a client's machine: the real curl connects, shows the token, and asks for a host to which no
//! bearer is let. The gateway answers that itself, so no registry is asked.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use url::{Host, Url};

use crate::child_output::{self, Limits};
use crate::doctor::Finding;
use crate::program::on_path;

/// Gateway to check.
pub(crate) struct Gateway<'a> {
    /// Proxy URL, without a login.
    pub(crate) url: &'a Url,
    /// Root of its certificate. `None`: the system's roots.
    pub(crate) root: Option<&'a Path>,
    /// Token or grant to show.
    pub(crate) token: Option<String>,
}

/// Parses the URL of a gateway.
///
/// # Errors
/// The fault of the URL, for a person.
pub(crate) fn parse_url(text: &str) -> Result<Url, &'static str> {
    let url: Url = text
        .parse()
        .map_err(|_| "expected a URL such as https://regauth.corp.example:9443")?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("expected a URL such as https://regauth.corp.example:9443"),
    };
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("leave the token out of the URL, since others see arguments; name its variable with --token-env")
        }
        "https" => Ok(url),
        "http" if is_loopback => Ok(url),
        _ => Err("a token may go to another machine over https:// only"),
    }
}

/// Asks the gateway, and says what a client would run into.
pub(crate) fn examine(gateway: &Gateway<'_>) -> Vec<Finding> {
    let Some(curl) = on_path("curl") else {
        let consequence = "doctor asks a gateway by means of curl";
        return vec![Finding::new(
            "curl-missing",
            "curl is not installed",
            consequence,
            "install curl",
        )];
    };
    match ask(&curl, gateway) {
        Ok(answer) => read_answer(gateway, &answer).into_iter().collect(),
        Err(finding) => vec![finding],
    }
}

/// Runs curl, and returns the head and body of the gateway's answer.
fn ask(curl: &Path, gateway: &Gateway<'_>) -> Result<String, Finding> {
    let failed = |error: std::io::Error| {
        Finding::new(
            "curl-failed",
            format!("cannot run curl: {error}"),
            UNKNOWN,
            "run curl by hand",
        )
    };
    let mut command = Command::new(curl);
    command.args(["-q", "--config", "-"]);
    // Arguments are public, so the token goes by standard input.
    let output = child_output::read(&mut command, &curl_config(gateway), LIMITS).map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(no_answer(gateway, output.status.code()))
}

fn curl_config(gateway: &Gateway<'_>) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut config = format!(
        "silent\ninclude\nmax-time = 20\nnoproxy = \"\"\nproxy = \"{}\"\nurl = \"{NOBODY}\"\n",
        quoted(gateway.url.as_str())
    );
    if let Some(root) = gateway.root {
        config += &format!("proxy-cacert = \"{}\"\n", quoted(&root.display().to_string()));
    }
    if let Some(token) = &gateway.token {
        config += &format!("proxy-user = \"regauth:{}\"\n", quoted(token));
    }
    config
}

/// Finding for an exit status of curl (curl(1), "EXIT CODES").
fn no_answer(gateway: &Gateway<'_>, code: Option<i32>) -> Finding {
    let url = gateway.url;
    let (code, problem, remedy) = match code {
        Some(5) => (
            "gateway-unknown",
            "has no address",
            "correct the name in the URL, or the name service",
        ),
        Some(7) => (
            "gateway-unreachable",
            "refuses the connection or is not there",
            "check the port, the firewall, and on the gateway: regauthctl status",
        ),
        Some(28) => (
            "gateway-silent",
            "does not answer within 20 s",
            "check the network and the load balancer",
        ),
        Some(60) => (
            "gateway-untrusted",
            "has a certificate that this machine does not trust",
            "name its root with --gateway-ca, and in the client's setting for the proxy's certificate",
        ),
        Some(77) => (
            "gateway-root",
            "has a root that curl cannot read",
            "correct the file of --gateway-ca",
        ),
        Some(35) => (
            "gateway-tls",
            "does not speak TLS as expected",
            "check that the port is the one of `listen-tls` and that the load balancer passes TCP through",
        ),
        _ => (
            "gateway-failed",
            "ended the connection without an answer",
            "see the gateway's log: regauthctl logs",
        ),
    };
    Finding::new(code, format!("the gateway {url} {problem}"), NO_CLIENT, remedy)
}

/// Finding for the gateway's answer; `None` if it lets the client in.
fn read_answer(gateway: &Gateway<'_>, answer: &str) -> Option<Finding> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let code = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("regauth-error").then(|| value.trim())
    });
    let url = gateway.url;
    match (code, &gateway.token) {
        // It knows the bearer, and lets nobody go to that host.
        (Some("grant-denied"), _) => None,
        (Some("grant-required"), None) => Some(
            Finding::new(
                "gateway-wants-token",
                format!("the gateway {url} answers, and wants a token"),
                "without one, doctor cannot tell whether the gateway would accept the client's",
                "put a token into a variable and name it: regauthctl doctor --gateway URL --token-env NAME",
            )
            .into_note(),
        ),
        (Some("grant-required"), Some(_)) => Some(Finding::new(
            "gateway-refuses-grant",
            format!("the gateway {url} does not know this grant, and it is no token"),
            NO_CLIENT,
            "make a grant on the gateway with `regauthctl grant`, or show a token of an issuer that it trusts",
        )),
        (Some("identity-rejected"), _) => {
            let (problem, remedy) = body
                .trim()
                .split_once(". ")
                .unwrap_or((body.trim(), "ask the gateway's operator"));
            Some(Finding::new(
                "gateway-rejects-token",
                format!("the gateway {url} rejects the token: {problem}"),
                NO_CLIENT,
                remedy.trim_end_matches('.'),
            ))
        }
        (Some(other), _) => Some(Finding::new(
            "gateway-refuses",
            format!("the gateway {url} answers {other}"),
            NO_CLIENT,
            "see docs/troubleshooting.md, and the gateway's log",
        )),
        (None, _) => Some(Finding::new(
            "gateway-is-another",
            format!("{url} answers, and is no regauth"),
            NO_CLIENT,
            "correct the URL: it is that of `listen-tls`, or of the load balancer in front",
        )),
    }
}

/// URL that a gateway refuses to every bearer: loopback.
const NOBODY: &str = "http://127.0.0.1:1/";
const NO_CLIENT: &str = "no client of this machine reaches a registry through it";
/// The answer is regauth's own, and short. curl's own time limit comes first.
const LIMITS: Limits = Limits {
    bytes: 1024 * 1024,
    time: Duration::from_secs(30),
};
const UNKNOWN: &str = "doctor cannot tell whether the gateway works";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_without_a_token_and_reached_over_tls() {
        for (url, fits) in [
            ("https://regauth.corp.example:9443", true),
            ("http://127.0.0.1:9001", true),
            ("http://localhost:9001", true),
            ("http://regauth.corp.example:9001", false),
            ("https://regauth:token@regauth.corp.example:9443", false),
            ("socks5://127.0.0.1:1", false),
            ("regauth.corp.example", false),
            ("", false),
        ] {
            assert_eq!(parse_url(url).is_ok(), fits, "{url}");
        }
    }

    #[test]
    fn texts_are_quoted_for_curl() {
        let url = parse_url("https://corp.example:9443").unwrap();
        let gateway = Gateway {
            url: &url,
            root: Some(Path::new("/a \"b\"")),
            token: Some("a\\b\"c".to_owned()),
        };
        let config = curl_config(&gateway);
        assert!(config.contains(r#"proxy-cacert = "/a \"b\"""#), "{config}");
        assert!(config.contains(r#"proxy-user = "regauth:a\\b\"c""#), "{config}");
    }
}
