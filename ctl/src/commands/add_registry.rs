//! `regauthctl add-registry`: completes the arguments (`wizard`), asks the registry what it says without a token
//! (`preflight`), reads the token, sends the request, prints the client settings.

mod answers;
mod client_settings;
mod preflight;
mod wizard;

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::ArgGroup;
use regauth_shared::kind::KINDS;
use regauth_shared::paths::Folders;
use regauth_shared::response::RegistryAdded;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, Secret, request};

use self::answers::Answers;
use self::client_settings::client_settings;
use super::offered_locations::{self, Decision, LocationFlags};
use super::{add_from, git_index, registry_text};
use crate::client::{Client, Reply};
use crate::daemon_info::{is_git_index, provider_command};
use crate::error;
use crate::output::{self, Report};
use crate::paste::{self, PastedLogin};
use crate::presets::{self, Preset};
use crate::proof;
use crate::team_file::Location;
use crate::token::{SourceFlags, TokenFlags, TokenPrompt};

/// Add a registry and serve it at once
///
/// Asks for the registry's token without echo, lets the daemon verify it against the registry, stores it in the
/// daemon's store and serves it from then on. Nothing is stored when the registry rejects the token.
///
/// No token is asked for if --source or --source-command names a source. --credential-of sends the token of another
/// registry to more places, so it asks for that token again.
///
/// With --index, the registry also covers the downloads and the API that the index names, in folders of its own host. At a
/// terminal, the command shows them and asks first. --scope covers more. The token is sent nowhere else.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("covered").multiple(true))]
pub(crate) struct Arguments {
    /// Name of the registry: letters, digits, -, _ and dots. Without it, a terminal prompts for all missing values
    name: Option<RegistryName>,

    /// Kind of registry: sets what the other flags leave open, and checks the index
    #[arg(long, value_parser = presets::parser(), hide_possible_values = true, value_name = "PRESET", long_help = PRESET_HELP)]
    preset: Option<&'static Preset>,

    /// The index, as cargo has it: sparse+https://…/ or the https:// URL of a git index
    #[arg(long, value_name = "URL", group = "covered")]
    index: Option<String>,

    /// Add the missing registries of a team's file: a file, a folder at or below it, or an https URL. With NAME, only that
    /// one
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "covered", "preset", "kind", "scheme", "token_service", "writes", "programs", "rejected_by", "ca_file", "source",
            "credential_of", "command",
        ],
    )]
    from: Option<Location>,

    #[command(flatten)]
    locations: LocationFlags,

    /// A scope that the registry covers, https://host/path/; can be given several times
    #[arg(long = "scope", value_name = "URL", group = "covered")]
    scopes: Vec<String>,

    /// Protocol, which tells reads from writes [default: cargo]
    #[arg(long, value_parser = KINDS)]
    kind: Option<String>,

    /// Header that carries the token: basic, bearer, raw, or a template as "X-Api-Key: {token}" [default: basic with
    /// --username, else bearer]
    #[arg(long)]
    scheme: Option<String>,

    /// The user name, for the scheme basic
    #[arg(long, value_name = "USER")]
    username: Option<String>,

    /// The service that gives a container registry's clients short tokens, for --kind oci [default: the one that the
    /// registry names, if it is on the registry's own host]
    #[arg(long, value_name = "URL")]
    token_service: Option<String>,

    /// Policy for writes such as publish and push [default: deny]
    #[arg(long, value_name = "POLICY", value_parser = ["allow", "deny"])]
    writes: Option<String>,

    /// A program that may use the registry: the executable's file name, or its path; can be given several times [default:
    /// every program]
    #[arg(long = "program", value_name = "PROGRAM")]
    programs: Vec<String>,

    /// The statuses with which the registry rejects a token, as 401,403; others are about single pages [default: those of
    /// the preset, else 401,403]
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(400..=499))]
    rejected_by: Vec<u16>,

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

    /// Answers of a person.
    #[arg(skip)]
    answers: Answers,

    /// True once the registry has been asked, by the questions about its URL.
    #[arg(skip)]
    is_checked: bool,

    /// Token service that the registry has named, if it was asked.
    #[arg(skip)]
    known_service: Option<Option<String>>,
}

const PRESET_HELP: &str = "\
Kind of registry: artifactory, cloudsmith, codeartifact, azure, gitlab, gitea, github, kellnr, nexus, shipyard or margo. \
Sets what the other flags leave open, and checks the index";

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
  regauthctl add-registry jf --index sparse+https://jf.example/index/ \\
      --source jfrog:host=jf.example,provider=github
  regauthctl add-registry images --kind oci --username me \\
      --scope https://registry.example/v2/
  regauthctl add-registry gcp --scope https://gcp.example/ --source google
  regauthctl add-registry corp --index sparse+https://corp.example/index/ \\
      --program cargo --program git
  regauthctl add-registry libs --kind maven --rejected-by 401 \\
      --scope https://nexus.example/repository/libs/
  regauthctl add-registry --from regauth.toml
  regauthctl add-registry own --scope https://own.example/ \\
      --source-json /token --source-expires /expires \\
      --source-command mint-token --for own";

