//! Plan for each registry of a team's file: to add it, to change it, or nothing.

use std::collections::BTreeMap;
use std::path::Path;

use regauth_shared::paths::Folders;
use regauth_shared::request::{AddRegistry, SetRegistry};
use regauth_shared::response::{ConfigurationChanged, RegistryView};
use regauth_shared::{ErrorBody, RegistryName, Request, Secret};
use serde_json::{Value, json};
use url::Url;

use super::super::set::scopes_for_index;
use super::super::{agreement, registry_text};
use super::set_request;
use crate::client::Client;
use crate::presets::Preset;
use crate::team_file::{CaFile, Definition, NamedIndex, index_in_project};
use crate::{error, prompt};

/// Values of keys, as in `config.toml`.
pub(super) type Values = BTreeMap<String, Value>;

/// A registry of the file, and what is to be done.
pub(super) struct Entry {
    definition: Definition,
    ca_file: Option<CaFile>,
    index_from: Option<NamedIndex>,
    /// CA file that the registry has here.
    ca_file_before: Option<String>,
    /// Step that the registry needs.
    pub(super) action: Action,
}

/// Step for one registry of the file.
pub(super) enum Action {
    /// It is missing here.
    Add,
    /// It differs here.
    Change(ConfigurationChanged),
    /// It is the same here.
    Nothing,
}

impl Entry {
    /// Compares a definition with the registry of that name. A missing index comes from the project's cargo configuration.
    ///
    /// # Errors
    /// The definition covers nothing; those of the daemon.
    pub(super) fn plan(
        mut definition: Definition,
        ca_file: Option<CaFile>,
        project: Option<&Path>,
        view: Option<&RegistryView>,
        folders: &Folders,
        client: &Client,
    ) -> Result<Self, ErrorBody> {
        let index_from = complete_index(&mut definition, project, view)?;
        let mut entry = Self {
            definition,
            ca_file,
            index_from,
            ca_file_before: view.and_then(|view| view.ca_file.clone()),
            action: Action::Add,
        };
        let Some(view) = view else {
            return Ok(entry);
        };
        entry.keep_what_is_own(view);
        let new_ca_file = entry.ca_file.as_ref().map(|ca| ca.copy(folders).display().to_string());
        let request = set_request(&view.name, entry.values(new_ca_file.as_deref()), true, false);
        let compared: ConfigurationChanged = client.call(&Request::SetRegistry(request))?.answer;
        entry.action = match compared.changes.is_empty() {
            true => Action::Nothing,
            false => Action::Change(compared),
        };
        Ok(entry)
    }

    /// Name of the registry.
    pub(super) fn name(&self) -> &RegistryName {
        &self.definition.name
    }

    /// CA file that the registry has here.
    pub(super) fn ca_file_before(&self) -> Option<&Path> {
        self.ca_file_before.as_deref().map(Path::new)
    }

    /// True if a token is asked for.
    pub(super) fn needs_token(&self) -> bool {
        matches!(self.action, Action::Add) && !self.is_minted()
    }

    /// True if an exchange gives the token.
    pub(super) fn is_minted(&self) -> bool {
        self.definition
            .source
            .as_deref()
            .is_some_and(|source| source != "store")
    }

    /// User name: the given one, or that of the file, or what the person types.
    ///
    /// # Errors
    /// There is nobody to ask.
    pub(super) fn username(&self, given: Option<&str>) -> Result<Option<String>, ErrorBody> {
        let name = self.name();
        let known = given.map(str::to_owned).or_else(|| self.definition.username.clone());
        match (known, self.definition.scheme.as_deref()) {
            (None, Some("basic")) if prompt::is_interactive() => prompt::username_for(name).map(Some),
            (None, Some("basic")) => Err(error::usage(format!("`{name}` needs your user name")).hint(format!(
                "give it: regauthctl add-registry {name} --from … --username NAME"
            ))),
            (username, _) => Ok(username),
        }
    }

