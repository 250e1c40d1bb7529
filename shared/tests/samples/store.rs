//! Samples of the messages about the store of the tokens.

use regauth_shared::Request;
use regauth_shared::request::{Nothing, StoreMove, Unlock};
use regauth_shared::response::{StoreMoved, StoreMoving, StoreShown, StoreView, Unlocked};

use super::{EachAnswer, secret};

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let store_move = |to: &str, passphrase| {
        Request::StoreMove(StoreMove {
            to: to.to_owned(),
            passphrase,
        })
    };
    let unlock = |passphrase, set_passphrase| {
        Request::Unlock(Unlock {
            passphrase,
            set_passphrase,
        })
    };
    let passphrase = || Some(secret("correct horse battery staple"));
    vec![
        ("store", Request::Store(Nothing {})),
        (
            "store-move",
            store_move("vault", Some(secret("correct horse battery staple"))),
        ),
        ("store-move-least", store_move("keychain", None)),
        ("unlock", unlock(passphrase(), None)),
        ("unlock-least", unlock(None, None)),
        ("unlock-set-passphrase", unlock(None, passphrase())),
        (
            "unlock-change-passphrase",
            unlock(passphrase(), Some(secret("another horse battery staple"))),
        ),
    ]
}

pub(super) fn answers(each: &mut impl EachAnswer) {
    let note = || vec!["the keychain still has copies from a move".to_owned()];
    let moving = StoreMoving {
        to: "vault".to_owned(),
        done: 4,
        of: 9,
    };
    for (form, moving, notes) in [("store", Some(moving), note()), ("store-least", None, vec![])] {
        let store = store("open");
        each.check(form, StoreShown { store, moving, notes });
    }
    let exposed = StoreShown {
        store: StoreView {
            exposure: Some("every program of the daemon's user can read the tokens".to_owned()),
            ..store("open")
        },
        moving: None,
        notes: vec![],
    };
    each.check("store-exposed", exposed);
    for (form, notes) in [("store-move", note()), ("store-move-least", vec![])] {
        let moved = StoreMoved {
            from: "keychain".to_owned(),
            store: store("open"),
            moved: 3,
            notes,
        };
        each.check(form, moved);
    }
    each.check(
        "unlock",
        Unlocked {
            store: store("open"),
            ready: 2,
        },
    );
}

pub(super) fn store(state: &str) -> StoreView {
    StoreView {
        kind: "vault".to_owned(),
        protection: "encrypted under a passphrase".to_owned(),
        exposure: None,
        state: state.to_owned(),
        problem: None,
    }
}
