//! Guarded service: a daemon with a system user of its own, which serves certain users of this machine.
//!
//! [`Guarding::plan`] checks everything before the first change. [`Guarding::carry_out`] stops the users' own daemons,
//! installs the service on the same port, and moves registries and tokens ([`take_over`]). If the service does not start,
//! the users' daemons start again.

mod account;
mod child;
mod hand_over;
mod outcome;
mod own_daemon;
mod programs;
mod proposal;
mod roots;
mod take_over;

use std::collections::BTreeSet;
use std::fs;

use regauth_shared::request::Nothing;
use regauth_shared::response::RegistryList;
use regauth_shared::{ErrorBody, RegistryName, Request};

use self::account::Account;
use self::hand_over::HandingOver;
pub(crate) use self::outcome::GuardedOutcome;
use self::own_daemon::{OwnDaemon, common_address};
use self::programs::Programs;
pub(crate) use self::proposal::Proposal;
use super::plan::ServicePlan;
use super::state::Installation;
use super::{systemd, systemd_units};
use crate::client::Client;
use crate::program::on_path;
use crate::{connect, error};

/// Installation of the guarded service, checked and ready.
pub(crate) struct Guarding {
    accounts: Vec<Account>,
    /// Users that the installed service serves already and keeps serving.
    present: Vec<u32>,
    plan: ServicePlan,
    programs: Programs,
    /// The users' own daemons.
    own: Vec<OwnDaemon>,
    /// Registries and tokens of the users, in the order of the accounts.
    handovers: Vec<HandingOver>,
    /// True if a person gives each token again.
    asks: bool,
}

impl Guarding {
    /// Checks users, programs, service manager and port. Changes nothing.
    ///
    /// # Errors
    /// `refused` or `failed`, with what to do; `not-found` for a user.
    pub(crate) fn plan(users: &[String]) -> Result<Self, ErrorBody> {
        require_linux(std::env::consts::OS)?;
        require_root(users)?;
        let accounts: Vec<Account> = users.iter().map(|name| Account::find(name)).collect::<Result<_, _>>()?;
        let programs = Programs::find()?;
        require_credentials()?;
        let state = Installation::System.state()?;
        let present = guarded_users();
        let is_installed = state
            .units
            .iter()
            .any(|unit| unit.enabled == "enabled" || unit.active == "active");
        if present.is_empty() && is_installed {
            return Err(
                error::refused("this machine has the daemon of `service install --system`").hint(
                    "one machine has one of the two; remove it first: sudo regauthctl service uninstall --system",
                ),
            );
        }
        let new = accounts.iter().filter(|account| !present.contains(&account.uid));
        let own: Vec<OwnDaemon> = new
            .map(|account| OwnDaemon::find(account, &programs))
            .collect::<Result<_, _>>()?;
        let installed = state.listen_addresses.first().filter(|_| !present.is_empty());
        let listen = installed.map_or_else(|| common_address(&own), |address| Ok(*address))?;
        if present.is_empty() && !own.iter().any(|own| own.is_service) {
            Installation::System.refuse_occupied_port(&[listen])?;
        }
        let ids: BTreeSet<u32> = present
            .iter()
            .copied()
            .chain(accounts.iter().map(|account| account.uid))
            .collect();
        let files = systemd_units::guarded_files(&programs.regauthd, &ids, listen);
        let plan = systemd::plan_guarded_install(files, &programs.regauthd)?;
        Ok(Self {
            accounts,
            present,
            plan,
            programs,
            own,
            handovers: Vec::new(),
            asks: false,
        })
    }

    /// Reads what the users have, for a person to agree to. With `ask`, a person gives each token again. Nothing that a
    /// program changes after this is moved.
    ///
    /// # Errors
    /// A user's registries cannot be read.
    pub(crate) fn read_registries(&mut self, ask: bool) -> Result<Proposal, ErrorBody> {
        self.asks = ask;
        for account in &self.accounts {
            let handing_over = HandingOver::start(account, &self.programs.regauthd, !ask)?;
            self.handovers.push(handing_over);
        }
        // A second installation finds the registries that the first one has moved.
        let installed = connect::guarded_daemon().and_then(|client| registries_of(&client).ok());
        let known = installed.unwrap_or_default();
        let mut proposal = Proposal::default();
        for (account, handing_over) in self.accounts.iter().zip(&self.handovers) {
            proposal.add(&account.name, handing_over, &known);
        }
        Ok(proposal)
    }

    /// Reports the plan without carrying it out.
    pub(crate) fn outcome(self, proposal: Proposal) -> GuardedOutcome {
        GuardedOutcome::new(&self.accounts, self.plan.outcome().steps, proposal)
    }

    /// Installs the service and moves the registries that were read. `proposal` is what a person has agreed to.
    ///
    /// # Errors
    /// A step failed. The users' own daemons run again, and a new installation is undone.
    pub(crate) fn carry_out(self, proposal: Proposal) -> Result<GuardedOutcome, ErrorBody> {
        let Self {
            accounts,
            present,
            plan,
            programs,
            own,
            handovers,
            asks,
        } = self;
        let has_service = |account: &&Account| own.iter().any(|own| own.user == account.uid && own.is_service);
        let stop = || {
            accounts
                .iter()
                .filter(has_service)
                .try_for_each(|account| account.run(&programs.regauthctl, &["service", "uninstall"]))
        };
        let started = stop()
            .and_then(|()| plan.carry_out())
            .and_then(|steps| Ok((steps, guarded_client()?)));
        let (steps, client) = match started {
            Ok(started) => started,
            Err(error) => {
                return Err(undo(
                    &reason(error),
                    accounts.iter().filter(has_service),
                    &programs,
                    present.is_empty(),
                ));
            }
        };
        let mut outcome = GuardedOutcome::new(&accounts, steps.steps, proposal);
        for (account, handing_over) in accounts.iter().zip(handovers) {
            let bundle = own
                .iter()
                .find(|own| own.user == account.uid)
                .and_then(|own| own.bundle.clone());
            take_over::link_bundle(account, bundle, &mut outcome);
            take_over::take_over(account, handing_over, asks, &client, &mut outcome)?;
            note_copies(account, &mut outcome);
        }
        Ok(outcome)
    }
}

