//! `regauthctl add-registry`.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::ArgGroup;
use regauth_shared::response::RegistryAdded;
use regauth_shared::{ErrorBody, RegistryName, Request, Secret, request};

use super::source::SourceFlags;
use super::{client_configuration, registry};
use crate::client::Client;
use crate::error;
use crate::output::{self, Report};
use crate::token::TokenFlags;

/// Add a registry and serve it at once
///
/// Asks for the registry's token without echo, lets the daemon verify it against the registry, stores it in the
/// daemon's store and serves it from then on. Nothing is stored when the registry rejects the token.
///
/// A token that comes from elsewhere is not asked for: --source, --source-command and --credential-of say where it is.
///
/// With --index, the places that the index itself names on the same host are covered; --scope covers more. The token
/// is sent nowhere else.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("covered").required(true).multiple(true))]
pub(crate) struct Arguments {
    /// What to call it: a-z, 0-9, - and _
    name: RegistryName,

    /// The index, as cargo has it: sparse+https://…/ or the https:// URL of a git index
    #[arg(long, value_name = "URL", group = "covered")]
    index: Option<String>,

    /// What the registry covers, https://host/path/; can be given several times
    #[arg(long = "scope", value_name = "URL", group = "covered")]
    scopes: Vec<String>,

    /// What reads and writes look like [default: cargo]
    #[arg(long, value_parser = ["cargo", "git", "pypi", "npm", "generic"])]
    kind: Option<String>,

    /// How the token becomes a header: basic, bearer, raw, or a template as "X-Api-Key: {token}" [default: bearer]
    #[arg(long)]
    scheme: Option<String>,

    /// The user name, for the scheme basic
    #[arg(long, value_name = "USER")]
    username: Option<String>,

    /// Whether writes such as publish and push pass [default: deny]
    #[arg(long, value_name = "POLICY", value_parser = ["allow", "deny"])]
    writes: Option<String>,

    /// A PEM file of extra roots that this registry's certificate may chain to
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Store the token without asking the registry about it
    #[arg(long)]
    no_verify: bool,

    #[command(flatten)]
    token: TokenFlags,

    #[command(flatten)]
    source: SourceFlags,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl add-registry corp --index sparse+https://corp.example/index/
  regauthctl add-registry corp --index sparse+https://corp.example/index/ \\
      --scheme basic --username me@corp.example
  pass show forge | regauthctl add-registry forge --kind git \\
      --scope https://git.example/team/ --token-stdin
  regauthctl add-registry corp --index sparse+https://corp.example/index/ \\
      --source file:/run/secrets/corp
  regauthctl add-registry aws --index sparse+https://aws.example/index/ \\
      --scheme raw --source codeartifact:domain=d,owner=1,region=eu-west-1
  regauthctl add-registry gcp --scope https://gcp.example/ --source google
  regauthctl add-registry own --scope https://own.example/ \\
      --source-json /token --source-expires /expires \\
      --source-command mint-token --for own";

/// Adds the registry.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let ca_file = arguments.ca_file.as_deref().map(readable).transpose()?;
    let token = if arguments.source.is_elsewhere() && !arguments.token.given() {
        None
    } else {
        Some(token(&arguments, client)?)
    };
    let reply = client.ask(&Request::AddRegistry(Box::new(request::AddRegistry {
        name: arguments.name,
        index: arguments.index,
        scopes: arguments.scopes,
        kind: arguments.kind,
        scheme: arguments.scheme,
        username: arguments.username,
        writes: arguments.writes,
        ca_file,
        source: arguments.source.source,
        source_command: arguments.source.command.into_request()?,
        credential_of: arguments.source.credential_of,
        token,
        verify: !arguments.no_verify,
    })))?;
    Ok(Report::new(reply, words))
}

fn token(arguments: &Arguments, client: &Client) -> Result<Secret, ErrorBody> {
    arguments.token.read(|| {
        client.greet()?;
        let scheme = arguments.scheme.as_deref().unwrap_or("bearer");
        let scheme = registry::scheme(scheme, arguments.username.as_deref());
        Ok(format!("Token for {} ({scheme}): ", arguments.name))
    })
}

fn words(added: &RegistryAdded) -> String {
    let registry = &added.registry;
    let mut text = format!(
        "Added {}; {}.\nIt covers:\n",
        registry.name,
        registry::verified(added.verified)
    );
    for scope in &registry.scopes {
        text.push_str(&format!("  {scope}\n"));
    }
    text + &output::notes(&added.notes) + &client_configuration::lines(added)
}

/// The path as the daemon can use it, from whatever folder it runs in. Links stay: what they point to may change.
fn readable(file: &Path) -> Result<String, ErrorBody> {
    let refused = |what: String| error::usage(format!("--ca-file: {what}")).hint("give the path of a PEM file");
    let cannot = |error| refused(format!("cannot read {}: {error}", file.display()));
    let metadata = File::open(file).and_then(|file| file.metadata()).map_err(cannot)?;
    if metadata.is_dir() {
        return Err(refused(format!("{} is a folder", file.display())));
    }
    let absolute = std::path::absolute(file).map_err(cannot)?;
    match absolute.into_os_string().into_string() {
        Ok(path) => Ok(path),
        Err(_) => Err(refused("the path is not UTF-8".to_owned())),
    }
}
