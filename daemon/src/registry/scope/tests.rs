use super::*;

#[test]
fn scopes_cover_whole_segments() {
    let scope: Scope = "https://corp.example/cargo".parse().unwrap();
    for (path, covered) in [
        ("/cargo", true),
        ("/cargo/", true),
        ("/cargo/a/b", true),
        ("/cargo-evil", false),
        ("/cargo.evil/x", false),
        ("/", false),
        ("/Cargo/x", false),
    ] {
        assert_eq!(scope.covers_path(path), covered, "{path}");
        assert_eq!(scope.covers_lenient(path), covered, "{path}");
        let in_any_case = covered || path == "/Cargo/x";
        assert_eq!(scope.covers_in_any_case(path), in_any_case, "{path}");
    }
}

#[test]
fn an_encoded_slash_is_part_of_a_segment() {
    let scope: Scope = "https://corp.example/p/team%2Fapp/".parse().unwrap();
    for (path, literal, lenient) in [
        ("/p/team%2Fapp/x", true, false),
        ("/p/team/app/x", false, true),
        ("/p/team%2Fapps", false, false),
        ("/p/team/apps", false, false),
    ] {
        assert_eq!(scope.covers_path(path), literal, "{path}");
        assert_eq!(scope.covers_lenient(path), lenient, "{path}");
    }
}

#[test]
fn equal_scopes_have_one_form() {
    for (text, form) in [
        ("https://Corp.Example", "https://corp.example/"),
        ("https://corp.example:443/a", "https://corp.example/a/"),
        ("https://corp.example:8443/a/", "https://corp.example:8443/a/"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
        ("https://[::1]/x", "https://[::1]/x/"),
        (
            "https://corp.example/My%20Project/",
            "https://corp.example/My%20Project/",
        ),
        ("https://corp.example/My Project/", "https://corp.example/My%20Project/"),
        (
            "https://corp.example/feed%40Release/",
            "https://corp.example/feed@Release/",
        ),
        ("https://corp.example/%7eme/%2Bf/", "https://corp.example/~me/+f/"),
        ("https://corp.example/caf%C3%A9/", "https://corp.example/caf%C3%A9/"),
        (
            "https://corp.example/p/team%2fapp",
            "https://corp.example/p/team%2Fapp/",
        ),
    ] {
        assert_eq!(text.parse::<Scope>().unwrap().to_string(), form, "{text}");
    }
}

#[test]
fn refuses_unsafe_and_ambiguous_scopes() {
    for (text, error) in [
        ("http://corp.example/", InvalidScope::PlainHttp),
        ("https://me:pw@corp.example/", InvalidScope::UserInformation),
        ("https://corp.example/?a", InvalidScope::QueryOrFragment),
        ("ssh://git@corp.example/x", InvalidScope::NotHttp),
        ("corp.example", InvalidScope::NotAUrl),
        ("https://corp.example/a/../b/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a//b/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a%2f/", InvalidScope::AmbiguousPath),
        ("https://corp.example/%2fa/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a%2f%2e%2e/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a%2f..%2fb/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a%5cb/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a%252fb/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a%3bb/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a%3fb/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a;b/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a.%20/", InvalidScope::AmbiguousPath),
        ("https://corp.example/a./", InvalidScope::AmbiguousPath),
        ("https://corp.example/%zz/", InvalidScope::AmbiguousPath),
        ("https://corp.example/\u{ff0e}\u{ff0e}/", InvalidScope::AmbiguousPath),
    ] {
        assert_eq!(text.parse::<Scope>(), Err(error), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn a_printed_scope_reads_back_and_covers_whole_segments(
        text in "https?://[a-zA-Z0-9.@:\\[\\]-]{1,16}(/[a-z.%/;?#-]{0,12}){0,2}",
        more in "[a-z.%/;-]{0,8}",
    ) {
        if let Ok(scope) = text.parse::<Scope>() {
            proptest::prop_assert_eq!(scope.to_string().parse(), Ok(scope.clone()));
            proptest::prop_assert!(!scope.plain || scope.origin.host.is_loopback());
            let bare = scope.path().trim_end_matches('/');
            let covered = scope.covers_path(&format!("{bare}{more}"));
            proptest::prop_assert_eq!(covered, more.is_empty() || more.starts_with('/'));
            let bare = scope.lenient_path().trim_end_matches('/');
            let covered = scope.covers_lenient(&format!("{bare}{more}"));
            proptest::prop_assert_eq!(covered, more.is_empty() || more.starts_with('/'));
        }
    }
}
