//! The lines that make cargo, git or another client use the proxy for a registry that was just added.

use regauth_shared::response::RegistryAdded;
use serde_json::Value;

/// What a person has to put where.
pub(super) fn lines(added: &RegistryAdded) -> String {
    let index = added.registry.index.as_deref();
    let cargo = added.registry.kind == "cargo";
    let git = added.registry.kind == "git" || index.is_some_and(|index| !index.starts_with("sparse+"));
    let mut text = String::new();
    if cargo {
        text.push_str(&for_cargo(added));
    }
    if git {
        text.push_str(&for_git(added));
    }
    if !cargo && !git {
        text.push_str(&for_others(added));
    }
    text
}

/// With any `[http]` setting cargo fetches git repositories in a way that knows no credential helpers, on all hosts;
/// the git command does not have that fault.
fn for_cargo(added: &RegistryAdded) -> String {
    let registry = match &added.registry.index {
        Some(index) => format!("\n[registries.{}]\nindex = {}\n", added.registry.name, quoted(index)),
        None => String::new(),
    };
    format!(
        "\nFor cargo, `regauthctl setup cargo` does it; by hand, in ~/.cargo/config.toml:\n\n\
         [http]\nproxy = {}\ncainfo = {}\n\n[net]\ngit-fetch-with-cli = true\n{registry}",
        quoted(&added.proxy),
        quoted(&added.bundle),
    )
}

/// Settings of single URLs, so that git goes to all other hosts as before.
fn for_git(added: &RegistryAdded) -> String {
    let mut text = "\nFor git, `regauthctl setup git` does it; by hand, in ~/.gitconfig:\n\n".to_owned();
    for scope in &added.registry.scopes {
        let (proxy, bundle) = (quoted(&added.proxy), quoted(&added.bundle));
        text.push_str(&format!(
            "[http {}]\nproxy = {proxy}\nsslCAInfo = {bundle}\n",
            quoted(scope)
        ));
    }
    text
}

fn for_others(added: &RegistryAdded) -> String {
    format!(
        "\nClients reach it through the proxy and must trust the bundle; `regauthctl setup` and `regauthctl env` do it:\n\n\
         HTTPS_PROXY={}\nSSL_CERT_FILE={}\n",
        added.proxy, added.bundle,
    )
}

/// A JSON string is a TOML basic string and a quoted git value too.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
