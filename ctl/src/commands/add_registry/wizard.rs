//! Questions of `add-registry` for the values that the command line leaves out.
//!
//! Each answer is checked at once: the name, then the URL with the registry itself (`preflight`). The answers are kept, so
//! that the command without questions can be shown at the end.

use regauth_shared::request::ByName;
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};

use super::Arguments;
use super::preflight::Preflight;
use crate::client::Client;
use crate::output::{self, print_to_stderr};
use crate::presets::{Login, Offer, Preset, Username};
use crate::setup::cargo_names;
use crate::team_file::index_in_project;
use crate::{error, paste, prompt};

impl Arguments {
    /// Fills in missing values from a preset and from prompts at the terminal. Returns the name.
    ///
    /// # Errors
    /// A value is missing and there is no terminal, or the preset excludes the index.
    pub(super) fn complete(&mut self, client: &Client) -> Result<RegistryName, ErrorBody> {
        self.index = self.index.as_deref().map(|text| paste::url(text).to_owned());
        self.scopes
            .iter_mut()
            .for_each(|scope| *scope = paste::url(scope).to_owned());
        self.require_schemes()?;
        let covers_nothing = self.index.is_none() && self.scopes.is_empty();
        let incomplete = covers_nothing || self.name.is_none();
        if incomplete && !prompt::is_interactive() {
            return Err(error::usage("a registry needs a NAME and --index or --scope")
                .hint("usage: regauthctl add-registry NAME --index URL; a terminal prompts for all missing values"));
        }
        if incomplete {
            client.ping()?;
        }
        let name = match self.name.take() {
            Some(name) => name,
            None => self.prompt_for_name(client)?,
        };
        if covers_nothing && !self.use_project_index(&name) {
            self.prompt_for_location(&name, client)?;
        }
        if let Some(preset) = self.preset {
            self.apply_preset(preset)?;
        }
        self.take_name_of_cargo(name)
    }

    /// Refuses a host and a path without `https://`, and names the URL that is meant.
    fn require_schemes(&self) -> Result<(), ErrorBody> {
        let meant = |text: &String| paste::url_without_scheme(text);
        if let Some(url) = self.index.as_ref().and_then(meant) {
            return Err(
                error::usage("--index: a URL such as https://host/path/ begins with https://")
                    .hint(format!("for a sparse index: sparse+{url}; for one in git: {url}")),
            );
        }
        match self.scopes.iter().find_map(meant) {
            Some(url) => Err(
                error::usage("--scope: a URL such as https://host/path/ begins with https://")
                    .hint(format!("--scope {url}")),
            ),
            None => Ok(()),
        }
    }

    /// Offers the name that cargo's configuration has for the index already: cargo rejects an index with two names.
    fn take_name_of_cargo(&mut self, name: RegistryName) -> Result<RegistryName, ErrorBody> {
        let is_cargo = self.kind.as_deref().is_none_or(|kind| kind == "cargo");
        let index = self.index.as_deref().filter(|_| is_cargo);
        let Some(other) = index.and_then(|index| cargo_names::other_name(index, name.as_str())) else {
            return Ok(name);
        };
        let file = other.file.display();
        let Ok(other) = other.name.parse::<RegistryName>() else {
            return Ok(name);
        };
        if !prompt::is_interactive() {
            output::print_to_stderr(&format!(
                "note: {file} calls this index `{other}`, and Cargo.toml must use that name; `regauthctl add-registry {other}` \
                 would give regauth the same name\n"
            ));
            return Ok(name);
        }
        let question = format!("{file} calls this index {other}. Use that name here too?");
        if !prompt::confirm(&question)? {
            return Ok(name);
        }
        self.answers.rename(name.as_str(), other.as_str());
        Ok(other)
    }

