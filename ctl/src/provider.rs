//! What cargo asks for tokens: a credential provider (the Cargo book, "Credential Provider Protocol").
//!
//! It holds no token. For a registry that regauthd knows it gives the public placeholder, which is all that cargo needs
//! to send a request; regauthd attaches the credential on the way. For every other registry cargo asks its next
//! provider. `cargo login` hands a token on to regauthd, and `cargo logout` has the registry removed.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use cargo_credential::{
    Action, CacheControl, Credential, CredentialResponse, Error, LoginOptions, RegistryInfo, Secret as CargoSecret,
};
use regauth_shared::paths::Folders;
use regauth_shared::placeholder::PLACEHOLDER;
use regauth_shared::request::{ByName, Nothing, Rotate};
use regauth_shared::response::{RegistryList, RegistryRemoved, RegistryView, Rotated};
use regauth_shared::{ErrorBody, RegistryName, Request, Secret};
use secrecy::zeroize::Zeroizing;
use url::Url;

use crate::client::Client;
use crate::output::{self, print_to_stderr};
use crate::{error, setup, terminal};

/// Talks to cargo on stdin and stdout until cargo closes them.
pub(crate) fn run() -> ExitCode {
    let asked_by_cargo = std::env::args_os().any(|argument| argument == "--cargo-plugin");
    if !asked_by_cargo {
        print_to_stderr(WHAT_THIS_IS);
        return ExitCode::from(regauth_shared::exit_code::USAGE);
    }
    cargo_credential::main(Provider);
    ExitCode::SUCCESS
}

struct Provider;

impl Credential for Provider {
    fn perform(&self, registry: &RegistryInfo, action: &Action, args: &[&str]) -> Result<CredentialResponse, Error> {
        let known = match Known::find(registry, args) {
            Ok(known) => known,
            Err(why) => return pass_on(registry, action, &why),
        };
        match action {
            Action::Get(_) => Ok(placeholder()),
            Action::Login(options) => known.login(options).map_err(in_cargos_words),
            Action::Logout => known.logout().map_err(in_cargos_words),
            _ => Err(Error::OperationNotSupported),
        }
    }
}

/// A registry of the daemon's.
struct Known {
    folders: Folders,
    client: Client,
    name: RegistryName,
    scheme: String,
}

/// Why cargo has to ask somebody else.
enum Unknown {
    /// There is a daemon, and it does not know the registry.
    Stranger,
    /// Nobody could be asked.
    NobodyToAsk(ErrorBody),
}

impl Known {
    fn find(registry: &RegistryInfo, args: &[&str]) -> Result<Self, Unknown> {
        let folders = folders(args).map_err(Unknown::NobodyToAsk)?;
        let client = Client::new(&folders);
        let list = client.ask::<RegistryList>(&Request::List(Nothing {}));
        let list = list.map_err(Unknown::NobodyToAsk)?.answer;
        let found = list
            .registries
            .into_iter()
            .find(|view| serves(view, registry.index_url))
            .ok_or(Unknown::Stranger)?;
        Ok(Self {
            folders,
            client,
            name: found.name,
            scheme: found.scheme,
        })
    }

    fn login(&self, options: &LoginOptions) -> Result<CredentialResponse, ErrorBody> {
        let token = match &options.token {
            Some(token) => Zeroizing::new((*token.as_ref().expose()).to_owned()),
            None => terminal::ask(&format!("New token for {} ({}): ", self.name, self.scheme))?,
        };
        let token = Secret::parse(&token).map_err(|invalid| error::usage(invalid.to_string()))?;
        let name = self.name.clone();
        let verify = true;
        let rotate = Request::Rotate(Rotate {
            name,
            token: Some(token),
            verify,
        });
        let rotated: Rotated = self.client.ask(&rotate)?.answer;
        print_to_stderr(&format!(
            "regauth: {} uses the new token from now on (generation {})\n",
            rotated.name, rotated.generation
        ));
        Ok(CredentialResponse::Login)
    }

