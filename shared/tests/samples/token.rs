//! Samples of the messages about tokens: rotated, deleted, verified.

use regauth_shared::Request;
use regauth_shared::request::{CompareToken, Rotate, Verify};
use regauth_shared::response::{
    DeviceLogin, DeviceLoginState, LoggedOut, Rotated, TokenComparison, Verdict, VerdictResult, Verified,
};

use super::{EachAnswer, by_name, name, secret};

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    vec![
        ("rotate", rotate("corp", Some("s3cret-token"))),
        ("rotate-least", rotate("minted", None)),
        ("logout", Request::Logout(by_name())),
        ("device-login", Request::DeviceLogin(by_name())),
        ("device-login-poll", Request::DeviceLoginPoll(by_name())),
        (
            "verify",
            Request::Verify(Verify {
                name: Some(name("corp")),
            }),
        ),
        ("verify-least", Request::Verify(Verify { name: None })),
        (
            "holds",
            Request::CompareToken(CompareToken {
                name: name("corp"),
                token: secret("s3cret-token"),
            }),
        ),
    ]
}

pub(super) fn answers(each: &mut impl EachAnswer) {
    each.check("rotate", rotated("corp", 4, vec![]));
    let note = "the token comes from command:mint-token, which was asked again";
    each.check("rotate-minted", rotated("minted", 8, vec![note.to_owned()]));
    each.check(
        "device-login",
        device_login(Some("https://login.example/device?user_code=WDJB-MJHT".to_owned())),
    );
    each.check("device-login-least", device_login(None));
    for (form, interval, rotated) in [
        ("device-login-poll", None, Some(rotated("corp", 4, vec![]))),
        ("device-login-poll-pending", Some(5), None),
    ] {
        let name = name("corp");
        each.check(
            form,
            DeviceLoginState {
                name,
                interval,
                rotated,
            },
        );
    }
    for (form, notes) in [
        ("logout", vec!["api used the same token, and has none now".to_owned()]),
        ("logout-least", vec![]),
    ] {
        let name = name("corp");
        each.check(form, LoggedOut { name, notes });
    }
    each.check("verify", Verified { registries: verdicts() });
    for (form, same) in [("holds", Some(true)), ("holds-least", None)] {
        let name = name("corp");
        each.check(form, TokenComparison { name, same });
    }
}

fn rotate(registry: &str, token: Option<&str>) -> Request {
    Request::Rotate(Rotate {
        name: name(registry),
        token: token.map(secret),
        verify: true,
    })
}

fn device_login(complete_url: Option<String>) -> DeviceLogin {
    DeviceLogin {
        name: name("corp"),
        user_code: "WDJB-MJHT".to_owned(),
        verification_url: "https://login.example/device".to_owned(),
        complete_url,
        expires_in: 900,
        interval: 5,
    }
}

fn rotated(registry: &str, generation: u64, notes: Vec<String>) -> Rotated {
    Rotated {
        name: name(registry),
        generation,
        verified: true,
        public: false,
        notes,
    }
}

fn verdicts() -> Vec<Verdict> {
    [
        ("corp", VerdictResult::Accepted, "corp.example answered 200"),
        ("old", VerdictResult::Rejected, "old.example answered 401"),
        ("slow", VerdictResult::Unclear, "slow.example did not answer in 10 s"),
        (
            "open",
            VerdictResult::Public,
            "open.example answers 200 without the token, too",
        ),
        (
            "forge",
            VerdictResult::Inconclusive,
            "forge.example answers 302 with the token and without",
        ),
        ("wheels", VerdictResult::NoToken, "the keychain is locked"),
    ]
    .map(|(registry, result, detail)| Verdict {
        name: name(registry),
        result,
        detail: detail.to_owned(),
        cause: None,
        hint: None,
    })
    .to_vec()
}