    /// The command that does the same without a question, with the token on stdin; `None` if nothing was asked.
    fn command_without_questions(&self) -> Option<String> {
        let reads_token = !self.source.is_external() || self.source.credential_of.is_some();
        let given = std::env::args().skip(1).collect();
        self.answers.command(given, reads_token && !self.token.is_given())
    }

    /// The command that does the same without a question, as lines for the person; empty if nothing was asked.
    pub(super) fn shown_command(&self) -> String {
        let command = self.command_without_questions();
        let command = command.map(|line| format!("\nThe same without questions:\n\n{line}\n"));
        command.unwrap_or_default()
    }

    fn prompt_for_name(&mut self, client: &Client) -> Result<RegistryName, ErrorBody> {
        loop {
            let name = prompt::registry_name()?;
            let show = Request::Show(ByName { name: name.clone() });
            match client.call::<RegistryView>(&show) {
                Ok(_) => print_to_stderr(&format!("there is a registry {name} already; choose another name\n")),
                Err(error) if error.kind == ErrorKind::NotFound => {
                    self.answers.keep(&[name.as_str()]);
                    return Ok(name);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the index from the project's own cargo configuration, and shows it before the token is asked for.
    fn use_project_index(&mut self, name: &RegistryName) -> bool {
        let is_cargo = self.kind.as_deref().is_none_or(|kind| kind == "cargo");
        let folder = std::env::current_dir().ok().filter(|_| is_cargo);
        let Some(found) = folder.and_then(|folder| index_in_project(&folder, name.as_str())) else {
            return false;
        };
        output::print_to_stderr(&format!(
            "The index of {name} in {}: {}\n",
            found.file.display(),
            found.index
        ));
        self.answers.keep(&["--index", &found.index]);
        self.index = Some(found.index);
        true
    }

    fn prompt_for_location(&mut self, name: &RegistryName, client: &Client) -> Result<(), ErrorBody> {
        if self.preset.is_none() {
            self.preset = prompt::preset()?;
            if let Some(preset) = self.preset {
                self.answers.keep(&["--preset", preset.name]);
            }
        }
        if self.preset.is_none() && self.kind.is_none() {
            let kind = prompt::kind()?;
            self.answers.keep(&["--kind", kind]);
            self.kind = Some(kind.to_owned());
        }
        let challenges = loop {
            let url = prompt::index_or_scope(self.preset)?;
            self.leave_preset_of_other_layout(&url);
            self.set_location(&url);
            match self.check_with_person(name, client)? {
                Preflight::Passed { challenges } => break challenges,
                Preflight::Problem(error) => {
                    print_to_stderr(&format!(
                        "{}\nhint: {}\n",
                        error.message,
                        error.hint.unwrap_or_default()
                    ));
                    (self.index, self.scopes) = (None, Vec::new());
                }
            }
        };
        self.is_checked = true;
        match (self.index.clone(), self.scopes.first().cloned()) {
            (Some(index), _) => self.answers.keep(&["--index", &index]),
            (None, scope) => self.answers.keep(&["--scope", &scope.unwrap_or_default()]),
        }
        self.prompt_for_username(&challenges)
    }

    /// Drops a preset whose layout the URL does not have, and keeps its login and statuses. The prompt has asked.
    fn leave_preset_of_other_layout(&mut self, url: &str) {
        let Some(preset) = self.preset.filter(|preset| preset.index_at(url).is_none()) else {
            return;
        };
        if let (Username::Fixed(username), None) = (&preset.username, &self.username) {
            self.username = Some((*username).to_owned());
            self.answers.keep(&["--username", username]);
        }
        if let (Some(scheme), None) = (preset.scheme_for(self.username.as_deref()), &self.scheme) {
            self.scheme = Some(scheme.to_owned());
            self.answers.keep(&["--scheme", scheme]);
        }
        if self.rejected_by.is_empty() && !preset.rejected_by.is_empty() {
            self.rejected_by = preset.rejected_by.to_vec();
            let statuses: Vec<_> = preset.rejected_by.iter().map(u16::to_string).collect();
            self.answers.keep(&["--rejected-by", &statuses.join(",")]);
        }
        self.answers.drop_flag("--preset");
        self.preset = None;
    }

    /// Takes the URL as an index or a scope. A cargo registry's `https://` URL is that of a sparse index: git indexes end
    /// in `.git`.
    fn set_location(&mut self, url: &str) {
        let is_cargo = match self.preset {
            Some(preset) if preset.is_repository(url) => false,
            Some(preset) => preset
                .index_patterns
                .iter()
                .any(|pattern| pattern.starts_with("sparse+")),
            None => self.kind.as_deref().is_none_or(|kind| kind == "cargo"),
        };
        if url.starts_with("sparse+") || url.ends_with(".git") {
            self.index = Some(url.to_owned());
        } else if is_cargo {
            print_to_stderr(&format!(
                "note: read as sparse+{url}, as cargo writes the URL of a sparse index\n"
            ));
            self.index = Some(format!("sparse+{url}"));
        } else {
            self.scopes = vec![url.to_owned()];
        }
    }

    /// Sets the kind and the login of a product's repository, unless flags do.
    fn apply_offer(&mut self, preset: &'static Preset, offer: &Offer) -> Result<(), ErrorBody> {
        self.kind = Some(offer.kind.to_owned());
        for scope in &mut self.scopes {
            for page in ["index.json", "packages.json"] {
                scope.truncate(scope.trim_end_matches(page).len());
            }
        }
        if self.scheme.is_some() {
            return Ok(());
        }
        match (&offer.login, &preset.username) {
            (Login::Scheme(scheme), _) if self.username.is_none() => self.scheme = Some((*scheme).to_owned()),
            (Login::User(user), _) | (Login::OfPreset, Username::Fixed(user)) if self.username.is_none() => {
                self.username = Some((*user).to_owned());
            }
            (Login::OwnUser(description), _) if self.username.is_none() => {
                if !prompt::is_interactive() {
                    let kind = offer.kind;
                    let message = format!("{} takes a user name for its {kind} repositories", preset.title);
                    return Err(error::usage(message).hint(format!("--username NAME: {description}")));
                }
                self.username = prompt::username(description)?;
                if let Some(username) = &self.username {
                    self.answers.keep(&["--username", username]);
                }
            }
            _ => {}
        }
        if self.scheme.is_none() {
            let of_preset = preset.scheme_for(self.username.as_deref());
            let scheme = if self.username.is_some() {
                Some("basic")
            } else {
                of_preset
            };
            self.scheme = scheme.map(str::to_owned);
        }
        Ok(())
    }

    /// Flags override the preset. An index that the preset excludes is an error.
    fn apply_preset(&mut self, preset: &'static Preset) -> Result<(), ErrorBody> {
        if let Some(index) = &self.index {
            let Some(read_as) = preset.index_at(index) else {
                let patterns = preset.index_patterns.join(" or ");
                return Err(error::usage(format!("{} has its index at {patterns}", preset.title))
                    .hint("correct --index, or leave out --preset to use this index"));
            };
            self.index = Some(read_as);
        }
        if self.rejected_by.is_empty() {
            self.rejected_by = preset.rejected_by.to_vec();
        }
        if let (None, Some(scope)) = (&self.index, self.scopes.first().cloned())
            && let Some(offer) = preset.offer_at(&scope, self.kind.as_deref())?
        {
            return self.apply_offer(preset, offer);
        }
        if self.scheme.is_none() {
            if let (Username::Fixed(username), None) = (&preset.username, &self.username) {
                self.username = Some((*username).to_owned());
            }
            self.scheme = preset.scheme_for(self.username.as_deref()).map(str::to_owned);
        }
        if self.kind.is_none() && self.index.is_none() && preset.name == "github" {
            self.kind = Some("git".to_owned());
        }
        Ok(())
    }
}
