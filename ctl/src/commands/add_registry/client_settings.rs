//! Settings of clients for a registry that was added, for a person who writes them by hand. Pure.

use regauth_shared::response::RegistryAdded;
use serde_json::Value;

use crate::daemon_info::is_git_index;

/// Settings that make cargo, git or another client use the proxy for the registry.
pub(super) fn client_settings(added: &RegistryAdded, provider: &[String]) -> String {
    let is_cargo = added.registry.kind == "cargo";
    let is_git = added.registry.kind == "git" || is_git_index(&added.registry);
    match (is_cargo, is_git) {
        (true, true) => cargo_settings(added, provider) + &git_settings(added),
        (true, false) => cargo_settings(added, provider),
        (false, true) => git_settings(added),
        (false, false) => environment_settings(added),
    }
}

/// With any `[http]` setting cargo's own git ignores credential helpers, for all hosts. The git program does not.
fn cargo_settings(added: &RegistryAdded, provider: &[String]) -> String {
    let registry = match &added.registry.index {
        Some(index) => {
            let name = added.registry.name.toml_key();
            format!("\n[registries.{name}]\nindex = {}\n", quoted(index))
        }
        None => String::new(),
    };
    // Cargo splits a provider's command at blanks, and an alias is a list of words.
    let (alias, provider) = if provider.iter().any(|word| word.contains(char::is_whitespace)) {
        let words = Value::from(provider.to_vec());
        (
            format!("\n[credential-alias]\nregauth = {words}\n"),
            "regauth".to_owned(),
        )
    } else {
        (String::new(), provider.join(" "))
    };
    format!(
        "\nFor cargo, `regauthctl setup cargo` does it; by hand, in ~/.cargo/config.toml:\n\n\
         [http]\nproxy = {}\ncainfo = {}\n\n[net]\ngit-fetch-with-cli = true\n\n\
         [registry]\nglobal-credential-providers = [\"cargo:token\", {}]\n{alias}{registry}",
        quoted(&added.proxy),
        quoted(&added.bundle),
        quoted(&provider),
    )
}

/// The settings are per URL, so that git reaches all other hosts as before.
fn git_settings(added: &RegistryAdded) -> String {
    let (proxy, bundle) = (quoted(&added.proxy), quoted(&added.bundle));
    let section = |scope: &String| {
        let scope = quoted(scope);
        format!("[http {scope}]\nproxy = {proxy}\nsslCAInfo = {bundle}\n")
    };
    let sections: String = added.registry.scopes.iter().map(section).collect();
    format!("\nFor git, `regauthctl setup git` does it; by hand, in ~/.gitconfig:\n\n{sections}")
}

fn environment_settings(added: &RegistryAdded) -> String {
    format!(
        "\nClients must use the proxy and trust the bundle. Run `regauthctl setup`, or set what `regauthctl env` prints:\n\n\
         HTTPS_PROXY={}\nSSL_CERT_FILE={}\n",
        added.proxy, added.bundle,
    )
}

/// Quotes a value: a JSON string is also a TOML basic string and a quoted git value.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
