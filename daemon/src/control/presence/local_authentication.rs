//! LocalAuthentication of macOS (<https://developer.apple.com/documentation/localauthentication/lacontext>).
//!
//! macOS asks the user of the session for a finger, a watch or the password, in a dialogue of its own with our text. A program
//! of the user cannot answer it. The dialogue needs the screen of the daemon's session: a daemon of launchd's system domain and
//! one that was started over SSH have none, so nobody can be asked there.
//!
//! This file reads macOS' answers and compiles everywhere; [`dialogue`] calls macOS.

#[cfg(target_os = "macos")]
mod dialogue;

#[cfg(target_os = "macos")]
pub(super) use self::dialogue::{can_ask, prepare};

/// Answer of macOS: a yes, or the code of an error.
type Reply = Result<(), isize>;

/// Fault that keeps macOS from asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    /// The daemon's session has no screen.
    #[error("this regauthd does not run in a session with a screen, so macOS shows no question")]
    WithoutScreen,
    /// The user has no password.
    #[error("your account has no password that macOS could ask for")]
    WithoutPassword,
    /// The thread that waits for the answer cannot be started.
    #[cfg(target_os = "macos")]
    #[error("regauthd could not start a thread for the question")]
    Thread,
}

impl Unavailable {
    /// Next step of a person whose own daemon must ask.
    #[cfg(target_os = "macos")]
    pub(super) const NEXT_STEP: &str = "run regauthd as a service of your desktop session (regauthctl service install), or \
        set presence = \"auto\" in config.toml and restart regauthd";
}

/// Meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The person has authenticated.
    Yes,
    /// The person has refused, or failed to authenticate.
    No,
    /// Nobody can be asked in this session.
    Unavailable(Unavailable),
    /// The question ended otherwise.
    Interrupted(isize),
}

/// Only errors of the session itself mean that nobody can be asked. A program could cause the others, for instance by locking
/// the screen, and where nobody can be asked its request may go on.
fn meaning(reply: Reply) -> Meaning {
    match reply {
        Ok(()) => Meaning::Yes,
        Err(AUTHENTICATION_FAILED | USER_CANCEL | USER_FALLBACK | BIOMETRY_LOCKOUT) => Meaning::No,
        Err(PASSCODE_NOT_SET) => Meaning::Unavailable(Unavailable::WithoutPassword),
        Err(NOT_INTERACTIVE) => Meaning::Unavailable(Unavailable::WithoutScreen),
        Err(code) => Meaning::Interrupted(code),
    }
}

/// macOS takes a text of any program.
#[cfg(target_os = "macos")]
pub(super) const SHOWS_ANY_TEXT: bool = true;

// `LAError.h` and `LAPublicDefines.h`.
const AUTHENTICATION_FAILED: isize = -1;
const USER_CANCEL: isize = -2;
const USER_FALLBACK: isize = -3;
const PASSCODE_NOT_SET: isize = -5;
const BIOMETRY_LOCKOUT: isize = -8;
#[cfg(target_os = "macos")]
const APP_CANCEL: isize = -9;
const NOT_INTERACTIVE: isize = -1004;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_is_the_only_yes_and_what_the_person_does_is_a_no() {
        assert_eq!(meaning(Ok(())), Meaning::Yes);
        for code in [-1, -2, -3, -8] {
            assert_eq!(meaning(Err(code)), Meaning::No, "{code}");
        }
        for code in -2000..2000 {
            assert_ne!(meaning(Err(code)), Meaning::Yes, "{code}");
        }
    }

    #[test]
    fn nobody_can_be_asked_without_a_screen_or_a_password_and_in_no_other_case() {
        let unavailable = |code| matches!(meaning(Err(code)), Meaning::Unavailable(_));
        let codes: Vec<isize> = (-2000..2000).filter(|code| unavailable(*code)).collect();
        assert_eq!(codes, [-1004, -5]);
        // The screen was locked, our own withdrawal, an invalidated context, no sensor.
        for code in [-4, -9, -10, -6] {
            assert_eq!(meaning(Err(code)), Meaning::Interrupted(code));
        }
    }
}
