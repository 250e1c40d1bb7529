//! Text of the platform's dialogue: one sentence that says what is permitted by a yes.
//!
//! On Linux only a guarded daemon says it: polkit takes texts from a trusted user alone, so the dialogue of a user's own daemon
//! has the general text of the action. macOS takes any text.
//!
//! Names and URLs come from the program that asks. They contain nothing that an agent could read as markup or as another line.
//! What widens is never cut, since a cut could hide the harmful part: a sentence that [is too long](Question::is_too_long) is not
//! asked.

mod change;

use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::collections::HashMap;
use std::time::Duration;

use regauth_shared::Request;
use regauth_shared::request::{AddRegistry, Grant, SetUpstream};
use url::Url;

use crate::config::Weight;
use crate::control::review::Review;

/// Sentence with placeholders, and their values. polkit puts the values in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    message: &'static str,
    values: BTreeMap<&'static str, String>,
}

impl Question {
    /// Question about a guarded request; `None` for one that needs nobody, or has no text yet. `review` has the changes of a
    /// request that changes the configuration.
    pub(super) fn about(request: &Request, review: Option<&Review>) -> Option<Self> {
        Some(match request {
            Request::AddRegistry(request) => addition(request),
            Request::CheckRegistry(request) => Self::new(
                "Let regauth read the certificates in $(file) and trust them for $(urls)?",
                [
                    ("file", plain(request.ca_file.as_deref().unwrap_or_default())),
                    ("urls", places(request)),
                ],
            ),
            Request::AddScope(request) => Self::new(
                "Send the token of $(registry) to $(urls) as well?",
                [("registry", request.name.to_string()), ("urls", urls(&request.scopes))],
            ),
            Request::Confirm(request) => Self::new(
                "Let the token of $(registry) go where its changed configuration says: $(changes)?",
                [
                    ("registry", request.name.to_string()),
                    ("changes", list(request.changes.iter().map(|change| plain(change)))),
                ],
            ),
            Request::SetRegistry(_) | Request::ReplaceConfiguration(_) => changed_configuration(review),
            Request::Reload(_) => reloaded_configuration(review),
            Request::Allow(request) => Self::new(
                "Open writes to $(registry) for $(time)?",
                [("registry", request.name.to_string()), ("time", time(request.seconds))],
            ),
            Request::Grant(request) => grant(request),
            _ => return Self::about_daemon(request),
        })
    }

    /// Question about the daemon itself.
    fn about_daemon(request: &Request) -> Option<Self> {
        Some(match request {
            Request::SetUpstream(request) => upstream(request),
            Request::Unlock(request) if request.set_passphrase.is_some() => {
                Self::new("Protect regauth's tokens with another passphrase?", [])
            }
            Request::Unlock(_) => Self::new("Open regauth's store of tokens?", []),
            Request::StoreMove(request) => Self::new(
                "Move all tokens of regauth to the store $(store)?",
                [("store", plain(&request.to))],
            ),
            Request::Log(request) => Self::new(
                "Change the level of regauth's log to $(level)?",
                [("level", request.level?.as_str().to_owned())],
            ),
            Request::Stop(_) => Self::new("Stop regauth?", []),
            Request::RemoveRegistry(request) => Self::new(
                "Remove the registry $(registry), which an administrator has defined?",
                [("registry", request.name.to_string())],
            ),
            _ => return None,
        })
    }

    /// The sentence as macOS continues it, after "regauthd is trying to".
    #[cfg(any(target_os = "macos", test))]
    pub(super) fn purpose(&self) -> String {
        let text = self.text();
        let text = text.strip_suffix('?').unwrap_or(&text);
        let text = text.strip_prefix("Let regauth ").unwrap_or(text);
        let mut characters = text.chars();
        let first = characters.next().map(|first| first.to_ascii_lowercase());
        first.into_iter().chain(characters).collect()
    }

    /// Details of the call (polkit(8) names `polkit.message`).
    #[cfg(target_os = "linux")]
    pub(super) fn details(&self) -> HashMap<&str, &str> {
        let values = self.values.iter().map(|(name, value)| (*name, value.as_str()));
        values.chain([("polkit.message", self.message)]).collect()
    }

    fn new<const N: usize>(message: &'static str, values: [(&'static str, String); N]) -> Self {
        Self {
            message,
            values: BTreeMap::from(values),
        }
    }

    /// True if a person would not read the whole sentence.
    pub(super) fn is_too_long(&self) -> bool {
        self.text().len() > MAX_LENGTH
    }

    /// The sentence with its values, none of which has a `$`.
    fn text(&self) -> String {
        let fill = |text: String, (name, value): (&&str, &String)| text.replace(&format!("$({name})"), value);
        self.values.iter().fold(self.message.to_owned(), fill)
    }
}

fn addition(request: &AddRegistry) -> Question {
    let new = || ("new", new_registry(request));
    if let Some(owner) = &request.credential_of {
        return Question::new(
            "Send the token of $(registry) to $(urls) as well, for the new registry $(new)?",
            [("registry", owner.to_string()), ("urls", places(request)), new()],
        );
    }
    if let Some(program) = &request.source_command {
        let command = command(&program.command);
        return Question::new(
            "Let regauth run $(program) and send the token that it prints to $(urls), for the new registry $(new)?",
            [("program", command), ("urls", places(request)), new()],
        );
    }
    if request.token.is_none() {
        let source = request.source.as_deref().unwrap_or("a source of its own");
        let source = command(&[source.to_owned()]);
        return Question::new(
            "Let regauth take a token from $(source) and send it to $(urls), for the new registry $(new)?",
            [("source", source), ("urls", places(request)), new()],
        );
    }
    Question::new(
        "Add the registry $(new), at $(urls)?",
        [("urls", places(request)), new()],
    )
}

