//! Token requests of container registries: does a request ask a token service for more than reading?
//!
//! A token service hands out the power to push for a GET: `/token?scope=repository:team/app:pull,push`. The client then
//! pushes with the token that it got, without the proxy. The grammar is that of the distribution project ("Token Scope
//! Documentation"), which all registries share.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::path;

/// Does a query or a form ask a token service for anything but reading, in any reading of its escapes?
///
/// A refresh token is more than reading: its holder gets other tokens later.
pub(super) fn asks_for_write(form: &str) -> bool {
    form.split(['&', ';'])
        .filter_map(|parameter| parameter.split_once('='))
        .any(|(name, value)| match Field::of(&decode(name)) {
            Field::Scope => !is_reading_scope(&decode(value)),
            Field::OfflineToken => !matches!(&*decode(value), "" | "0" | "false"),
            Field::AccessType => !matches!(&*decode(value), "" | "online"),
            Field::Other => false,
        })
}

/// Does a query name the scope of a container registry, as only a token request does?
pub(crate) fn names_resource(query: &str) -> bool {
    query
        .split(['&', ';'])
        .filter_map(|parameter| parameter.split_once('='))
        .any(|(name, value)| Field::of(&decode(name)) == Field::Scope && decode(value).split(':').count() > 2)
}

/// Can a token service answer this request? For the check of its answer, so in doubt yes: the request names a scope of a
/// container registry, or a reading of its path is usual for token services.
pub(crate) fn may_ask_for_token(path: &str, query: Option<&str>) -> bool {
    let is_usual = path::readings(path).map_or(true, |readings| {
        let mut spellings = std::iter::once(readings.literal()).chain(readings.lenient());
        spellings.any(is_token_path)
    });
    is_usual || query.is_some_and(names_resource)
}

/// Is a form to this path a request for a token?
pub(crate) fn is_token_form(path: &str, content_type: &[u8]) -> bool {
    let is_usual = path.ends_with("/token") || path.ends_with("/auth");
    is_usual && content_type.eq_ignore_ascii_case(FORM_CONTENT_TYPE)
}

/// Is this a path at which a token service can be, for any server?
fn is_token_path(path: &str) -> bool {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    ["token", "auth"].iter().any(|name| last.eq_ignore_ascii_case(name))
}

/// Is this the form of a token request that asks for reading only (distribution, "Docker Registry v2 authentication using
/// OAuth2")? A form with any other field may be meant for something else.
pub(super) fn is_reading_form(form: &str) -> bool {
    let names: Vec<_> = form
        .split('&')
        .map(|parameter| decode(parameter.split_once('=').map_or(parameter, |(name, _)| name)))
        .collect();
    let repeats = |name: &str| names.iter().filter(|other| *other == name).count() > 1;
    let known = names
        .iter()
        .all(|name| *name == "scope" || (TOKEN_FORM_FIELDS.contains(&&**name) && !repeats(name)));
    known && names.iter().any(|name| *name == "grant_type") && !asks_for_write(form)
}

#[derive(PartialEq)]
enum Field {
    Scope,
    OfflineToken,
    AccessType,
    Other,
}

impl Field {
    /// Some services ignore case, and some frameworks take `scope[]` for another `scope` or cut a name at a zero byte.
    fn of(name: &str) -> Self {
        let name = name.split(['[', '\0']).next().unwrap_or_default().trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("scope") || is("scopes") {
            Self::Scope
        } else if is("offline_token") {
            Self::OfflineToken
        } else if is("access_type") {
            Self::AccessType
        } else {
            Self::Other
        }
    }
}

/// Does a list of scopes, separated by spaces, ask for reading only?
fn is_reading_scope(scopes: &str) -> bool {
    // A service that separates at spaces only would take a tab for a part of an action.
    !scopes.chars().any(char::is_control) && scopes.split(' ').all(is_reading_item)
}

/// Does `type:name:action,…` ask for reading only? Services read a text with more colons in several ways, so only a port
/// may be between the name and the actions.
fn is_reading_item(item: &str) -> bool {
    let parts: Vec<&str> = item.split(':').collect();
    match *parts.as_slice() {
        ["registry", "catalog", _] => true,
        [_, _, ref ports @ .., actions] => {
            ports.iter().all(|text| begins_with_port(text))
                && actions.split(',').all(|action| READ_ACTIONS.contains(&action))
        }
        // A scope of another service, such as OAuth's `read:user`.
        _ => !parts
            .iter()
            .flat_map(|part| part.split(','))
            .any(|word| WRITE_WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))),
    }
}

/// Is this the middle of `localhost:5000/team/app`: a port and a path?
fn begins_with_port(text: &str) -> bool {
    let port = text.split_once('/').map(|(port, _)| port);
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())) && !text.contains(',')
}

/// Decodes a name or value of a form until nothing changes: some servers decode twice.
fn decode(text: &str) -> Cow<'_, str> {
    let mut decoded = decode_once(text);
    for _ in 1..MAX_DECODING_ROUNDS {
        match decode_once(&decoded) {
            Cow::Borrowed(_) => break,
            Cow::Owned(again) => decoded = Cow::Owned(again),
        }
    }
    decoded
}