    /// Product, for hints.
    pub(super) fn preset(&self) -> Option<&'static Preset> {
        self.definition.preset
    }

    /// Request that adds the registry.
    pub(super) fn add_request(
        &self,
        ca_file: Option<&str>,
        username: Option<&str>,
        token: Option<Secret>,
        verify: bool,
    ) -> AddRegistry {
        let definition = &self.definition;
        AddRegistry {
            name: definition.name.clone(),
            index: definition.index.clone(),
            scopes: definition.scopes.clone(),
            kind: definition.kind.clone(),
            scheme: definition.scheme.clone(),
            username: username.map(str::to_owned),
            token_service: definition.token_service.clone(),
            writes: None,
            programs: definition.programs.clone(),
            rejected_by: definition.rejected_by.clone(),
            ca_file: ca_file.map(str::to_owned),
            source: definition.source.clone(),
            source_command: None,
            credential_of: None,
            read_ahead: definition.read_ahead,
            untrusted: true,
            token,
            proof: None,
            offer_locations: false,
            verify,
        }
    }

    /// Request that changes the registry as the file says.
    pub(super) fn set_request(&self, ca_file: Option<&str>, check: bool, verify: bool) -> SetRegistry {
        set_request(self.name(), self.values(ca_file), check, verify)
    }

    /// Copies the CA file, unless the registry has one with the same text. Returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn installed_ca_file(&self, folders: &Folders) -> Result<Option<String>, ErrorBody> {
        let Some(ca) = &self.ca_file else {
            return Ok(None);
        };
        let path = ca.install(folders)?.into_os_string().into_string();
        let path = path.map_err(|_| error::failed("the path of regauth's folder is not UTF-8"))?;
        Ok(Some(path))
    }

    /// Takes over the person's own settings, so that they are not compared: the user name, and scopes that the index has
    /// named.
    fn keep_what_is_own(&mut self, view: &RegistryView) {
        let definition = &mut self.definition;
        if definition.scheme.as_deref() == Some("basic") && definition.username.is_none() {
            definition.username.clone_from(&view.username);
        }
        if let Some(index) = definition.index.as_deref().filter(|_| definition.scopes.is_empty()) {
            definition.scopes = scopes_for_index(view, index).unwrap_or_default();
        }
        let present = view.ca_file.as_deref();
        if self
            .ca_file
            .as_ref()
            .zip(present)
            .is_some_and(|(ca, present)| ca.is_same_as(Path::new(present)))
        {
            self.ca_file = None;
        }
    }

    /// Values of the keys that the file sets.
    fn values(&self, ca_file: Option<&str>) -> Values {
        let definition = &self.definition;
        let text = |value: &Option<String>| value.as_ref().map(|text| json!(text));
        let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
        let pairs = [
            ("index", text(&definition.index)),
            ("scopes", list(&definition.scopes)),
            ("kind", text(&definition.kind)),
            ("scheme", text(&definition.scheme)),
            ("username", self.new_username()),
            ("token-service", text(&definition.token_service)),
            ("source", text(&definition.source)),
            ("programs", list(&definition.programs)),
            (
                "rejected-by",
                (!definition.rejected_by.is_empty()).then(|| json!(definition.rejected_by)),
            ),
            ("read-ahead", definition.read_ahead.map(|value| json!(value))),
            ("ca-file", ca_file.map(|path| json!(path))),
        ];
        let set = pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        set.collect()
    }

    /// A scheme other than `basic` excludes the user name.
    fn new_username(&self) -> Option<Value> {
        match (&self.definition.username, self.definition.scheme.as_deref()) {
            (Some(username), _) => Some(json!(username)),
            (None, Some(scheme)) if scheme != "basic" => Some(Value::Null),
            (None, _) => None,
        }
    }
}

