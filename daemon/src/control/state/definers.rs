//! Definers of a guarded daemon's registries: root, or a served user. What a person has confirmed counts as root's.
//!
//! A name that root has defined stays root's, also after its removal. Otherwise a program of a user could remove `corp`, add
//! `corp` for another host, and wait until the person types the real token.

use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::control::controller::Controller;
use crate::control::presence::Presence;
use crate::control::state::State;
use crate::journal::{Definer, Journal};

impl Controller {
    /// Refuses a user's program that adds or removes a registry of root's. `action` is the verb of the sentence.
    ///
    /// # Errors
    /// `refused`, with what to do.
    pub(in crate::control) fn refuse_names_of_root(
        &self,
        state: &State,
        name: &RegistryName,
        presence: Presence,
        action: &str,
    ) -> Result<(), ErrorBody> {
        let is_open = !self.proxy.served.is_guarded() || presence == Presence::Person;
        if is_open || !is_of_root(state, name) {
            return Ok(());
        }
        let message = format!(
            "this regauthd is guarded: it {action} `{name}`, which root has defined, for root only, since a program of yours \
             could ask too"
        );
        Err(ErrorBody::new(ErrorKind::Refused, message).hint("repeat the same command with sudo"))
    }

    /// True if root has defined this name of a guarded daemon.
    ///
    /// # Errors
    /// `unreachable` when the daemon is ending.
    pub(in crate::control) async fn is_name_of_root(&self, name: &RegistryName) -> Result<bool, ErrorBody> {
        Ok(self.proxy.served.is_guarded() && is_of_root(&*self.lock_state().await?, name))
    }

    /// Records in the journal by whom a registry is added, if the daemon is guarded. The caller writes the journal.
    pub(in crate::control) fn record_definer(&self, state: &mut State, name: &RegistryName, presence: Presence) {
        if self.proxy.served.is_guarded() {
            let definer = match presence {
                Presence::Person => Definer::Root,
                Presence::Unknown { .. } => Definer::User,
            };
            state.journal.definers.insert(name.clone(), definer);
        }
    }

    /// Records that root has defined what the configuration in service has and no user has added. Only root can edit it.
    /// Returns true if the caller must write the journal.
    pub(in crate::control) fn record_configured_names(&self, state: &mut State) -> bool {
        self.proxy.served.is_guarded() && record_configured(&mut state.journal, state.registries.keys())
    }

    /// Records that a registry is removed. A name of root's stays. The caller writes the journal.
    pub(in crate::control) fn record_removed_name(&self, state: &mut State, name: &RegistryName) {
        if !self.proxy.served.is_guarded() {
            return;
        }
        let definer = state.journal.definers.entry(name.clone()).or_insert(Definer::Root);
        if *definer == Definer::User {
            state.journal.definers.remove(name);
        }
    }
}

/// A name that differs only in case is the same one to cargo, and to a person who types it.
fn is_of_root(state: &State, name: &RegistryName) -> bool {
    let definers = &state.journal.definers;
    let is_same = |known: &RegistryName| known == name || known.differs_only_in_case(name);
    let was_roots = |(known, definer): (&RegistryName, &Definer)| *definer == Definer::Root && is_same(known);
    // A registry of an older release, or one that a person wrote into the file.
    let is_known = state.registries.contains_key(name) || state.journal.registries.contains_key(name);
    definers.iter().any(was_roots) || (is_known && !definers.contains_key(name))
}

/// Drops users' names that are gone: root may define them next.
fn record_configured<'a>(journal: &mut Journal, names: impl Iterator<Item = &'a RegistryName> + Clone) -> bool {
    let before = journal.definers.clone();
    let is_gone = |name: &RegistryName| !names.clone().any(|present| present == name);
    journal
        .definers
        .retain(|name, definer| *definer == Definer::Root || !is_gone(name));
    for name in names.clone() {
        journal.definers.entry(name.clone()).or_insert(Definer::Root);
    }
    journal.definers != before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::JournalEntry;

    fn name(text: &str) -> RegistryName {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_of_roots_stays_roots_and_a_users_name_is_free_again() {
        let mut state = State::default();
        assert!(!is_of_root(&state, &name("corp")));
        let present = [name("corp"), name("mine")];
        state.journal.definers.insert(name("mine"), Definer::User);
        assert!(record_configured(&mut state.journal, present.iter()));
        assert!(!record_configured(&mut state.journal, present.iter()));
        for (text, expected) in [("corp", true), ("CORP", true), ("mine", false), ("other", false)] {
            assert_eq!(is_of_root(&state, &name(text)), expected, "{text}");
        }
        // Root has removed both from the file.
        assert!(record_configured(&mut state.journal, [].iter()));
        assert!(is_of_root(&state, &name("corp")));
        assert_eq!(state.journal.definers.get(&name("mine")), None);
        assert!(record_configured(&mut state.journal, present.iter()));
        assert!(is_of_root(&state, &name("mine")));
    }

    #[test]
    fn a_registry_without_a_record_is_roots() {
        let mut state = State::default();
        state.journal.registries.insert(name("corp"), JournalEntry::first());
        assert!(is_of_root(&state, &name("corp")));
        state.journal.definers.insert(name("corp"), Definer::User);
        assert!(!is_of_root(&state, &name("corp")));
    }
}
