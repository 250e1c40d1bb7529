//! Sample of every message, with every field set. A sample named `…-least` has none of the optional fields.

mod access;
mod daemon;
mod registry;
mod store;
mod token;
mod traffic;

use std::fmt::Debug;

use regauth_shared::request::ByName;
use regauth_shared::version::{Greeting, Hello};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Check that a test makes on each answer. A trait, since every answer has a type of its own.
pub(crate) trait EachAnswer {
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, answer: T);
}

pub(crate) fn greeting() -> Greeting {
    Greeting {
        hello: Hello {
            versions: vec![1],
            daemon: "0.1.0".to_owned(),
            asks: false,
        },
    }
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let topics = [
        registry::requests(),
        token::requests(),
        access::requests(),
        store::requests(),
        daemon::requests(),
        traffic::requests(),
    ];
    topics.into_iter().flatten().collect()
}

pub(crate) fn answers(each: &mut impl EachAnswer) {
    registry::answers(each);
    token::answers(each);
    access::answers(each);
    store::answers(each);
    daemon::answers(each);
    traffic::answers(each);
}

pub(crate) fn errors() -> Vec<(&'static str, ErrorBody)> {
    let plain = |name, kind, message: &str| (name, ErrorBody::new(kind, message));
    let hinted = |name, kind, message: &str, hint: &str| (name, ErrorBody::new(kind, message).hint(hint));
    use ErrorKind::*;
    vec![
        hinted("invalid", Invalid, "`basic` needs a user name", "add --username"),
        hinted("not-found", NotFound, "there is no registry `corp`", "regauthctl list"),
        plain("exists", Exists, "there is a registry `corp` already"),
        hinted(
            "token-rejected",
            TokenRejected,
            "corp.example answered 401",
            "check the token",
        ),
        plain("not-verified", NotVerified, "corp.example did not answer"),
        hinted(
            "store-locked",
            StoreLocked,
            "the keychain is locked",
            "regauthctl unlock",
        ),
        plain("store-unavailable", StoreUnavailable, "no keychain answers"),
        hinted(
            "presence-needed",
            PresenceNeeded,
            "this change needs the token of `corp` again",
            "nothing was changed",
        ),
        plain("refused", Refused, "a token never travels over plain http"),
        plain(
            "unsupported-version",
            UnsupportedVersion,
            "this daemon speaks version 1",
        ),
        plain("unreachable", Unreachable, "no regauthd is running"),
        plain("failed", Failed, "the disk is full"),
    ]
}

fn by_name() -> ByName {
    ByName { name: name("corp") }
}

fn name(text: &str) -> RegistryName {
    text.parse().unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}
