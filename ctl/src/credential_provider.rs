//! Cargo's credential provider (the Cargo book, "Credential Provider Protocol").
//!
//! The provider holds no token. For a registry of regauthd it returns the public placeholder, with which cargo sends
//! the request; regauthd replaces it with the credential. For every other registry cargo asks its next provider. `cargo
//! login` sends the token to regauthd. `cargo logout` makes regauthd forget it, and the registry stays.

use std::path::Path;
use std::process::ExitCode;

use cargo_credential::{
    Action, CacheControl, Credential, CredentialResponse, Error, LoginOptions, RegistryInfo, Secret as CargoSecret,
};
use regauth_shared::paths::Folders;
use regauth_shared::placeholder::PLACEHOLDER;
use regauth_shared::request::{ByName, Nothing, Rotate};
use regauth_shared::response::{CredentialState, LoggedOut, RegistryList, RegistryView, Rotated};
use regauth_shared::{ErrorBody, RegistryName, Request};
use secrecy::zeroize::Zeroizing;
use url::Url;

use crate::client::Client;
use crate::output::{self, print_to_stderr};
use crate::{connect, error, own_commands, paste, token};

/// Serves cargo on stdin and stdout until cargo closes them.
pub(crate) fn run() -> ExitCode {
    let is_cargo = std::env::args_os().any(|argument| argument == "--cargo-plugin");
    if !is_cargo {
        print_to_stderr(USAGE);
        return ExitCode::from(regauth_shared::exit_code::USAGE);
    }
    cargo_credential::main(Provider);
    ExitCode::SUCCESS
}

struct Provider;

impl Credential for Provider {
    fn perform(&self, registry: &RegistryInfo, action: &Action, args: &[&str]) -> Result<CredentialResponse, Error> {
        let served = match ServedRegistry::find(registry, args) {
            Ok(served) => served,
            Err(reason) => return defer_to_next_provider(registry, action, &reason),
        };
        match action {
            // Cargo's own message proposes `cargo login`, and its login works only without a token.
            Action::Get(_) if served.is_logged_out => Err(Error::NotFound),
            Action::Get(_) => {
                served.warn_about_store();
                Ok(placeholder())
            }
            Action::Login(options) => served.login(options).map_err(to_cargo_error),
            Action::Logout => served.logout().map_err(to_cargo_error),
            _ => Err(Error::OperationNotSupported),
        }
    }
}

/// Registry that the daemon serves.
struct ServedRegistry {
    client: Client,
    name: RegistryName,
    scheme: String,
    state: CredentialState,
    /// True if the store has no token for it.
    is_logged_out: bool,
}

/// Reason why this provider has no answer.
enum NotServed {
    /// The daemon does not serve the registry.
    UnknownRegistry,
    /// The daemon does not answer.
    NoDaemon(ErrorBody),
}

impl ServedRegistry {
    fn find(registry: &RegistryInfo, args: &[&str]) -> Result<Self, NotServed> {
        let folders = folders(args).map_err(NotServed::NoDaemon)?;
        let client = connect::user_daemon(&folders);
        let list = client.call::<RegistryList>(&Request::List(Nothing {}));
        let list = list.map_err(NotServed::NoDaemon)?.answer;
        let found = list
            .registries
            .into_iter()
            .find(|view| serves(view, registry.index_url))
            .ok_or(NotServed::UnknownRegistry)?;
        Ok(Self {
            client,
            is_logged_out: found.source == "store" && found.credential.state == CredentialState::Missing,
            name: found.name,
            scheme: found.scheme,
            state: found.credential.state,
        })
    }

    /// Prints why the request is about to fail. cargo drops the body of the proxy's answer to a CONNECT, which says the same.
    fn warn_about_store(&self) {
        let reason = match self.state {
            CredentialState::Locked => "the store is locked; `regauthctl unlock` opens it",
            CredentialState::Unreadable => "the store cannot be read; `regauthctl status` says why",
            _ => return,
        };
        print_to_stderr(&format!(
            "regauth: no request to {} can be served: {reason}\n",
            self.name
        ));
    }

    fn login(&self, options: &LoginOptions) -> Result<CredentialResponse, ErrorBody> {
        let token = match &options.token {
            Some(token) => Zeroizing::new((*token.as_ref().expose()).to_owned()),
            None => token::from_terminal(&format!("New token for {} ({}): ", self.name, self.scheme))?,
        };
        let token = token::parse_pasted(&token, &self.scheme).map_err(|invalid| error::usage(invalid.to_string()))?;
        let login = paste::login(token.expose(), &self.scheme);
        let rotate = Request::Rotate(Rotate {
            name: self.name.clone(),
            token: Some(token),
            verify: true,
        });
        let rotated = self.client.call(&rotate);
        let rotated: Rotated = rotated.map_err(|error| paste::with_login_hint(error, login))?.answer;
        print_to_stderr(&format!(
            "regauth: {} uses the new token from now on (generation {})\n",
            rotated.name, rotated.generation
        ));
        Ok(CredentialResponse::Login)
    }