/// The index of the project's cargo configuration, for a cargo registry for which the file has neither index nor scopes.
fn complete_index(
    definition: &mut Definition,
    project: Option<&Path>,
    view: Option<&RegistryView>,
) -> Result<Option<NamedIndex>, ErrorBody> {
    if definition.index.is_some() || !definition.scopes.is_empty() {
        return Ok(None);
    }
    let is_cargo = definition.kind.as_deref().is_none_or(|kind| kind == "cargo");
    let found = project
        .filter(|_| is_cargo)
        .and_then(|project| index_in_project(project, definition.name.as_str()));
    if found.is_none() && view.is_none() {
        let (name, key) = (&definition.name, definition.name.toml_key());
        return Err(
            error::usage(format!("the file gives `{name}` neither an index nor scopes")).hint(format!(
                "add one there, or `[registries.{key}] index` to the project's .cargo/config.toml"
            )),
        );
    }
    definition.index = found.as_ref().map(|found| found.index.clone());
    Ok(found)
}

/// The plan as text.
pub(super) fn describe(entries: &[Entry]) -> String {
    entries.iter().map(describe_entry).collect()
}

fn describe_entry(entry: &Entry) -> String {
    let name = entry.name();
    match &entry.action {
        Action::Nothing => format!("  {name}: is here already, as the file says\n"),
        Action::Change(changed) => {
            format!(
                "  {name}: is here already, and differs:\n{}",
                agreement::listed(changed)
            )
        }
        Action::Add => describe_new(entry),
    }
}

fn describe_new(entry: &Entry) -> String {
    let definition = &entry.definition;
    let mut lines = vec![format!("  {}: new", definition.name)];
    let places = definition.index.iter().chain(&definition.scopes);
    let places = places.chain(&definition.token_service);
    let mut urls: Vec<String> = Vec::new();
    // A file may name its index as a scope too.
    for url in places.map(|url| in_ascii(url)) {
        if !urls.iter().any(|known| is_same_place(known, &url)) {
            urls.push(url);
        }
    }
    lines.push(format!("    its token goes to {}", registry_text::hosts(&urls)));
    lines.extend(urls.iter().map(|url| format!("      {url}")));
    if let Some(found) = &entry.index_from {
        lines.push(format!("    index: from {}", found.file.display()));
    }
    if let Some(scheme) = &definition.scheme {
        lines.push(format!("    scheme: {scheme}"));
    }
    if entry.is_minted() {
        let source = definition.source.as_deref().unwrap_or_default();
        lines.push(format!("    its token comes from {source}"));
    }
    if let Some(ca) = &entry.ca_file {
        lines.push(format!("    trusts the authorities in {}", ca.describe()));
    }
    lines
        .iter()
        .map(|line| format!("{}\n", line.replace(char::is_control, "\u{fffd}")))
        .collect()
}

fn is_same_place(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// URL with its host in ASCII: letters of another alphabet may look like those of a host that the person knows.
fn in_ascii(url: &str) -> String {
    let url = url.strip_prefix("sparse+").unwrap_or(url);
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_looks_like_another_is_shown_as_it_is() {
        assert_eq!(
            in_ascii("sparse+https://c\u{43e}rp.example/"),
            "https://xn--crp-sed.example/"
        );
        assert_eq!(in_ascii("sparse+https://Corp.example:443/x"), "https://corp.example/x");
    }

    #[test]
    fn the_token_service_is_among_the_hosts_that_get_the_token() {
        let text = "[registries.images]\nkind = 'oci'\nscopes = ['https://images.example/v2/']\n\
                    token-service = 'https://auth.example/token'\n";
        let definition = crate::team_file::read(text, "regauth.toml").unwrap().pop().unwrap();
        let entry = Entry {
            definition,
            ca_file: None,
            index_from: None,
            ca_file_before: None,
            action: Action::Add,
        };
        let shown = describe(std::slice::from_ref(&entry));
        assert!(
            shown.contains("its token goes to images.example, auth.example\n"),
            "{shown}"
        );
        assert!(shown.contains("      https://auth.example/token\n"), "{shown}");
        let service = Some("https://auth.example/token");
        let request = entry.add_request(None, None, None, true);
        assert_eq!(request.token_service.as_deref(), service);
        assert_eq!(entry.values(None)["token-service"].as_str(), service);
    }
}