/// Name of a new registry, and what it may do besides getting a token.
fn new_registry(request: &AddRegistry) -> String {
    let file = (request.ca_file.as_deref()).map(|file| format!(", with trust in the certificates in {}", plain(file)));
    let opens_writes = request.writes.as_deref().is_some_and(|writes| writes != "deny");
    let writes = if opens_writes { ", with its writes open" } else { "" };
    format!("{}{}{writes}", request.name, file.unwrap_or_default())
}

fn changed_configuration(review: Option<&Review>) -> Question {
    match changes_of(review) {
        Some(changes) => Question::new(
            "Change the configuration of regauth: $(changes)?",
            [("changes", changes)],
        ),
        None => Question::new("Replace the text of regauth's configuration, and no setting in it?", []),
    }
}

fn reloaded_configuration(review: Option<&Review>) -> Question {
    match changes_of(review) {
        Some(changes) => Question::new(
            "Let regauth apply its changed configuration: $(changes)?",
            [("changes", changes)],
        ),
        None => Question::new(
            "Let regauth read its configuration again, which has the same settings, and the files that it names, which \
             may have changed?",
            [],
        ),
    }
}

/// All changes that widen, and the first of the others.
fn changes_of(review: Option<&Review>) -> Option<String> {
    let changes = &review?.changes;
    let widening = changes
        .iter()
        .filter(|change| change.weight() != Weight::Narrowing)
        .count();
    let shown = changes.len().min(widening.max(MAX_NARROWING));
    let texts = list(changes.iter().take(shown).map(change::text));
    match changes.len() - shown {
        0 => (!changes.is_empty()).then_some(texts),
        others => Some(format!("{texts} AND {others} MORE, WHICH WIDEN NOTHING")),
    }
}

fn grant(request: &Grant) -> Question {
    let message = match request.write {
        true => "Let others read from and write to $(registries) with a grant for $(time)?",
        false => "Let others read from $(registries) with a grant for $(time)?",
    };
    let names = match request.registries.is_empty() {
        true => "every registry".to_owned(),
        false => list(request.registries.iter().map(ToString::to_string)),
    };
    Question::new(message, [("registries", names), ("time", time(request.seconds))])
}

fn upstream(request: &SetUpstream) -> Question {
    if request.remove {
        return Question::new("Let regauth reach other hosts without the corporate proxy?", []);
    }
    let proxy = request.proxy.as_ref().map(|proxy| without_login(proxy.expose()));
    let file = request.ca_file.as_deref().map(plain);
    match (proxy, file) {
        (Some(proxy), Some(file)) => Question::new(
            "Let regauth send its connections through the proxy $(proxy), and trust the certificates in $(file)?",
            [("proxy", proxy), ("file", file)],
        ),
        (Some(proxy), None) => Question::new(
            "Let regauth send its connections through the proxy $(proxy)?",
            [("proxy", proxy)],
        ),
        (None, file) => Question::new(
            "Let clients of regauth trust the certificates in $(file)?",
            [("file", file.unwrap_or_default())],
        ),
    }
}

/// URLs that a new registry's token goes to: its index, its scopes, its token service.
fn places(request: &AddRegistry) -> String {
    let index = request.index.iter().map(|index| index.trim_start_matches("sparse+"));
    let others = request.scopes.iter().chain(&request.token_service).map(String::as_str);
    list(index.chain(others).map(url))
}

fn urls(texts: &[String]) -> String {
    list(texts.iter().map(|text| url(text)))
}

/// URL as the daemon would use it: a name of another script in its ASCII form, without user and password.
fn url(text: &str) -> String {
    let Ok(url) = Url::parse(text) else {
        return plain(text);
    };
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    let origin = format!("{}://{host}{port}", url.scheme());
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    format!("{}{}", plain(&origin), plain(&format!("{}{query}", url.path())))
}

/// Scheme, host and port of a proxy. The rest may have a password.
fn without_login(text: &str) -> String {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    match Url::parse(&with_scheme) {
        Ok(url) => {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            plain(&format!(
                "{}://{}{port}",
                url.scheme(),
                url.host_str().unwrap_or_default()
            ))
        }
        Err(_) => "of the request".to_owned(),
    }
}

fn time(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn command(words: &[String]) -> String {
    list(words.iter().map(|word| plain(word)))
}

/// ASCII characters that no markup uses; every other one is a question mark.
fn plain(text: &str) -> String {
    let is_plain =
        |character: char| (character == ' ' || character.is_ascii_graphic()) && !"<>&$`\"\\".contains(character);
    let replaced = |character| if is_plain(character) { character } else { '?' };
    text.chars().map(replaced).collect()
}

/// Characters that a person reads, and that fit into a dialogue.
const MAX_LENGTH: usize = 1000;
/// Changes that are shown if none widens.
const MAX_NARROWING: usize = 4;

#[cfg(test)]
mod tests;