    fn logout(&self) -> Result<CredentialResponse, ErrorBody> {
        let name = self.name.clone();
        let logged_out: LoggedOut = self.client.call(&Request::Logout(ByName { name }))?.answer;
        print_to_stderr(&format!(
            "regauth: deleted the token of {0}; the registry stays, and `regauthctl login {0}` takes a new token\n{1}",
            logged_out.name,
            output::notes(&logged_out.notes),
        ));
        Ok(CredentialResponse::Logout)
    }
}

fn placeholder() -> CredentialResponse {
    CredentialResponse::Get {
        token: CargoSecret::from(PLACEHOLDER.to_owned()),
        cache: CacheControl::Session,
        operation_independent: true,
    }
}

/// Makes cargo ask its next provider, and prints the reason: cargo's own message ("no token found") does not lead to
/// regauthd.
///
/// Without a daemon `cargo login` fails instead. The next provider would write the token, which may be for one of our
/// registries, to a plain file.
fn defer_to_next_provider(
    registry: &RegistryInfo,
    action: &Action,
    reason: &NotServed,
) -> Result<CredentialResponse, Error> {
    match reason {
        NotServed::NoDaemon(error) => {
            let name = registry.name.unwrap_or(registry.index_url);
            if matches!(action, Action::Login(_)) && name != CRATES_IO {
                return Err(to_cargo_error(error.clone()));
            }
            print_to_stderr(&format!(
                "regauth: cannot tell whether {name} is a registry of regauthd: {}\n",
                error.message
            ));
            if let Some(hint) = &error.hint {
                print_to_stderr(&format!("regauth: {hint}\n"));
            }
        }
        NotServed::UnknownRegistry if matches!(action, Action::Login(_) | Action::Logout) => {
            let name = registry.name.unwrap_or("NAME");
            print_to_stderr(&format!(
                "regauth: regauthd does not know this registry; `regauthctl add-registry {name} --index {}` adds it\n",
                registry.index_url
            ));
        }
        NotServed::UnknownRegistry => {}
    }
    Err(Error::UrlNotSupported)
}

/// Resolves the daemon's folders. Cargo's configuration may name the provider as `cargo-credential-regauth --home DIR`;
/// cargo passes those arguments on.
fn folders(args: &[&str]) -> Result<Folders, ErrorBody> {
    let home = match args {
        [] => None,
        ["--home", home] => Some(Path::new(home)),
        _ => {
            return Err(error::usage(
                "the only argument that cargo-credential-regauth takes is --home DIR",
            ));
        }
    };
    own_commands::set_flags(home, false);
    connect::folders(home)
}

/// True if the registry has this index. A cargo registry without an index serves every index below its scopes.
fn serves(view: &RegistryView, index: &str) -> bool {
    let Some(wanted) = normalized_url(index) else {
        return false;
    };
    match &view.index {
        Some(index) => normalized_url(index).is_some_and(|index| index == wanted),
        None if view.kind == "cargo" => view
            .scopes
            .iter()
            .filter_map(|scope| normalized_url(scope))
            .any(|scope| wanted.starts_with(&scope)),
        None => false,
    }
}

/// Normal form of a URL, for comparison: parsed, without `sparse+`, with one slash at the end.
fn normalized_url(text: &str) -> Option<String> {
    let url = Url::parse(text.strip_prefix("sparse+").unwrap_or(text)).ok()?;
    Some(format!("{}/", url.as_str().trim_end_matches('/')))
}

fn to_cargo_error(error: ErrorBody) -> Error {
    let error = own_commands::with_flags_in_error(error);
    Error::from(match error.hint {
        Some(hint) => format!("{}; {hint}", error.message),
        None => error.message,
    })
}

/// Cargo's name for its default registry.
const CRATES_IO: &str = "crates-io";

const USAGE: &str = "\
cargo starts cargo-credential-regauth by itself. `regauthctl setup cargo` configures cargo to do so.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn view(kind: &str, index: Option<&str>, scope: &str) -> RegistryView {
        let view = serde_json::json!({
            "name": "corp", "kind": kind, "index": index, "scopes": [scope], "scheme": "bearer", "source": "store",
            "writes": "deny", "credential": { "state": "ready", "generation": 1 }, "requests": 0,
        });
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn matches_an_index_in_every_spelling_of_its_url() {
        let corp = view(
            "cargo",
            Some("sparse+https://corp.example/index/"),
            "https://corp.example/index/",
        );
        for (index, expected) in [
            ("sparse+https://corp.example/index/", true),
            ("sparse+https://CORP.example:443/index", true),
            ("sparse+https://corp.example/index/deeper/", false),
            ("sparse+https://corp.example.evil/index/", false),
            ("https://github.com/rust-lang/crates.io-index", false),
            ("no url", false),
        ] {
            assert_eq!(serves(&corp, index), expected, "{index}");
        }
    }

    #[test]
    fn does_not_match_the_scope_of_a_git_host() {
        let crates_io = "https://github.com/rust-lang/crates.io-index";
        assert!(!serves(&view("git", None, "https://github.com/"), crates_io));
        let wide = view("cargo", None, "https://corp.example/cargo/");
        assert!(serves(&wide, "sparse+https://corp.example/cargo/index/"));
        assert!(!serves(&wide, "sparse+https://corp.example/cargo-evil/index/"));
    }
}
