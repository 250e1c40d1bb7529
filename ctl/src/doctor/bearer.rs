//! Checks of a grant in the environment: in a container, a sandbox, another account, or a shell of the daemon's own user.
//!
//! They need no daemon on this machine: the client's variables name the proxy, the bundle and cargo's registries.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::context::{DoctorContext, variable};
use super::environment::bypass;
use super::finding::{DISTRUSTS_REGAUTHD, Finding};
use crate::environment;
use crate::forward::{GrantSource, GrantedProxy};

/// Runs the checks; `None` without a grant in the environment.
pub(super) fn check() -> Option<Vec<Finding>> {
    let urls = GRANT_VARIABLES.into_iter().filter_map(variable);
    let proxy = urls.into_iter().find_map(|url| GrantSource::Url(url).read().ok())?;
    let targets = targets(std::env::vars());
    let mut findings: Vec<_> = check_proxy(&proxy, &targets).into_iter().collect();
    let hosts: Vec<String> = targets.iter().map(|(host, _)| host.clone()).collect();
    findings.extend(check_bundle(&hosts));
    findings.extend(
        ["NO_PROXY", "no_proxy"]
            .into_iter()
            .filter_map(|name| bypass(name, &variable(name)?, &hosts)),
    );
    Some(findings)
}

/// A grant in the environment of the daemon's own user: whether the proxy takes it, and a note that it is there.
pub(super) fn check_own_shell(context: &DoctorContext) -> Vec<Finding> {
    let found = GRANT_VARIABLES.into_iter().find_map(|name| {
        let url = variable(name).filter(|url| environment::is_grant(url, &context.info.proxy))?;
        Some((name, GrantSource::Url(url).read().ok()?))
    });
    let Some((name, proxy)) = found else {
        return Vec::new();
    };
    let in_use = || {
        Finding::new(
            "grant-in-use",
            format!("this shell shows a grant, by {name}"),
            "clients that read the variable have the grant's registries and operations, and its end",
            format!("nothing to do; without the grant: unset {name}"),
        )
        .into_note()
    };
    vec![check_proxy(&proxy, &targets(std::env::vars())).unwrap_or_else(in_use)]
}

/// Host and port of each index that cargo's variables name.
fn targets(variables: impl Iterator<Item = (String, String)>) -> Vec<(String, u16)> {
    let indexes = variables.filter(|(name, _)| name.starts_with("CARGO_REGISTRIES_") && name.ends_with("_INDEX"));
    let target = |(_, index): (String, String)| {
        let url = url::Url::parse(index.strip_prefix("sparse+").unwrap_or(&index)).ok()?;
        Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
    };
    indexes.filter_map(target).collect()
}

/// Shows the grant to the proxy, as clients do.
fn check_proxy(proxy: &GrantedProxy, targets: &[(String, u16)]) -> Option<Finding> {
    let address = format!("{}:{}", proxy.host, proxy.port);
    // A name that exists nowhere, if no registry is known. An ended grant is refused before the name counts.
    let unknown = ("regauth.invalid".to_owned(), 443);
    let (host, port) = targets.first().unwrap_or(&unknown);
    match connect_status(proxy, &format!("{host}:{port}")) {
        Ok(407) => Some(Finding::new(
            "grant-refused",
            format!("the proxy {address} refuses the grant of this environment"),
            "the grant has ended or was revoked, so every request fails, in cargo with `response 407`",
            "make a new one where regauthd runs: `regauthctl grant`, with the same flags",
        )),
        Ok(403) if !targets.is_empty() => Some(Finding::new(
            "grant-too-narrow",
            format!("the grant of this environment does not open {host}"),
            "requests to the registry fail",
            "make another one where regauthd runs, with `--registry NAME` for this registry",
        )),
        Ok(_) => None,
        Err(error) => Some(Finding::new(
            "proxy-unreachable",
            format!("the proxy {address} cannot be reached: {error}"),
            "no request leaves this environment",
            "share the network of the machine where regauthd runs, or have regauthd listen on an address that this one \
             reaches; `regauthctl grant --as CLIENT` there says how",
        )),
    }
}

/// Status of the answer to a CONNECT with the grant.
fn connect_status(proxy: &GrantedProxy, target: &str) -> io::Result<u16> {
    let addresses: Vec<_> = (proxy.host.as_str(), proxy.port).to_socket_addrs()?.collect();
    let address = addresses.first().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let authorization = &proxy.authorization;
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: {authorization}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = [0; "HTTP/1.1 407".len()];
    stream.read_exact(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..)?.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not answer as a proxy does"))
}

/// The bundle names the host of each authority in a comment.
fn check_bundle(hosts: &[String]) -> Option<Finding> {
    let file = ["CARGO_HTTP_CAINFO", "SSL_CERT_FILE"].into_iter().find_map(variable)?;
    let remedy = "mount the folder that `regauthctl status` names where regauthd runs, and not the file: the file is replaced \
                  whenever a registry comes or goes";
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read the bundle {file}: {error}");
            return Some(Finding::new("bundle-unreadable", message, DISTRUSTS_REGAUTHD, remedy));
        }
    };
    let is_missing = |host: &&String| !text.contains(&format!("# regauth authority for {host}\n"));
    let missing: Vec<&str> = hosts.iter().filter(is_missing).map(String::as_str).collect();
    (!missing.is_empty()).then(|| {
        let message = format!("the bundle {file} has no authority for {}", missing.join(", "));
        Finding::new("bundle-outdated", message, DISTRUSTS_REGAUTHD, remedy)
    })
}

/// Variables in which the recipes of `regauthctl grant --as` put a grant.
const GRANT_VARIABLES: [&str; 3] = ["HTTPS_PROXY", "https_proxy", "CARGO_HTTP_PROXY"];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hosts_of_indexes_in_the_variables_of_cargo() {
        let variables = [
            ("CARGO_REGISTRIES_CORP_INDEX", "sparse+https://corp.example/index/"),
            ("CARGO_REGISTRIES_GIT_INDEX", "https://git.example:8443/index.git"),
            ("CARGO_REGISTRIES_CORP_TOKEN", "https://not.example/"),
            ("CARGO_REGISTRIES_BAD_INDEX", "no URL"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let expected = [("corp.example".to_owned(), 443), ("git.example".to_owned(), 8443)];
        assert_eq!(targets(variables.into_iter()), expected);
    }
}
