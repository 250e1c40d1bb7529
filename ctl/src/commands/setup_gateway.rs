//! `regauthctl setup --gateway`: all clients of a machine without a daemon go through a team's gateway.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, Secret};
use secrecy::zeroize::Zeroizing;
use url::Url;

use crate::doctor::gateway::parse_url;
use crate::setup::gateway::{NewGateway, TokenOrigin, token_file};
use crate::setup::{SetupPlan, SetupTarget, Tool};
use crate::{error, paste, token};

/// Flags of a gateway.
#[derive(clap::Args)]
#[command(next_help_heading = "Gateways")]
pub(super) struct GatewayFlags {
    /// Set up all clients for this gateway, such as https://regauth.corp.example:9443; --undo needs no URL
    #[arg(long, value_name = "URL", num_args = 0..=1, value_parser = parse_url, group = "which")]
    gateway: Option<Option<Url>>,

    /// The gateway's bundle, which `regauthctl status` names where it runs
    #[arg(long, value_name = "FILE", requires = "gateway")]
    bundle: Option<PathBuf>,

    /// Root of the gateway's own certificate, unless the bundle has it
    #[arg(long, value_name = "FILE", requires = "gateway")]
    gateway_ca: Option<PathBuf>,

    /// File with the grant or token, which each new shell reads
    #[arg(long, value_name = "FILE", requires = "gateway", conflicts_with_all = ["token_env", "token_stdin"])]
    token_file: Option<PathBuf>,

    /// Variable with the grant or token, which each new shell reads
    #[arg(long, value_name = "VAR", requires = "gateway", conflicts_with = "token_stdin")]
    token_env: Option<String>,

    /// Read the grant or token from stdin, and keep it in a file that only you can read
    #[arg(long, requires = "gateway")]
    token_stdin: bool,
}

impl GatewayFlags {
    /// True if the flags name a gateway.
    pub(super) fn is_given(&self) -> bool {
        self.gateway.is_some()
    }
}

/// Plans the setup, or its undo. A dry run asks for no token.
pub(super) fn plan(flags: &GatewayFlags, undo: bool, dry_run: bool, folders: &Folders) -> Result<SetupPlan, ErrorBody> {
    if undo {
        return SetupPlan::undo(Tool::Gateway, &SetupTarget::User, folders);
    }
    let Some(Some(url)) = &flags.gateway else {
        return Err(error::usage("--gateway needs the gateway's URL")
            .hint("regauthctl setup --gateway https://gateway:9443 --bundle FILE"));
    };
    let Some(bundle) = &flags.bundle else {
        return Err(error::usage("clients need the roots of the gateway's registries").hint(
            "copy the bundle that `regauthctl status` names where the gateway runs, and name the copy: --bundle FILE",
        ));
    };
    let mut roots = certificates(bundle)?;
    if let Some(file) = &flags.gateway_ca {
        roots.extend(certificates(file)?);
    }
    let (token, secret) = flags.token(dry_run, url, folders)?;
    let gateway = NewGateway {
        url: url.clone(),
        roots,
        token,
        secret,
    };
    SetupPlan::for_gateway(gateway, folders)
}

impl GatewayFlags {
    /// Origin of the token, and the token itself if setup is to keep it.
    fn token(&self, dry_run: bool, url: &Url, folders: &Folders) -> Result<(TokenOrigin, Option<Secret>), ErrorBody> {
        if let Some(name) = &self.token_env {
            // One that is set: after `--token-env "$TOKEN"`, the name is a token, which must not be written down.
            drop(token::from_environment(name)?);
            check_variable(name)?;
            return Ok((TokenOrigin::Variable(name.clone()), None));
        }
        if let Some(file) = &self.token_file {
            let file = std::path::absolute(file).map_err(error::io("cannot find the current folder"))?;
            check_token_file(&file)?;
            return Ok((TokenOrigin::File(file), None));
        }
        let secret = match dry_run {
            true => None,
            false => Some(parse_token(&self.ask(url)?)?),
        };
        Ok((TokenOrigin::File(token_file(folders)), secret))
    }