/// Adds the registry, or those of a team's file.
pub(crate) fn run(mut arguments: Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    if let Some(from) = &arguments.from {
        let options = add_from::Options {
            from,
            only: arguments.name.as_ref(),
            username: arguments.username.as_deref(),
            token: &arguments.token,
            yes: arguments.locations.yes,
            locations: arguments.locations.decision(client),
            verify: !arguments.no_verify,
        };
        return add_from::run(&options, client, folders);
    }
    arguments.ca_file.as_deref().map(readable).transpose()?;
    arguments.check_token_flags()?;
    let name = arguments.complete(client)?;
    let owner = arguments.source.credential_of.clone();
    let is_asked_later = owner.is_some() || (arguments.source.is_external() && !arguments.token.is_given());
    if !is_asked_later {
        arguments.check_before_token(&name, client)?;
    }
    arguments.ask_for_token_service(&name, client)?;
    let token = if is_asked_later {
        None
    } else {
        let (scheme, username) = (arguments.scheme.as_deref(), arguments.username.as_deref());
        Some(read_token(&arguments.token, &name, scheme, username, client)?)
    };
    let preset = arguments.preset;
    let request = Request::AddRegistry(Box::new(request::AddRegistry {
        offer_locations: arguments.locations.decision(client).wants_offers(),
        ..arguments.request(&name, token.clone())?
    }));
    let (scheme, username) = (arguments.scheme.as_deref(), arguments.username.as_deref());
    let pasted = token.as_ref().and_then(|token| pasted_login(token, scheme, username));
    let lacks_user = username.is_none() && scheme.is_none_or(|scheme| scheme == "bearer");
    let check = lacks_user.then(|| arguments.request(&name, None)).transpose()?;
    let reply = match &owner {
        Some(owner) => proof::call(client, request, &arguments.token, owner),
        None => client.call(&request),
    };
    let reply: Reply<RegistryAdded> = reply.map_err(|error| {
        let error = with_rejection_hint(error, preset);
        preflight::with_user_name_hint(error, check, pasted, client)
    })?;
    arguments.report(reply, token, client, folders)
}

impl Arguments {
    /// Refuses, before any question, a token that nothing would use, and a variable that is not set.
    fn check_token_flags(&self) -> Result<(), ErrorBody> {
        let is_used = !self.source.is_external() || self.source.credential_of.is_some();
        if self.token.is_given() && !is_used {
            return Err(
                error::usage("a token was given, and a source from which the daemon gets the token itself")
                    .hint("leave out --token-stdin and --token-env, or the source"),
            );
        }
        self.token.check_variable()
    }

    /// Settles what the index names, and describes the added registry.
    fn report(
        mut self,
        reply: Reply<RegistryAdded>,
        token: Option<Secret>,
        client: &Client,
        folders: &Folders,
    ) -> Result<Report, ErrorBody> {
        let provider = provider_command(folders);
        if !is_git_index(&reply.answer.registry) && reply.answer.offered.is_empty() {
            let report = Report::from_reply(reply, |added| describe(added, &provider));
            return Ok(report.with_lines(&self.shown_command()));
        }
        let (mut added, decision) = (reply.answer, self.locations.decision(client));
        git_index::complete(&mut added, decision, client, token.clone());
        if let Some(flag) = offered_locations::settle(&mut added, decision, client, token) {
            self.answers.keep_further(&[flag]);
        }
        let text = describe(&added, &provider);
        Ok(Report::from_value(&added, text)?.with_lines(&self.shown_command()))
    }

    /// The request to the daemon. For a check, `token` is `None`.
    fn request(&self, name: &RegistryName, token: Option<Secret>) -> Result<request::AddRegistry, ErrorBody> {
        Ok(request::AddRegistry {
            name: name.clone(),
            index: self.index.clone(),
            scopes: self.scopes.clone(),
            kind: self.kind.clone(),
            scheme: self.scheme.clone(),
            username: self.username.clone(),
            token_service: self.token_service.clone(),
            writes: self.writes.clone(),
            programs: self.programs.clone(),
            rejected_by: self.rejected_by.clone(),
            ca_file: self.ca_file.as_deref().map(readable).transpose()?,
            source: self.source.source.clone(),
            source_command: self.source.command.clone().into_request()?,
            credential_of: self.source.credential_of.clone(),
            read_ahead: None,
            untrusted: false,
            token,
            proof: None,
            offer_locations: false,
            verify: !self.no_verify,
        })
    }
}