    fn logout(&self) -> Result<CredentialResponse, ErrorBody> {
        let name = self.name.clone();
        let removed: RegistryRemoved = self.client.ask(&Request::RemoveRegistry(ByName { name }))?.answer;
        print_to_stderr(&format!(
            "regauth: forgot {} and deleted its token\n{}{}",
            removed.name,
            output::notes(&removed.notes),
            setup::refresh(&self.folders, &self.client)
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

/// Cargo asks its next provider, as it must: without a daemon we cannot tell whose registry this is. A person learns
/// why, since what cargo will say ("no token found") does not lead to regauthd. Not so at `cargo login`: the next
/// provider would write what may be one of our tokens into a plain file.
fn pass_on(registry: &RegistryInfo, action: &Action, why: &Unknown) -> Result<CredentialResponse, Error> {
    if let Unknown::NobodyToAsk(error) = why {
        let name = registry.name.unwrap_or(registry.index_url);
        if matches!(action, Action::Login(_)) && name != CRATES_IO {
            return Err(in_cargos_words(error.clone()));
        }
        print_to_stderr(&format!(
            "regauth: cannot tell whether {name} is one of regauthd's registries: {}\n",
            error.message
        ));
        if let Some(hint) = &error.hint {
            print_to_stderr(&format!("regauth: {hint}\n"));
        }
    } else if matches!(action, Action::Login(_) | Action::Logout) {
        let name = registry.name.unwrap_or("NAME");
        print_to_stderr(&format!(
            "regauth: regauthd does not know this registry; `regauthctl add-registry {name} --index {}` makes it one of \
             its own\n",
            registry.index_url
        ));
    }
    Err(Error::UrlNotSupported)
}

/// Cargo's configuration may say `cargo-credential-regauth --home DIR`; those arguments come with the request.
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
    let variable = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    Folders::resolve(home, variable).map_err(|error| error::usage(error.to_string()))
}

/// By its index; a cargo registry that was added without one is known by what it covers.
fn serves(view: &RegistryView, index: &str) -> bool {
    let Some(wanted) = place(index) else { return false };
    match &view.index {
        Some(index) => place(index).is_some_and(|ours| ours == wanted),
        None if view.kind == "cargo" => view
            .scopes
            .iter()
            .filter_map(|scope| place(scope))
            .any(|scope| wanted.starts_with(&scope)),
        None => false,
    }
}

/// A URL in the one form in which two of them can be compared, ending in a slash.
fn place(text: &str) -> Option<String> {
    let url = Url::parse(text.strip_prefix("sparse+").unwrap_or(text)).ok()?;
    Some(format!("{}/", url.as_str().trim_end_matches('/')))
}

fn in_cargos_words(error: ErrorBody) -> Error {
    Error::from(match error.hint {
        Some(hint) => format!("{}; {hint}", error.message),
        None => error.message,
    })
}

/// What cargo calls it.
const CRATES_IO: &str = "crates-io";

const WHAT_THIS_IS: &str = "\
cargo-credential-regauth is started by cargo, not by people. `regauthctl setup cargo` tells cargo to use it.
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
    fn a_registry_is_known_by_its_index_however_it_is_written() {
        let corp = view(
            "cargo",
            Some("sparse+https://corp.example/index/"),
            "https://corp.example/index/",
        );
        for (index, known) in [
            ("sparse+https://corp.example/index/", true),
            ("sparse+https://CORP.example:443/index", true),
            ("sparse+https://corp.example/index/deeper/", false),
            ("sparse+https://corp.example.evil/index/", false),
            ("https://github.com/rust-lang/crates.io-index", false),
            ("no url", false),
        ] {
            assert_eq!(serves(&corp, index), known, "{index}");
        }
    }

    #[test]
    fn a_git_host_is_no_cargo_registry() {
        let crates_io = "https://github.com/rust-lang/crates.io-index";
        assert!(!serves(&view("git", None, "https://github.com/"), crates_io));
        let wide = view("cargo", None, "https://corp.example/cargo/");
        assert!(serves(&wide, "sparse+https://corp.example/cargo/index/"));
        assert!(!serves(&wide, "sparse+https://corp.example/cargo-evil/index/"));
    }
}
