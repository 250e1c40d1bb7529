//! Takes a user's registries into the guarded daemon. A token is deleted from the user's store only when the guarded daemon
//! holds the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use regauth_shared::request::{CompareToken, Nothing};
use regauth_shared::response::{RegistryAdded, RegistryList, TokenComparison, UpstreamSet};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, Secret};

use super::super::command;
use super::account::Account;
use super::hand_over::{HandingOver, Moving};
use super::{BUNDLE, GuardedOutcome, MovedRegistry, StayingRegistry};
use crate::client::Client;
use crate::{error, token};

/// Moves all registries of a user that can be moved, and records in `outcome` what became of each.
///
/// # Errors
/// The guarded daemon does not answer, or a token cannot be read from the terminal.
pub(super) fn take_over(
    account: &Account,
    mut handing_over: HandingOver,
    ask: bool,
    client: &Client,
    outcome: &mut GuardedOutcome,
) -> Result<(), ErrorBody> {
    let known: RegistryList = client.call(&Request::List(Nothing {}))?.answer;
    let known: BTreeSet<RegistryName> = known.registries.into_iter().map(|view| view.name).collect();
    let mut moved = BTreeSet::new();
    let mut tokens = BTreeMap::new();
    let mut staying = std::mem::take(&mut handing_over.left);
    // A second installation finds the registries that the first one has moved.
    staying.retain(|(name, _)| !known.contains(name));
    for moving in std::mem::take(&mut handing_over.registries) {
        let name = moving.request.name.clone();
        match take(moving, ask, &moved, &mut tokens, client) {
            Ok(()) => {
                moved.insert(name);
            }
            Err(reason) => staying.push((name, reason?)),
        }
    }
    if let Some((mut request, roots)) = handing_over.upstream.take() {
        request.ca_file = roots.map(|roots| install_roots("upstream", &roots)).transpose()?;
        let set: UpstreamSet = client.call(&Request::SetUpstream(request))?.answer;
        outcome.notes.extend(set.notes);
        // The proxy is used from the next start.
        command::run(&command::to_words(&["systemctl", "restart", "regauthd.service"]))?;
    }
    if let Err(error) = handing_over.delete_tokens(account, &moved) {
        outcome.notes.push(format!(
            "the tokens of {} are in the store of {} still: {}",
            names(&moved),
            account.name,
            error.message
        ));
    }
    let user = || account.name.clone();
    outcome
        .moved
        .extend(moved.into_iter().map(|name| MovedRegistry { user: user(), name }));
    outcome
        .staying
        .extend(staying.into_iter().map(|(name, reason)| StayingRegistry {
            user: user(),
            name,
            reason,
        }));
    Ok(())
}

/// Adds a registry. The error is the reason why it stays with the user, or one that ends the move.
fn take(
    mut moving: Moving,
    ask: bool,
    moved: &BTreeSet<RegistryName>,
    tokens: &mut BTreeMap<RegistryName, Secret>,
    client: &Client,
) -> Result<(), Result<String, ErrorBody>> {
    let name = moving.request.name.clone();
    if let Some(reason) = HandingOver::obstacle(&moving.request, moved, !ask) {
        return Err(Ok(reason));
    }
    if ask && moving.request.credential_of.is_none() {
        moving.request.token = Some(ask_for_token(&name).map_err(Err)?);
    }
    let token = moving.request.token.clone();
    // A registry that shares a token sends it to more places, which needs that token.
    let owner = moving.request.credential_of.as_ref();
    moving.request.proof = owner.and_then(|owner| tokens.get(owner).cloned());
    let sent = token.clone().or_else(|| moving.request.proof.clone());
    tokens.extend(sent.map(|token| (name.clone(), token)));
    if let Some(roots) = &moving.roots {
        moving.request.ca_file = Some(install_roots(name.as_str(), roots).map_err(Err)?);
    }
    let added = client.call::<RegistryAdded>(&Request::AddRegistry(Box::new(moving.request)));
    match added {
        Ok(_) => {}
        Err(error) if error.kind == ErrorKind::Exists && is_held(client, &name, token.as_ref()) => {}
        Err(error) if error.kind == ErrorKind::Unreachable => return Err(Err(error)),
        Err(error) => return Err(Ok(error.message)),
    }
    match token {
        Some(_) if !is_held(client, &name, token.as_ref()) => {
            Err(Ok("the guarded daemon does not hold its token".to_owned()))
        }
        _ => Ok(()),
    }
}

/// True if the guarded daemon has this token for the registry.
fn is_held(client: &Client, name: &RegistryName, token: Option<&Secret>) -> bool {
    let Some(token) = token.cloned() else { return false };
    let compare = Request::CompareToken(CompareToken {
        name: name.clone(),
        token,
    });
    let comparison = client.call::<TokenComparison>(&compare);
    comparison.is_ok_and(|reply| reply.answer.same == Some(true))
}

fn ask_for_token(name: &RegistryName) -> Result<Secret, ErrorBody> {
    let text = token::from_terminal(&format!("Token for {name}: "))?;
    Secret::parse(&text).map_err(|invalid| error::usage(invalid.to_string()))
}

/// Writes root certificates where only root can change them, and returns the path.
fn install_roots(name: &str, roots: &str) -> Result<String, ErrorBody> {
    let path = PathBuf::from(super::ETC).join(format!("{name}-ca.pem"));
    let failed = || error::io(format!("cannot write {}", path.display()));
    fs::write(&path, roots).map_err(failed())?;
    fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(failed())?;
    Ok(path.display().to_string())
}

/// Makes the paths that the user's clients know lead to the new bundle, and to the one for Java beside it. It runs as the user:
/// in a folder of the user, root might write through a link of the user's.
pub(super) fn link_bundle(account: &Account, known: Option<PathBuf>, outcome: &mut GuardedOutcome) {
    let known = known.unwrap_or_else(|| account.in_home(".local/state/regauth/ca-bundle.pem"));
    for extension in ["pem", "jks"] {
        let [path, new] =
            [&*known, Path::new(BUNDLE)].map(|bundle| bundle.with_extension(extension).display().to_string());
        let link = ["--symbolic", "--force", "--no-target-directory", &new, &path];
        if Path::new(&path).symlink_metadata().is_ok()
            && let Err(error) = account.run(Path::new("/bin/ln"), &link)
        {
            outcome
                .notes
                .push(format!("{}; clients that trust that file need {new}", error.message));
        }
    }
    link_folder(account, &known.with_file_name("bundle"), outcome);
}

/// Makes the folder that is mounted into containers lead to the new one. It has nothing but copies of the bundles.
fn link_folder(account: &Account, known: &Path, outcome: &mut GuardedOutcome) {
    if !known.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return;
    }
    let (known, new) = (known.display().to_string(), Path::new(BUNDLE).with_file_name(""));
    let link = ["--symbolic", &*new.to_string_lossy(), &known];
    let removed = account.run(Path::new("/bin/rm"), &["--recursive", "--force", &known]);
    if let Err(error) = removed.and_then(|()| account.run(Path::new("/bin/ln"), &link)) {
        outcome.notes.push(format!(
            "{}; containers that mount that folder need {}",
            error.message,
            new.display()
        ));
    }
}

fn names(names: &BTreeSet<RegistryName>) -> String {
    names.iter().map(RegistryName::as_str).collect::<Vec<_>>().join(", ")
}