/// Adds a registry whose definition is complete, apart from the token and the URLs that its index names. A person is asked for
/// the token after the registry.
///
/// # Errors
/// There is no token; those of the daemon.
pub(super) fn add(
    request: impl Fn(Option<Secret>) -> request::AddRegistry,
    preset: Option<&Preset>,
    flags: &TokenFlags,
    decision: Decision,
    client: &Client,
) -> Result<RegistryAdded, ErrorBody> {
    let unchecked = request(None);
    let is_stored = unchecked.source.as_deref().is_none_or(|source| source == "store");
    let needs_token = is_stored || flags.is_given();
    let is_asked = needs_token && unchecked.verify && flags.asks_a_person();
    let checked = is_asked.then(|| preflight::require_passed(request(None), client));
    let known = checked.transpose()?.map(|checked| checked.token_service);
    let service = offered_locations::token_service(request(None), known, decision, client)?;
    let (scheme, username) = (unchecked.scheme.as_deref(), unchecked.username.as_deref());
    let token = needs_token.then(|| read_token(flags, &unchecked.name, scheme, username, client));
    let token = token.transpose()?;
    let definition = request(token.clone());
    let request = request::AddRegistry {
        offer_locations: decision.wants_offers(),
        token_service: definition.token_service.clone().or(service),
        ..definition
    };
    let reply = client.call(&Request::AddRegistry(Box::new(request)));
    let pasted = token.as_ref().and_then(|token| pasted_login(token, scheme, username));
    let reply: Reply<RegistryAdded> =
        reply.map_err(|error| paste::with_login_hint(with_rejection_hint(error, preset), pasted))?;
    let mut added = reply.answer;
    git_index::complete(&mut added, decision, client, token.clone());
    offered_locations::settle(&mut added, decision, client, token);
    Ok(added)
}

/// The login that the token's text may be.
fn pasted_login(token: &Secret, scheme: Option<&str>, username: Option<&str>) -> Option<PastedLogin> {
    paste::login(token.expose(), scheme.unwrap_or_else(|| default_scheme(username)))
}

/// Scheme of a registry without one: the daemon's default.
fn default_scheme(username: Option<&str>) -> &'static str {
    if username.is_some() { "basic" } else { "bearer" }
}

fn read_token(
    flags: &TokenFlags,
    name: &RegistryName,
    scheme: Option<&str>,
    username: Option<&str>,
    client: &Client,
) -> Result<Secret, ErrorBody> {
    flags.read(|| {
        client.ping()?;
        let scheme = scheme.unwrap_or_else(|| default_scheme(username));
        Ok(TokenPrompt {
            text: format!("Token for {name} ({}): ", registry_text::scheme(scheme, username)),
            scheme: scheme.to_owned(),
        })
    })
}

fn with_rejection_hint(mut error: ErrorBody, preset: Option<&Preset>) -> ErrorBody {
    if let (ErrorKind::TokenRejected | ErrorKind::NotVerified, Some(preset)) = (error.kind, preset) {
        let hint = error.hint.take().map_or_else(String::new, |hint| format!("{hint}; "));
        error.hint = Some(format!("{hint}{}", preset.rejection_hint));
    }
    error
}

/// Absolute form of `--ca-file`, which the daemon can use from any folder. Symbolic links stay: their targets may
/// change.
///
/// # Errors
/// The file cannot be read, is a folder, or its path is not UTF-8.
pub(super) fn readable(file: &Path) -> Result<String, ErrorBody> {
    let invalid = |reason: String| error::usage(format!("--ca-file: {reason}")).hint("give the path of a PEM file");
    let unreadable = |error| invalid(format!("cannot read {}: {error}", file.display()));
    let metadata = File::open(file).and_then(|file| file.metadata()).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(invalid(format!("{} is a folder", file.display())));
    }
    let absolute = std::path::absolute(file).map_err(unreadable)?;
    match absolute.into_os_string().into_string() {
        Ok(path) => Ok(path),
        Err(_) => Err(invalid("the path is not UTF-8".to_owned())),
    }
}

fn describe(added: &RegistryAdded, provider: &[String]) -> String {
    describe_briefly(added) + &client_settings(added, provider)
}

/// Description of the added registry, without the settings of clients.
pub(super) fn describe_briefly(added: &RegistryAdded) -> String {
    let registry = &added.registry;
    let verification = registry_text::verification(added.verified, added.public);
    let scopes: String = registry.scopes.iter().map(|scope| format!("  {scope}\n")).collect();
    let notes = output::notes(&added.notes);
    format!("Added {}; {verification}.\nIt covers:\n{scopes}{notes}", registry.name)
}