fn decode_once(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

pub(super) const FORM_CONTENT_TYPE: &[u8] = b"application/x-www-form-urlencoded";
const MAX_DECODING_ROUNDS: usize = 5;
/// Actions that change nothing; `metadata_read` is Azure's. A scope may ask for no action.
const READ_ACTIONS: [&str; 3] = ["pull", "metadata_read", ""];
const WRITE_WORDS: [&str; 4] = ["push", "delete", "write", "*"];
const TOKEN_FORM_FIELDS: [&str; 8] = [
    "grant_type",
    "service",
    "client_id",
    "access_type",
    "username",
    "password",
    "refresh_token",
    "account",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_delete_and_everything_are_writes_in_every_spelling() {
        for query in [
            "service=corp&scope=repository:team/app:pull,push",
            "scope=repository%3Ateam%2Fapp%3Apull%2Cpush",
            "scope=repository:team/app:push",
            "scope=repository:team/app:delete",
            "scope=repository:team/app:*",
            "scope=repository:team/app:%2A",
            "scope=repository:a:pull&scope=repository:b:push",
            "scope=repository:a:pull+repository:b:push",
            "scope=repository:a:pull%20repository:b:push,pull",
            "scope=repository%253Ax%253Apush",
            "%73cope=repository:x:push",
            "SCOPE=repository:x:push",
            "scope[]=repository:x:push",
            "scope%5B%5D=repository:x:push",
            "a;scope=repository:x:push",
            "scope%00=repository:x:push",
            "+scope=repository:x:push",
            "scope=repository(plugin):x:push",
            "scope=repository:localhost:5000/x:push",
            "scope=repository:x:push:pull",
            "scope=repository:x:push,y:pull",
            "scope=repository:x:PUSH",
            "scope=repository:x:pull,%09push",
            "scope=repository:x:pull,+push",
            "scope=repository:x:pull+push",
            "scope=registry:import:*",
            "scope=push",
            "scope=*",
            "offline_token=true&service=corp",
            "offline_token=1&scope=repository:x:pull",
            "access_type=offline",
        ] {
            assert!(asks_for_write(query), "{query}");
        }
    }

    #[test]
    fn pull_and_the_catalogue_are_reads() {
        for query in [
            "",
            "service=corp",
            "service=corp&scope=repository:team/app:pull",
            "scope=repository%3Ateam%2Fapp%3Apull",
            "account=me&scope=repository:a:pull&scope=repository:b:pull",
            "scope=repository:a:pull+repository:b:pull",
            "scope=repository:localhost:5000/x:pull",
            "scope=repository:push/delete:pull",
            "scope=repository:x:pull,metadata_read",
            "scope=registry:catalog:*",
            "scope=registry%3Acatalog%3A%2A",
            "scope=",
            "scope=read:user",
            "scope=@team",
            "scope=all&action=push",
            "offline_token=false",
            "q=repository:x:push",
            "horoscope=repository:x:push",
        ] {
            assert!(!asks_for_write(query), "{query}");
        }
    }

    #[test]
    fn a_token_form_has_known_fields_only() {
        for form in [
            "grant_type=password&service=corp&client_id=c&username=u&password=p&scope=repository:x:pull",
            "grant_type=refresh_token&refresh_token=r&scope=repository:x:pull&scope=repository:y:pull",
        ] {
            assert!(is_reading_form(form), "{form}");
        }
        for form in [
            "",
            "scope=repository:x:pull",
            "grant_type=password&scope=repository:x:pull,push",
            "grant_type=password&scope=repository%3Ax%3Apush",
            "grant_type=password&scope=repository:x:pull&access_type=offline",
            "grant_type=password&grant_type=refresh_token",
            "grant_type=password&name=new-project",
            "grant_type=password&_method=delete",
        ] {
            assert!(!is_reading_form(form), "{form}");
        }
    }

    #[test]
    fn an_answer_that_may_hold_a_token_is_recognised_in_every_spelling_of_its_request() {
        for (path, query, is_request) in [
            ("/token", Some("service=corp"), true),
            ("/jwt/auth", Some("account=me&service=container_registry"), true),
            ("/", Some("scope=repository%3Ax%3Apull"), true),
            ("/token", None, true),
            ("/Token/", Some("page=2"), true),
            ("/%74oken", Some("%73ervice=corp"), true),
            ("/tokens", Some("service=corp"), false),
            ("/r.git/info/refs", Some("service=git-upload-pack"), false),
        ] {
            assert_eq!(may_ask_for_token(path, query), is_request, "{path} {query:?}");
        }
    }

    proptest::proptest! {
        /// However a scope with `push` is escaped and whatever is around it, it is a write.
        #[test]
        fn an_escaped_push_is_a_write(
            escaped in proptest::collection::vec(proptest::bool::ANY, 40),
            before in "(service=[a-z]{0,5}&|account=[a-z]{0,3};|scope=repository:a:pull&){0,3}",
            actions in "(pull,)?(push|delete|\\*)(,pull)?",
        ) {
            let plain = format!("repository:team/app:{actions}");
            let spelled: String = plain
                .bytes()
                .zip(escaped)
                .map(|(byte, escape)| if escape { format!("%{byte:02x}") } else { char::from(byte).to_string() })
                .collect();
            let query = format!("{before}scope={spelled}");
            proptest::prop_assert!(asks_for_write(&query), "{}", query);
        }
    }
}