    fn ask(&self, url: &Url) -> Result<Zeroizing<String>, ErrorBody> {
        if io::stdin().is_terminal() {
            return token::from_terminal(&format!("Grant or token for {url}: "));
        }
        if self.token_stdin {
            return token::from_stdin();
        }
        Err(error::usage("cannot ask for the token without a terminal")
            .hint("name its place with --token-file FILE or --token-env VAR, or pipe it in with --token-stdin"))
    }
}

/// Text of a PEM file with a certificate, ending in a line feed.
fn certificates(file: &Path) -> Result<Vec<u8>, ErrorBody> {
    let mut text = fs::read(file).map_err(error::io(format!("cannot read {}", file.display())))?;
    if !text.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE) {
        return Err(error::usage(format!("{} has no certificate in PEM", file.display())));
    }
    text.push(b'\n');
    Ok(text)
}

/// A shell expands the variable's name, so it must be nothing but a name.
fn check_variable(name: &str) -> Result<(), ErrorBody> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match is_name && !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()) {
        true => Ok(()),
        false => Err(error::usage("--token-env takes the name of a variable")
            .hint("for example --token-env REGAUTH_TOKEN; a token is never an argument")),
    }
}

/// Checks that the file can be read, by this user and not by everybody.
fn check_token_file(file: &Path) -> Result<(), ErrorBody> {
    let path = file.display();
    let text = fs::read_to_string(file).map(Zeroizing::new);
    let text = text.map_err(error::io(format!("cannot read {path}")))?;
    if parse_token(&text)?.expose() != text.trim() {
        return Err(
            error::usage(format!("{path} holds a URL, and has to hold the token alone"))
                .hint("keep what is between `regauth:` and `@`, or pipe the URL in with --token-stdin"),
        );
    }
    let mode = fs::metadata(file).map(|metadata| metadata.permissions().mode());
    if mode.map_err(error::io(format!("cannot read {path}")))? & OTHERS_READ != 0 {
        return Err(error::refused(format!("every user of this machine can read {path}"))
            .hint(format!("`chmod 600 {path}` and repeat")));
    }
    Ok(())
}

/// The token in a text: alone, or in the proxy URL that `regauthctl grant` prints.
fn parse_token(text: &str) -> Result<Secret, ErrorBody> {
    let text = paste::piped_token(text).trim();
    let url = Url::parse(text).ok();
    let token = url.as_ref().and_then(Url::password).unwrap_or(text);
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let unusual = || error::usage("that is no grant and no token: these have letters, digits and -_.~ only");
    if !token.bytes().all(is_usual) {
        return Err(unusual());
    }
    Secret::parse(token).map_err(|_| unusual())
}

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
const OTHERS_READ: u32 = 0o004;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_from_a_proxy_url_and_nothing_odd_gets_into_a_shell() {
        for (text, token) in [
            ("abc.def-_~9\n", Some("abc.def-_~9")),
            ("https://regauth:abc.def@gateway.example:9443\n", Some("abc.def")),
            ("http://regauth:abc@127.0.0.1:9001", Some("abc")),
            ("", None),
            ("a b", None),
            ("$(touch x)", None),
            ("a\nb", None),
            ("https://gateway.example:9443", None),
        ] {
            let parsed = parse_token(text);
            assert_eq!(parsed.as_ref().ok().map(|secret| secret.expose()), token, "{text}");
        }
    }

    #[test]
    fn a_variable_is_a_name() {
        for (name, fits) in [
            ("REGAUTH_TOKEN", true),
            ("_x9", true),
            ("9x", false),
            ("", false),
            ("A;touch x", false),
            ("abc.def", false),
        ] {
            assert_eq!(check_variable(name).is_ok(), fits, "{name}");
        }
    }
}
