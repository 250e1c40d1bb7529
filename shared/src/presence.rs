//! Requests that need a person: those that widen where a token goes or what it may do. A program could ask for them, too.
//!
//! [`Request::guarded`] is the one table. The daemon asks for permission by it, and `regauthctl` makes sure that there is
//! somebody to ask.

use crate::request::{AddRegistry, Request};

/// Action of polkit that permits a request. macOS has no actions, and asks about each in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A token goes to more places.
    Widen,
    /// Writes open, or others may use the daemon.
    AllowWrites,
    /// The configuration, the store or the daemon changes.
    Manage,
    /// Any of these, by a daemon of several users.
    Administer,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 4] = [Self::Widen, Self::AllowWrites, Self::Manage, Self::Administer];

    /// Id of the action, as in `packaging/polkit/org.regauth.policy`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Widen => "org.regauth.widen",
            Self::AllowWrites => "org.regauth.allow-writes",
            Self::Manage => "org.regauth.manage",
            Self::Administer => "org.regauth.administer",
        }
    }
}

/// Entry of a request in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Action that permits it.
    pub action: Action,
    /// Effect on the daemon, as the end of a sentence that begins with "it".
    pub does: &'static str,
    /// Daemons that ask.
    pub asks: Asks,
}

/// Daemons that ask for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A guarded daemon and a user's own.
    Both,
    /// Only a guarded daemon: any program of the user can do the same to the user's own daemon by other means.
    GuardedOnly,
    /// As [`Asks::Both`]. Without anybody to ask, the registry's present token permits it as well.
    OrTakesToken,
}

impl Request {
    /// Entry of a guarded request; `None` for an open one, which looks, narrows, or brings a new token.
    pub fn guarded(&self) -> Option<Guarded> {
        match self {
            Self::AddRegistry(request) => addition(request),
            Self::CheckRegistry(request) => request.ca_file.as_ref().map(|_| guarded_only(READS_FILES)),
            Self::AddScope(_) => Some(both(Action::Widen, "sends a token to more URLs")),
            // The token itself is a permission.
            Self::Confirm(_) => Some(Guarded {
                action: Action::Widen,
                does: "takes in what a changed configuration adds",
                asks: Asks::OrTakesToken,
            }),
            Self::SetRegistry(request) => changes_configuration(request.check),
            Self::ReplaceConfiguration(request) => changes_configuration(request.check),
            Self::Reload(request) => changes_configuration(request.check),
            Self::Allow(_) => Some(both(Action::AllowWrites, "opens writes")),
            Self::Grant(_) => Some(both(Action::AllowWrites, "makes grants")),
            Self::SetUpstream(_) => Some(both(Action::Manage, "changes its way to other hosts")),
            // A user's own daemon takes the vault's present passphrase for this.
            Self::Unlock(_) => Some(guarded_only(CHANGES_STORE)),
            Self::StoreMove(_) => Some(both(Action::Manage, CHANGES_STORE)),
            Self::Log(request) => (request.level.as_ref()).map(|_| guarded_only("changes its log")),
            Self::Stop(_) => Some(guarded_only("stops")),
            Self::RemoveRegistry(_)
            | Self::Export(_)
            | Self::List(_)
            | Self::Show(_)
            | Self::Rotate(_)
            | Self::Logout(_)
            | Self::DeviceLogin(_)
            | Self::DeviceLoginPoll(_)
            | Self::Verify(_)
            | Self::Deny(_)
            | Self::Grants(_)
            | Self::Revoke(_)
            | Self::Status(_)
            | Self::Traffic(_)
            | Self::Watch(_)
            | Self::AuditFiles(_)
            | Self::Metrics(_)
            | Self::Store(_)
            | Self::CompareToken(_) => None,
        }
    }

    /// Digest of the changes that the person was shown before the request.
    pub fn reviewed(&self) -> Option<&str> {
        match self {
            Self::SetRegistry(request) => request.reviewed.as_deref(),
            Self::ReplaceConfiguration(request) => request.reviewed.as_deref(),
            Self::Reload(request) => request.reviewed.as_deref(),
            _ => None,
        }
    }

    /// True if the request has the registry's present token, which permits it as a person does.
    pub fn has_proof(&self) -> bool {
        match self {
            Self::AddRegistry(request) => request.proof.is_some(),
            Self::AddScope(request) => request.proof.is_some(),
            Self::Confirm(request) => request.proof.is_some(),
            _ => false,
        }
    }
}

