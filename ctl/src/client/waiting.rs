//! Signs of life while an answer is waited for, and the agent that lets polkit ask in a terminal. macOS asks on the screen only.

use regauth_shared::Request;

use crate::output::print_to_stderr;
use crate::progress::Progress;
use crate::text_agent::TextAgent;

/// State of the terminal from before a request until its answer. Dropping it restores the terminal.
pub(super) enum Waiting {
    /// The spinner has the terminal.
    Spinner { _spinner: Progress },
    /// The agent of polkit has the terminal.
    Agent { _agent: TextAgent },
}

impl Waiting {
    /// Starts before a request that polkit or macOS asks about. At a terminal, says so and brings an agent that can ask there.
    pub(super) fn for_confirmation(is_at_terminal: bool) -> Self {
        match is_at_terminal.then(TextAgent::start).flatten() {
            Some(agent) => {
                print_to_stderr(&format!("{CONFIRMATION}\n"));
                Self::Agent { _agent: agent }
            }
            None => Self::spinner(CONFIRMATION),
        }
    }

    /// Starts before a request that polkit or macOS asks about only sometimes: the daemon knows when.
    pub(super) fn for_answer_or_confirmation(request: &Request, is_at_terminal: bool) -> Self {
        match is_at_terminal.then(TextAgent::start).flatten() {
            Some(agent) => Self::Agent { _agent: agent },
            None => Self::for_answer(request),
        }
    }

    /// Starts before any other request.
    pub(super) fn for_answer(request: &Request) -> Self {
        Self::spinner(waited_for(request))
    }

    fn spinner(text: &'static str) -> Self {
        Self::Spinner {
            _spinner: Progress::start(text),
        }
    }
}

/// Progress line for a request: the registry, the store or the daemon that it may wait for.
fn waited_for(request: &Request) -> &'static str {
    match request {
        Request::AddRegistry(_)
        | Request::CheckRegistry(_)
        | Request::SetRegistry(_)
        | Request::ReplaceConfiguration(_)
        | Request::Rotate(_)
        | Request::Verify(_)
        | Request::DeviceLogin(_)
        | Request::DeviceLoginPoll(_) => "waiting for the registry",
        Request::Unlock(_) | Request::Store(_) | Request::StoreMove(_) | Request::Logout(_) => "waiting for the store",
        _ => "waiting for regauthd",
    }
}

const CONFIRMATION: &str = if cfg!(target_os = "macos") {
    "waiting for your confirmation (the dialogue on this Mac's screen)"
} else {
    "waiting for your confirmation (polkit)"
};
