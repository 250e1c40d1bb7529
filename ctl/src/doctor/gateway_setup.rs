//! Checks of a machine that `setup --gateway` has set up: the token, the roots, and the environment of this shell.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use regauth_shared::paths::Folders;
use url::Url;

use super::context::variable;
use super::environment::bypass;
use super::finding::Finding;
use crate::setup::gateway::{self, GatewaySettings, TokenOrigin};

/// Runs the checks.
pub(crate) fn check(settings: &GatewaySettings, folders: &Folders) -> Vec<Finding> {
    let findings = [
        check_token(settings),
        check_mode(settings),
        check_roots(settings, folders),
        check_environment(settings, folders, variable),
    ];
    let mut findings: Vec<_> = findings.into_iter().flatten().collect();
    let hosts = hosts_of_registries(&fs::read_to_string(gateway::roots_file(folders)).unwrap_or_default());
    let bypasses = ["NO_PROXY", "no_proxy"]
        .into_iter()
        .filter_map(|name| bypass(name, &variable(name)?, &hosts));
    findings.extend(bypasses);
    findings
}

/// Hosts of the gateway's registries: its bundle names the host of each authority in a comment.
fn hosts_of_registries(roots: &str) -> Vec<String> {
    let hosts = roots
        .lines()
        .filter_map(|line| line.strip_prefix("# regauth authority for "));
    hosts.map(str::to_owned).collect()
}

fn check_token(settings: &GatewaySettings) -> Option<Finding> {
    let error = settings.read_token().err()?;
    let remedy = match &settings.token {
        TokenOrigin::File(file) => format!("put the grant or token into {}", file.display()),
        TokenOrigin::Variable(name) => format!("export {name} before the shell reads its profile"),
    };
    let message = format!("setup --gateway names a token that is not there: {}", error.message);
    Some(Finding::new("gateway-token-missing", message, WITHOUT_TOKEN, remedy))
}

fn check_mode(settings: &GatewaySettings) -> Option<Finding> {
    let TokenOrigin::File(file) = &settings.token else {
        return None;
    };
    let is_exposed = fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS_READ != 0);
    is_exposed.then(|| {
        Finding::new(
            "gateway-token-exposed",
            format!("every user of this machine can read the token in {}", file.display()),
            "they can use the registries that it opens",
            format!("chmod 600 {}", file.display()),
        )
    })
}

fn check_roots(settings: &GatewaySettings, folders: &Folders) -> Option<Finding> {
    let file = gateway::roots_file(folders);
    let error = fs::File::open(&file).err()?;
    Some(Finding::new(
        "gateway-roots-missing",
        format!("cannot read the roots in {}: {error}", file.display()),
        "every client distrusts the gateway and its registries",
        format!(
            "regauthctl setup --gateway {} --bundle FILE, with the flags of the first time",
            settings.url
        ),
    ))
}

/// Checks that this shell's environment leads to the gateway, with the present token.
fn check_environment(
    settings: &GatewaySettings,
    folders: &Folders,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Finding> {
    let proxy = variable("HTTPS_PROXY").and_then(|url| Url::parse(&url).ok());
    let problem = match &proxy {
        Some(proxy) if proxy.origin() != settings.url.origin() => "HTTPS_PROXY of this shell names another proxy",
        None => "HTTPS_PROXY is not set in this shell",
        Some(proxy) => {
            let token = settings.read_token().ok()?;
            if proxy.password().unwrap_or_default() == token.as_str() {
                return None;
            }
            "this shell has another token than the present one"
        }
    };
    let remedy = gateway::source_command(folders).unwrap_or_else(|_| "start a new shell".to_owned());
    let consequence = "clients that this shell starts do not use the gateway as it is set up";
    let remedy = remedy.trim_matches('`').to_owned();
    Some(Finding::new("gateway-not-in-shell", problem.to_owned(), consequence, remedy).into_note())
}

const WITHOUT_TOKEN: &str = "the gateway answers 407 to every client";
const OTHERS_READ: u32 = 0o004;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_with_another_proxy_or_token_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "present\n").unwrap();
        let settings = GatewaySettings {
            url: "https://gateway.example:9443".parse().unwrap(),
            token: TokenOrigin::File(file),
        };
        let folders = Folders::below(folder.path());
        for (proxy, says) in [
            (Some("https://regauth:present@gateway.example:9443"), None),
            (
                Some("https://regauth:former@gateway.example:9443"),
                Some("another token"),
            ),
            (
                Some("https://regauth:present@other.example:9443"),
                Some("another proxy"),
            ),
            (Some("http://127.0.0.1:9001"), Some("another proxy")),
            (None, Some("is not set")),
        ] {
            let finding = check_environment(&settings, &folders, |_| proxy.map(str::to_owned));
            let message = finding.map(|finding| finding.message);
            match says {
                None => assert_eq!(message, None),
                Some(says) => {
                    let message = message.unwrap();
                    assert!(message.contains(says) && !message.contains("former"), "{message}");
                }
            }
        }
    }
}
