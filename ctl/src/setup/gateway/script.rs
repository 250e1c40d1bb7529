//! Environment of the clients of a gateway, as a script of the shell. Pure.

use std::path::Path;

use super::{GatewaySettings, TokenOrigin};
use crate::shell::{Shell, quote_fish, quote_sh};

/// Script that reads the token and sets the environment of all clients.
pub(super) fn environment(shell: Shell, gateway: &GatewaySettings, roots: &Path) -> String {
    let origin = gateway.url.origin().ascii_serialization();
    let (scheme, authority) = origin.split_once("://").unwrap_or(("https", &origin));
    let token = match (&gateway.token, shell) {
        // fish would leave out the whole argument for a file without a line.
        (TokenOrigin::File(file), Shell::Fish) => {
            format!("(cat {} 2>/dev/null; or echo)", quote_fish(&file.display().to_string()))
        }
        (TokenOrigin::File(file), _) => format!("$(cat {} 2>/dev/null)", quote_sh(&file.display().to_string())),
        (TokenOrigin::Variable(name), Shell::Fish) => format!("\"${name}\""),
        (TokenOrigin::Variable(name), _) => format!("${{{name}-}}"),
    };
    let roots = roots.display().to_string();
    let mut variables: Vec<_> = ROOT_VARIABLES
        .iter()
        .map(|name| ((*name).to_owned(), Some(roots.clone())))
        .collect();
    variables.extend(SWITCHES.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))));
    let proxies: String = PROXY_VARIABLES
        .iter()
        .map(|name| match shell {
            Shell::Fish => format!("set -gx {name} {scheme}://regauth:{token}@{authority};\n"),
            _ => format!("export {name}=\"{scheme}://regauth:{token}@{authority}\"\n"),
        })
        .collect();
    format!("{HEADING}{proxies}{}", shell.script(&variables))
}

/// Line of `.curlrc` with the roots of the proxy.
pub(super) fn curl_line(roots: &Path) -> String {
    let roots = roots.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("proxy-cacert = \"{roots}\"")
}

const HEADING: &str =
    "# Made by `regauthctl setup --gateway`, which rewrites it; `regauthctl setup --gateway --undo` removes it.\n";

/// Variables with the proxy's URL. Those of a client come before its files.
const PROXY_VARIABLES: [&str; 5] = [
    "HTTPS_PROXY",
    "https_proxy",
    "CARGO_HTTP_PROXY",
    "PIP_PROXY",
    "npm_config_https_proxy",
];
/// Variables with the roots of registries, and of the gateway itself.
const ROOT_VARIABLES: [&str; 11] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "GIT_PROXY_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "CARGO_HTTP_PROXY_CAINFO",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
];
const SWITCHES: [(&str, &str); 2] = [("NODE_USE_ENV_PROXY", "1"), ("CARGO_NET_GIT_FETCH_WITH_CLI", "true")];
#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn gateway(token: TokenOrigin) -> GatewaySettings {
        GatewaySettings {
            url: "https://gateway.example:9443".parse().unwrap(),
            token,
        }
    }

    fn run(script: &str, variables: &[(&str, &str)]) -> String {
        let line =
            format!("{script}printf '%s|%s|%s' \"$HTTPS_PROXY\" \"$CARGO_HTTP_PROXY\" \"$CARGO_HTTP_PROXY_CAINFO\"");
        let mut sh = Command::new("sh");
        sh.env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(variables.iter().copied());
        String::from_utf8(sh.arg("-c").arg(line).output().unwrap().stdout).unwrap()
    }

    #[test]
    fn a_shell_reads_the_token_from_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("it's the token");
        fs::write(&file, "abc.def-_\n").unwrap();
        let url = "https://regauth:abc.def-_@gateway.example:9443";
        let roots = Path::new("/roots of it.pem");
        let of_file = environment(Shell::Sh, &gateway(TokenOrigin::File(file.clone())), roots);
        assert!(!of_file.contains("abc"), "{of_file}");
        assert_eq!(run(&of_file, &[]), format!("{url}|{url}|/roots of it.pem"));
        let of_variable = environment(Shell::Sh, &gateway(TokenOrigin::Variable("JOB".to_owned())), roots);
        assert_eq!(
            run(&of_variable, &[("JOB", "abc.def-_")]),
            format!("{url}|{url}|/roots of it.pem")
        );
        // Without a token the gateway says what is missing.
        fs::remove_file(&file).unwrap();
        let url = "https://regauth:@gateway.example:9443";
        assert_eq!(run(&of_file, &[]), format!("{url}|{url}|/roots of it.pem"));
        assert_eq!(run(&of_variable, &[]), format!("{url}|{url}|/roots of it.pem"));
    }

    #[test]
    fn fish_gets_its_own_syntax() {
        let of_file = environment(
            Shell::Fish,
            &gateway(TokenOrigin::File("/it's".into())),
            Path::new("/r"),
        );
        let line = "set -gx HTTPS_PROXY https://regauth:(cat '/it\\'s' 2>/dev/null; or echo)@gateway.example:9443;\n";
        assert!(of_file.contains(line), "{of_file}");
    }

    #[test]
    fn curl_gets_the_root_of_the_proxy_quoted() {
        assert_eq!(curl_line(Path::new("/a \"b\"")), "proxy-cacert = \"/a \\\"b\\\"\"");
    }
}