fn require_root(users: &[String]) -> Result<(), ErrorBody> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(error::refused("only root can install a guarded daemon")
        .hint(format!("sudo regauthctl service install --for {}", users.join(","))))
}

/// Refuses other systems. A guarded daemon serves its users by the kernel's word for the owner of a connection, and only
/// Linux has a documented way to ask for it.
fn require_linux(system: &str) -> Result<(), ErrorBody> {
    if system == "linux" {
        return Ok(());
    }
    Err(error::refused(
        "a guarded daemon is for Linux: here regauthd has no safe way to learn which user a connection belongs to",
    )
    .hint(
        "nothing was changed; `regauthctl service install` runs your own daemon, and presence = \"always\" in its config.toml \
         has you confirm what widens; or, for bearers of grants: sudo regauthctl service install --system",
    ))
}

fn require_credentials() -> Result<(), ErrorBody> {
    let missing = ["systemctl", "systemd-creds", "systemd-sysusers", "setpriv"].map(|name| (name, on_path(name)));
    match missing.iter().find(|(_, path)| path.is_none()) {
        None => Ok(()),
        Some((name, _)) => Err(error::failed(format!(
            "a guarded daemon needs {name}, which is not here: its vault's key is kept by systemd (250 or newer)"
        ))
        .hint("nothing was changed; `regauthctl service install` runs a daemon of your own instead")),
    }
}

/// Users that the installed guarded service serves; empty if there is none.
fn guarded_users() -> Vec<u32> {
    let text = fs::read_to_string(systemd_units::GUARDED_SERVICE).unwrap_or_default();
    let option = text.split_once("--guarded-for ").map(|(_, rest)| rest);
    let list = option
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_default();
    list.split(',').filter_map(|id| id.parse().ok()).collect()
}

/// True if the guarded service is installed on this machine.
pub(crate) fn is_installed() -> bool {
    !guarded_users().is_empty()
}

/// Client of the daemon that was just installed.
fn guarded_client() -> Result<Client, ErrorBody> {
    connect::guarded_daemon()
        .ok_or_else(|| error::failed("systemd has started no guarded regauthd"))
        .and_then(|client| client.ping().map(|()| client))
}

/// Registries that a daemon serves.
fn registries_of(client: &Client) -> Result<BTreeSet<RegistryName>, ErrorBody> {
    let list: RegistryList = client.call(&Request::List(Nothing {}))?.answer;
    Ok(list.registries.into_iter().map(|view| view.name).collect())
}

/// systemctl refers to the journal for the reason why the daemon does not start. Quotes it.
fn reason(error: ErrorBody) -> String {
    let logged = systemd::last_error(Installation::System).filter(|_| error.message.contains("journalctl"));
    logged.unwrap_or(error.message)
}

/// Starts the users' own daemons again, and removes a service that was not there before.
fn undo<'a>(reason: &str, own: impl Iterator<Item = &'a Account>, programs: &Programs, is_new: bool) -> ErrorBody {
    let mut failures = Vec::new();
    if is_new {
        let removed = systemd::plan_uninstall(Installation::System).and_then(ServicePlan::carry_out);
        failures.extend(removed.err().map(|error| error.message));
    }
    for account in own {
        let restored = account.run(&programs.regauthctl, &["service", "install"]);
        failures.extend(restored.err().map(|error| error.message));
    }
    let hint = match failures.is_empty() {
        true => "everything is as it was; correct the cause and repeat".to_owned(),
        false => format!("not everything is as it was: {}", failures.join("; ")),
    };
    error::failed(format!("the guarded daemon was not installed: {reason}")).hint(hint)
}

/// Notes copies of files with tokens that `import` keeps for `--undo`. Programs of the user can read them.
fn note_copies(account: &Account, outcome: &mut GuardedOutcome) {
    let copies = account.in_home(".local/state/regauth/import");
    if copies.exists() {
        outcome.notes.push(format!(
            "{} has copies of imported tokens in {}, which every program of {0} can read; as {0}, delete them: regauthctl \
             import --forget-backup",
            account.name,
            copies.display()
        ));
    }
}

/// User that the guarded daemon runs as.
const USER: &str = "regauth";
/// Folder of certificates that registries name.
const ETC: &str = "/etc/regauth";
/// Bundle for clients; the one for Java is beside it.
const BUNDLE: &str = "/var/cache/regauth/ca-bundle.pem";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_refused_where_the_kernel_does_not_name_the_owner_of_a_connection() {
        require_linux("linux").unwrap();
        let refused = require_linux("macos").unwrap_err();
        assert_eq!(refused.kind, regauth_shared::ErrorKind::Refused);
        let hint = refused.hint.unwrap();
        assert!(
            hint.contains("nothing was changed") && hint.contains("service install --system"),
            "{hint}"
        );
    }
}
