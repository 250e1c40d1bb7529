//! `regauthctl add-registry`.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::ArgGroup;
use regauth_shared::response::RegistryAdded;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, Secret, request};

use super::source::SourceFlags;
use super::{client_configuration, git_index, registry};
use crate::client::{Client, Reply};
use crate::facts::is_git_index;
use crate::output::{self, Report};
use crate::presets::{self, Preset, User};
use crate::token::TokenFlags;
use crate::{error, interview};

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
#[command(after_help = EXAMPLES, group = ArgGroup::new("covered").multiple(true))]
pub(crate) struct Arguments {
    /// What to call it: a-z, 0-9, - and _; asked for at a terminal, as all that is missing
    name: Option<RegistryName>,

    /// What kind of registry it is: sets what the other flags leave open, and checks the index
    #[arg(long, value_parser = presets::parser(), hide_possible_values = true, value_name = "PRESET", long_help = PRESET_HELP)]
    preset: Option<&'static Preset>,

    /// The index, as cargo has it: sparse+https://…/ or the https:// URL of a git index
    #[arg(long, value_name = "URL", group = "covered")]
    index: Option<String>,

    /// What the registry covers, https://host/path/; can be given several times
    #[arg(long = "scope", value_name = "URL", group = "covered")]
    scopes: Vec<String>,

    /// What reads and writes look like [default: cargo]
    #[arg(long, value_parser = ["cargo", "git", "pypi", "npm", "generic"])]
    kind: Option<String>,

    /// How the token becomes a header: basic, bearer, raw, or a template as "X-Api-Key: {token}" [default: basic with
    /// --username, else bearer]
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

const PRESET_HELP: &str = "\
What kind of registry it is: artifactory, cloudsmith, codeartifact, azure, gitlab, gitea, github, kellnr, nexus, shipyard \
or margo. Sets what the other flags leave open, and checks the index";

const EXAMPLES: &str = "\
Examples:
  regauthctl add-registry
  regauthctl add-registry corp --preset artifactory --username me@corp.example \\
      --index sparse+https://corp.example/artifactory/api/cargo/crates/index/
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
pub(crate) fn run(mut arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let ca_file = arguments.ca_file.as_deref().map(readable).transpose()?;
    let name = arguments.complete(client)?;
    let token = if arguments.source.is_elsewhere() && !arguments.token.given() {
        None
    } else {
        Some(token(&arguments, &name, client)?)
    };
    let rejection = arguments.preset.map(|preset| preset.rejection);
    let reply = client.ask(&Request::AddRegistry(Box::new(request::AddRegistry {
        name,
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
    })));
    let reply: Reply<RegistryAdded> = reply.map_err(|error| with_rejection(error, rejection))?;
    if !is_git_index(&reply.answer.registry) {
        return Ok(Report::new(reply, words));
    }
    let mut added = reply.answer;
    git_index::complete(&mut added, client);
    Report::of(&added, words(&added))
}

impl Arguments {
    /// Fills in what a preset knows and a person at the terminal says; gives the name.
    fn complete(&mut self, client: &Client) -> Result<RegistryName, ErrorBody> {
        let nothing_covered = self.index.is_none() && self.scopes.is_empty();
        let incomplete = nothing_covered || self.name.is_none();
        if incomplete && !interview::is_possible() {
            return Err(error::usage("a registry needs a NAME and --index or --scope")
                .hint("usage: regauthctl add-registry NAME --index URL; on a terminal all of it is asked for"));
        }
        if incomplete {
            client.greet()?;
        }
        let name = self.name.take().map_or_else(interview::name, Ok)?;
        if nothing_covered {
            self.be_interviewed()?;
        }
        if let Some(preset) = self.preset {
            self.follow(preset)?;
        }
        Ok(name)
    }

    fn be_interviewed(&mut self) -> Result<(), ErrorBody> {
        if self.preset.is_none() {
            self.preset = interview::preset()?;
        }
        let preset = self.preset;
        let place = interview::place(preset)?;
        if place.starts_with("sparse+") || place.ends_with(".git") {
            self.index = Some(place);
        } else {
            self.scopes.push(place);
        }
        if self.username.is_none() && self.scheme.is_none() {
            self.username = interview::username(preset)?;
        }
        Ok(())
    }

    /// What was typed beats the preset, but for an index that cannot be right.
    fn follow(&mut self, preset: &Preset) -> Result<(), ErrorBody> {
        let misplaced = self.index.iter().find(|index| !preset.has(index));
        if misplaced.is_some() {
            let places = preset.places.join(" or ");
            return Err(error::usage(format!("{} has its index at {places}", preset.title))
                .hint("correct --index, or leave out --preset: then any index will do"));
        }
        if self.scheme.is_none() {
            if let (User::Always(user), None) = (&preset.user, &self.username) {
                self.username = Some((*user).to_owned());
            }
            self.scheme = preset.scheme_for(self.username.as_deref()).map(str::to_owned);
        }
        if self.kind.is_none() && self.index.is_none() && preset.name == "github" {
            self.kind = Some("git".to_owned());
        }
        Ok(())
    }
}

fn with_rejection(mut error: ErrorBody, rejection: Option<&str>) -> ErrorBody {
    if let (ErrorKind::TokenRejected | ErrorKind::NotVerified, Some(rejection)) = (error.kind, rejection) {
        let hint = error.hint.take().map_or_else(String::new, |hint| format!("{hint}; "));
        error.hint = Some(format!("{hint}{rejection}"));
    }
    error
}

fn token(arguments: &Arguments, name: &RegistryName, client: &Client) -> Result<Secret, ErrorBody> {
    arguments.token.read(|| {
        client.greet()?;
        let username = arguments.username.as_deref();
        // As the daemon has it.
        let usual = if username.is_some() { "basic" } else { "bearer" };
        let scheme = registry::scheme(arguments.scheme.as_deref().unwrap_or(usual), username);
        Ok(format!("Token for {name} ({scheme}): "))
    })
}

fn words(added: &RegistryAdded) -> String {
    let registry = &added.registry;
    let mut text = format!(
        "Added {}; {}.\nIt covers:\n",
        registry.name,
        registry::verified(added.verified, added.public)
    );
    for scope in &registry.scopes {
        text.push_str(&format!("  {scope}\n"));
    }
    text + &output::notes(&added.notes) + &client_configuration::lines(added)
}

/// The path as the daemon can use it, from whatever folder it runs in. Links stay: what they point to may change.
pub(super) fn readable(file: &Path) -> Result<String, ErrorBody> {
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