/// An addition with a token of its own needs no person: its sender can use that token without regauth, too. Any other addition
/// can use a token or a file that the sender cannot read.
fn addition(request: &AddRegistry) -> Option<Guarded> {
    if request.credential_of.is_some() {
        return Some(both(Action::Widen, "sends a token to another registry as well"));
    }
    if request.token.is_none() || request.source_command.is_some() {
        return Some(guarded_only(
            "runs programs and reads files or variables of its own for a token",
        ));
    }
    if request.ca_file.is_some() {
        return Some(guarded_only(READS_FILES));
    }
    let opens_writes = request.writes.as_deref().is_some_and(|writes| writes != "deny");
    opens_writes.then_some(Guarded {
        action: Action::AllowWrites,
        ..guarded_only("opens writes")
    })
}

fn changes_configuration(only_checks: bool) -> Option<Guarded> {
    (!only_checks).then_some(both(Action::Manage, "takes in a changed configuration"))
}

fn both(action: Action, does: &'static str) -> Guarded {
    Guarded {
        action,
        does,
        asks: Asks::Both,
    }
}

fn guarded_only(does: &'static str) -> Guarded {
    Guarded {
        action: Action::Manage,
        does,
        asks: Asks::GuardedOnly,
    }
}

const READS_FILES: &str = "reads files and trusts more roots";
const CHANGES_STORE: &str = "opens or changes its store";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(Action, Asks)>) {
        let request = Request::from_line(&format!(r#"{{"v":1,"method":{line}}}"#)).unwrap();
        let found = request.guarded().map(|guarded| (guarded.action, guarded.asks));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn what_widens_needs_the_action_of_its_kind() {
        use Action::{AllowWrites, Manage, Widen};
        use Asks::{Both, GuardedOnly, OrTakesToken};
        let add = r#""add-registry","name":"x","scopes":["https://x.example/"]"#;
        for (line, expected) in [
            (format!(r#"{add},"credential-of":"corp""#), (Widen, Both)),
            (add.to_owned(), (Manage, GuardedOnly)),
            (format!(r#"{add},"source":"file:/x""#), (Manage, GuardedOnly)),
            (
                format!(r#"{add},"token":"t","source-command":{{"command":["x"]}}"#),
                (Manage, GuardedOnly),
            ),
            (format!(r#"{add},"token":"t","ca-file":"/x""#), (Manage, GuardedOnly)),
            (
                format!(r#"{add},"token":"t","writes":"allow""#),
                (AllowWrites, GuardedOnly),
            ),
            (
                r#""check-registry","name":"x","ca-file":"/x""#.to_owned(),
                (Manage, GuardedOnly),
            ),
            (r#""add-scope","name":"x","scopes":[]"#.to_owned(), (Widen, Both)),
            (
                r#""add-scope","name":"x","scopes":[],"proof":"t""#.to_owned(),
                (Widen, Both),
            ),
            (r#""confirm","name":"x","changes":[]"#.to_owned(), (Widen, OrTakesToken)),
            (r#""set-registry","name":"x","values":{}"#.to_owned(), (Manage, Both)),
            (
                r#""replace-configuration","text":"","base":"""#.to_owned(),
                (Manage, Both),
            ),
            (r#""reload""#.to_owned(), (Manage, Both)),
            (r#""allow","name":"x","seconds":1"#.to_owned(), (AllowWrites, Both)),
            (r#""grant","seconds":1"#.to_owned(), (AllowWrites, Both)),
            (r#""set-upstream""#.to_owned(), (Manage, Both)),
            (r#""unlock""#.to_owned(), (Manage, GuardedOnly)),
            (r#""store-move","to":"vault""#.to_owned(), (Manage, Both)),
            (r#""log","level":"trace""#.to_owned(), (Manage, GuardedOnly)),
            (r#""stop""#.to_owned(), (Manage, GuardedOnly)),
        ] {
            check(&line, Some(expected));
        }
    }

    #[test]
    fn what_looks_narrows_or_brings_a_token_is_open() {
        for line in [
            r#""add-registry","name":"x","scopes":["https://x.example/"],"token":"t""#,
            r#""add-registry","name":"x","scopes":["https://x.example/"],"token":"t","writes":"deny""#,
            r#""check-registry","name":"x""#,
            r#""remove-registry","name":"x""#,
            r#""export""#,
            r#""list""#,
            r#""show","name":"x""#,
            r#""rotate","name":"x","token":"t""#,
            r#""logout","name":"x""#,
            r#""device-login","name":"x""#,
            r#""device-login-poll","name":"x""#,
            r#""verify""#,
            r#""deny","name":"x""#,
            r#""grants""#,
            r#""revoke","id":"x""#,
            r#""status""#,
            r#""traffic""#,
            r#""watch""#,
            r#""metrics""#,
            r#""store""#,
            r#""holds","name":"x","token":"t""#,
            r#""log""#,
            r#""set-registry","name":"x","values":{},"check":true"#,
            r#""reload","check":true"#,
            r#""replace-configuration","text":"","base":"","check":true"#,
        ] {
            check(line, None);
        }
    }
}
