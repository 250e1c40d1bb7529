//! `regauthctl set`: changes one key of a registry. The daemon checks the change before it is live.

use std::collections::BTreeMap;
use std::path::Path;

use clap::builder::PossibleValuesParser;
use regauth_shared::request::{ByName, SetRegistry};
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, RegistryName, Request};
use serde_json::{Value, json};

use super::add_registry::readable;
use super::agreement::{self, Agreement, Step};
use super::confirm;
use crate::client::Client;
use crate::error;
use crate::output::Report;
use crate::token::TokenFlags;

/// Change a registry: its user name, scheme, scopes, CA file and so on
///
/// The daemon checks the change, asks the registry if it accepts the token under it, and serves it at once. The token
/// stays. A change that lets the token go further, or do more, is shown and needs your yes. A stored token is needed again
/// for a change that sends it where it was not given for.
///
/// KEY is one of config.toml: kind, index, scopes, scheme, username, source, credential-of, writes, programs,
/// rejected-by (statuses), read-ahead, ca-file, client-cert (which takes two files: certificate and key).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// The key
    #[arg(value_parser = PossibleValuesParser::new(KEYS), hide_possible_values = true)]
    key: String,

    /// The new value; scopes, programs and rejected-by take several
    #[arg(value_name = "VALUE", required_unless_present = "unset", conflicts_with = "unset")]
    values: Vec<String>,

    /// Remove the key, so that its default applies
    #[arg(long)]
    unset: bool,

    /// Make the change without asking the registry about its token
    #[arg(long)]
    no_verify: bool,

    #[command(flatten)]
    agreement: Agreement,

    #[command(flatten)]
    token: TokenFlags,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl set corp username me@corp.example
  regauthctl set corp ca-file /etc/corp-root.pem
  regauthctl set corp scopes https://corp.example/api/ https://dl.corp.example/
  pass show corp | regauthctl set corp writes allow --yes --token-stdin
  regauthctl set corp scheme raw
  regauthctl set corp rejected-by 401
  regauthctl set corp programs --unset";

const KEYS: [&str; 13] = [
    "kind",
    "index",
    "scopes",
    "scheme",
    "username",
    "source",
    "credential-of",
    "writes",
    "programs",
    "rejected-by",
    "read-ahead",
    "ca-file",
    "client-cert",
];

/// Changes the registry.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let Arguments { name, key, .. } = &arguments;
    let view: RegistryView = client.call(&Request::Show(ByName { name: name.clone() }))?.answer;
    let values = match arguments.unset {
        true => removal(key),
        false => assignment(key, &arguments.values, &view)?,
    };
    let request = |step: Step| {
        Request::SetRegistry(SetRegistry {
            name: name.clone(),
            values: values.clone(),
            untrusted: false,
            check: step.check,
            widen: step.widen,
            verify: !arguments.no_verify,
            reviewed: step.reviewed,
        })
    };
    let changed = agreement::change(client, &arguments.agreement, request)?;
    let view: RegistryView = client.call(&Request::Show(ByName { name: name.clone() }))?.answer;
    if !view.changes.is_empty() {
        confirm::confirm(&view, client, &arguments.token)?;
    }
    Ok(changed)
}

/// Keys to remove with a key.
fn removal(key: &str) -> BTreeMap<String, Value> {
    let with_it: &[&str] = match key {
        "username" => &["scheme"],
        "scheme" => &["username"],
        "client-cert" => &["client-key"],
        _ => &[],
    };
    let keys = with_it.iter().chain([&key]);
    keys.map(|key| ((*key).to_owned(), Value::Null)).collect()
}

/// New values for a key, and for those that it needs or excludes.
fn assignment(key: &str, values: &[String], view: &RegistryView) -> Result<BTreeMap<String, Value>, ErrorBody> {
    let mut new = BTreeMap::new();
    let mut put = |key: &str, value: Value| new.insert(key.to_owned(), value);
    match key {
        "scopes" | "programs" => put(key, json!(values)),
        "rejected-by" => put(key, json!(statuses(values)?)),
        "client-cert" => {
            let [certificate, private_key] = values else {
                return Err(error::usage("client-cert takes two files: the certificate and its key"));
            };
            put("client-key", json!(file(private_key)?));
            put(key, json!(file(certificate)?))
        }
        _ => {
            let [value] = values else {
                return Err(error::usage(format!("{key} takes one value"))
                    .hint("put a value with blanks in quotes; scopes, programs and rejected-by take several values"));
            };
            if key == "scheme" && value == "basic" && view.username.is_none() {
                let name = &view.name;
                return Err(error::usage("the scheme basic needs a user name")
                    .hint(format!("`regauthctl set {name} username USER` sets both")));
            }
            match key {
                "index" => scopes_for_index(view, value).and_then(|scopes| put("scopes", json!(scopes))),
                "username" if view.scheme != "basic" => put("scheme", json!("basic")),
                "scheme" if value != "basic" => put("username", Value::Null),
                "source" => put("credential-of", Value::Null),
                "credential-of" => put("source", Value::Null),
                _ => None,
            };
            put(key, single_value(key, value)?)
        }
    };
    Ok(new)
}

/// Scopes with the URL of a new index, unless they cover it: the index without its token would be of no use.
pub(super) fn scopes_for_index(view: &RegistryView, index: &str) -> Option<Vec<String>> {
    let url = index.strip_prefix("sparse+").unwrap_or(index);
    let is_covered = view.scopes.iter().any(|scope| url.starts_with(scope.as_str()));
    let scopes = view.scopes.iter().cloned().chain([url.to_owned()]);
    (!is_covered).then(|| scopes.collect())
}

fn statuses(values: &[String]) -> Result<Vec<u16>, ErrorBody> {
    let statuses = values.iter().flat_map(|value| value.split(','));
    let statuses = statuses.map(str::parse).collect::<Result<_, _>>();
    statuses.map_err(|_| {
        error::usage("rejected-by takes statuses from 400 to 499").hint("give each one: rejected-by 401 403")
    })
}

fn single_value(key: &str, value: &str) -> Result<Value, ErrorBody> {
    match (key, value) {
        ("read-ahead", "true") => Ok(json!(true)),
        ("read-ahead", "false") => Ok(json!(false)),
        ("read-ahead", _) => Err(error::usage("read-ahead is true or false")),
        ("ca-file", path) => Ok(json!(file(path)?)),
        _ => Ok(json!(value)),
    }
}

fn file(path: &str) -> Result<String, ErrorBody> {
    readable(Path::new(path)).map_err(|error| {
        let message = error.message.replacen("--ca-file: ", "", 1);
        error::usage(message).hint("give the path of a PEM file")
    })
}
