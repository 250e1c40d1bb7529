//! `regauthctl grant`, and the text form of a grant.

use std::path::PathBuf;

use regauth_shared::paths::Folders;
use regauth_shared::request::{Grant, Revoke};
use regauth_shared::response::{GrantView, Granted, Revoked};
use regauth_shared::{ErrorBody, RegistryName, Request};

use crate::client::{Client, Reply};
use crate::daemon_info::DaemonInfo;
use crate::output::{self, Report};
use crate::recipe::{self, ClientKind, Overrides, Plan, Recipe};
use crate::relative_time::absolute_and_relative;
use crate::{duration, error, text_file};

/// Admit a client that is not a process of this user
///
/// Other users' processes, containers and other machines need a grant. So does every client if the system cannot tell
/// the user of a connection, such as on macOS. The printed proxy URL is the grant: it admits every client that has it,
/// until it expires or is revoked. It is not shown again. Besides its registries it opens tunnels to public hosts,
/// never to this machine or its networks.
///
/// polkit or macOS may have you confirm it: always with a guarded daemon, and with yours as `presence` in config.toml says.
///
/// With --as, the URL goes to a file that only you can read, together with all that the client needs: the bundle, and for
/// cargo the indexes and placeholders. What is printed names the file, so a command line shows no grant.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A registry that the grant opens; can be given several times [default: all, also registries added later]
    #[arg(long, value_name = "NAME")]
    registry: Vec<RegistryName>,

    /// Allow writes as well, with or without `regauthctl allow`
    #[arg(long)]
    write: bool,

    /// Duration: a number with s, m or h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = duration::positive_seconds)]
    seconds: u64,

    /// Sign the grant: every gateway with the same key accepts it (`signed-grants` in config.toml)
    #[arg(long)]
    signed: bool,

    /// Print what to pass to this client, or write its file
    #[arg(long = "as", value_enum, value_name = "CLIENT")]
    client: Option<ClientKind>,

    #[command(flatten)]
    recipe: RecipeFlags,
}

#[derive(clap::Args)]
#[group(requires = "client")]
struct RecipeFlags {
    /// Host of the proxy as the client sees it [default: this machine, by its name in a container]
    #[arg(long, value_name = "HOST", value_parser = recipe::host)]
    host: Option<String>,

    /// Folder of the bundle as the client sees it [default: /regauth in a container]
    #[arg(long, value_name = "FOLDER", value_parser = recipe::client_folder)]
    bundle_folder: Option<String>,

    /// File for the grant, which only you can read [default: one in regauth's run folder, or none for env and cargo]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl grant --registry corp
  regauthctl grant --registry corp --write --for 15m
  regauthctl grant --registry corp --signed --for 24h
  regauthctl grant --registry corp --as docker
  regauthctl grant --registry corp --as buildx --for 15m
  regauthctl grant --registry corp --as compose --file ~/corp.env
  regauthctl grant --registry corp --as env --file corp.sh";

/// Makes the grant.
pub(crate) fn run(arguments: Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let request = Request::Grant(Grant {
        registries: arguments.registry,
        write: arguments.write,
        seconds: arguments.seconds,
        signed: arguments.signed,
    });
    let Some(kind) = arguments.client else {
        return Ok(Report::from_reply(client.call(&request)?, describe));
    };
    let flags = arguments.recipe;
    let overrides = Overrides {
        host: flags.host,
        bundle_folder: flags.bundle_folder,
        file: flags.file,
    };
    let info = DaemonInfo::fetch(client, folders)?;
    let plan = Plan::new(kind, &info, overrides)?;
    let reply: Reply<Granted> = client.call(&request)?;
    let grant = &reply.answer.grant;
    let file = plan.file(grant, &folders.run);
    let recipe = plan.complete(grant, &reply.answer.proxy.0, file);
    if let Err(error) = write(&recipe) {
        // Nobody will get to know this grant.
        let _: Reply<Revoked> = client.call(&Request::Revoke(Revoke { id: grant.id.clone() }))?;
        return Err(error);
    }
    report(&reply, kind, &recipe)
}

fn write(recipe: &Recipe) -> Result<(), ErrorBody> {
    let Some(file) = &recipe.file else { return Ok(()) };
    let written = text_file::write_private(file, recipe.file_text.as_bytes());
    written.map_err(error::io(format!("cannot write {}", file.display())))
}

/// Report with the daemon's answer, and the recipe as one more field.
fn report(reply: &Reply<Granted>, kind: ClientKind, recipe: &Recipe) -> Result<Report, ErrorBody> {
    let unreadable = |error| error::failed(format!("the answer has no JSON form: {error}"));
    let mut body: serde_json::Map<_, _> = serde_json::from_str(reply.body.get()).map_err(unreadable)?;
    body.insert("recipe".to_owned(), serde_json::to_value(recipe).map_err(unreadable)?);
    let notes = output::notes(&recipe.notes);
    let granted = &reply.answer;
    let text = match (&recipe.file, kind) {
        (_, ClientKind::Java) => format!("{}{}", describe(granted), recipe.text),
        (Some(_), _) => format!("{}\n{}{notes}", summary(&granted.grant), recipe.text),
        // Comments, so that the output can be sourced as it is.
        (None, _) => {
            let comments = format!("{}\n{notes}", summary(&granted.grant));
            let comments: String = comments.lines().map(|line| format!("# {line}\n")).collect();
            comments + &recipe.text
        }
    };
    Report::from_value(&body, text)
}

fn describe(granted: &Granted) -> String {
    format!(
        "{}\nThe bearer's proxy URL, which is not shown again:\n{}\n",
        summary(&granted.grant),
        granted.proxy.0,
    )
}

fn summary(grant: &GrantView) -> String {
    format!(
        "Grant {} opens {} for {} until {}.",
        grant.id,
        registries(grant),
        operations(grant),
        absolute_and_relative(&grant.expires),
    )
}

/// Names of the grant's registries.
pub(super) fn registries(grant: &GrantView) -> String {
    if grant.registries.is_empty() {
        return "all registries".to_owned();
    }
    let names: Vec<_> = grant.registries.iter().map(RegistryName::as_str).collect();
    names.join(", ")
}

/// Operations that the grant opens.
pub(super) fn operations(grant: &GrantView) -> &'static str {
    if grant.write { "reads and writes" } else { "reads" }
}
