//! Takes a user's registries into the guarded daemon. A token is deleted from the user's store only when the guarded daemon
//! holds the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regauth_shared::request::{CompareToken, SetUpstream};
use regauth_shared::response::{RegistryAdded, TokenComparison, UpstreamSet};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, Secret};

use super::super::command;
use super::account::Account;
use super::hand_over::{HandingOver, Moving};
use super::outcome::{MovedRegistry, StayingRegistry};
use super::proposal::proxy_login;
use super::roots::InstalledRoots;
use super::{BUNDLE, ETC, GuardedOutcome, registries_of};
use crate::client::Client;
use crate::team_file::CaFile;
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
    let known = registries_of(client)?;
    let mut moved = BTreeSet::new();
    let mut tokens = BTreeMap::new();
    let mut staying = std::mem::take(&mut handing_over.left);
    // A second installation finds the registries that the first one has moved.
    staying.retain(|(name, _)| !known.contains(name));
    for moving in std::mem::take(&mut handing_over.registries) {
        let name = moving.request.name.clone();
        let programs = moving.request.programs.clone();
        match take(moving, ask, &moved, &mut tokens, client) {
            Ok(()) => {
                outcome.notes.extend(programs_note(&name, &programs));
                moved.insert(name);
            }
            Err(reason) => staying.push((name, reason?)),
        }
    }
    let has_moved_password = match handing_over.upstream.take() {
        Some((request, roots)) => take_upstream(request, roots.as_ref(), client, outcome),
        None => false,
    };
    if let Err(error) = handing_over.delete_secrets(&account.name, &moved, has_moved_password) {
        outcome.notes.push(format!(
            "the store of {0} still has what was moved ({1}), and every program of {0} can read it: {2}; repeat the command",
            account.name,
            names(&moved, has_moved_password),
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
    let roots = install_roots(moving.roots.as_ref()).map_err(|error| Ok(error.message))?;
    moving.request.ca_file = roots.as_ref().map(InstalledRoots::path);
    let added = client.call::<RegistryAdded>(&Request::AddRegistry(Box::new(moving.request)));
    if let Err(error) = added {
        // A daemon that does not answer may have added it.
        if error.kind == ErrorKind::Unreachable {
            return Err(Err(error));
        }
        roots.into_iter().for_each(InstalledRoots::undo);
        if error.kind != ErrorKind::Exists || !is_held(client, &name, token.as_ref()) {
            return Err(Ok(error.message));
        }
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

/// Makes the user's way to other hosts the guarded daemon's. Returns true if the user's store has its password still. A failure
/// becomes a note, since tokens were moved by then.
fn take_upstream(
    mut request: SetUpstream,
    roots: Option<&CaFile>,
    client: &Client,
    outcome: &mut GuardedOutcome,
) -> bool {
    let url = request.proxy.as_ref().map(|proxy| proxy.expose().to_owned());
    let login = url.as_deref().and_then(proxy_login);
    let has_password = login.is_some_and(|(_, has_password)| has_password);
    let lacks_password = login.is_some() && !has_password;
    let installed = install_roots(roots);
    let set = installed.and_then(|installed| {
        request.ca_file = installed.as_ref().map(InstalledRoots::path);
        let set = client.call::<UpstreamSet>(&Request::SetUpstream(request));
        if set.is_err() {
            installed.into_iter().for_each(InstalledRoots::undo);
        }
        set
    });
    let set = match set {
        Ok(reply) => reply.answer,
        Err(error) => {
            let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            outcome.notes.push(format!(
                "the way to other hosts was not taken over: {}{hint}",
                error.message
            ));
            return false;
        }
    };
    outcome.notes.extend(set.notes);
    if !set.proxy_written {
        return false;
    }
    if let Some(url) = url.filter(|_| lacks_password) {
        outcome.notes.push(format!(
            "the proxy's password was not moved; type it: sudo regauthctl upstream {url}"
        ));
    }
    // The proxy is used from the next start.
    if let Err(error) = command::run(&command::to_words(&["systemctl", "restart", "regauthd.service"])) {
        outcome.notes.push(error.message);
    }
    has_password
}

fn install_roots(roots: Option<&CaFile>) -> Result<Option<InstalledRoots>, ErrorBody> {
    roots
        .map(|roots| InstalledRoots::install(Path::new(ETC), roots))
        .transpose()
}

/// Note about a registry for certain programs: the daemon's user may not look at processes of others.
fn programs_note(name: &RegistryName, programs: &[String]) -> Option<String> {
    (!programs.is_empty()).then(|| {
        format!(
            "{name} refuses all requests: it serves {} only, and a guarded daemon cannot see programs; `sudo regauthctl set \
             {name} programs --unset` lets all programs use it",
            programs.join(", ")
        )
    })
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

fn names(registries: &BTreeSet<RegistryName>, with_password: bool) -> String {
    let password = with_password.then_some("the proxy's password");
    let names: Vec<&str> = registries.iter().map(RegistryName::as_str).chain(password).collect();
    names.join(", ")
}
