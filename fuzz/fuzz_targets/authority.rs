//! Host and authority parsing (CONNECT, SNI, Host, scopes): a host has one canonical form, and URL parsers agree with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use regauthd::host::{Host, Origin};

fuzz_target!(|text: &str| {
    if let Ok(host) = text.parse::<Host>() {
        let canonical = host.to_string();
        assert_eq!(canonical.parse::<Host>().as_ref(), Ok(&host), "{text:?}");
        let url = url::Url::parse(&format!("https://{canonical}/a")).unwrap();
        let parsed = url.host_str().map(str::parse::<Host>);
        assert_eq!(parsed, Some(Ok(host.clone())), "{text:?}");
        assert_eq!((url.path(), url.username(), url.port()), ("/a", "", None), "{text:?}");
        if let Host::Name(name) = &host {
            assert!(name.parse::<std::net::IpAddr>().is_err(), "{text:?}");
        }
    }
    for default in [None, Some(443)] {
        if let Ok(origin) = Origin::parse(text, default) {
            let canonical = origin.to_string();
            assert_eq!(Origin::parse(&canonical, None).as_ref(), Ok(&origin), "{text:?}");
            // The connector parses the URL again.
            let uri: http::Uri = format!("https://{canonical}/").parse().unwrap();
            assert_eq!(
                uri.host().unwrap().parse::<Host>().as_ref(),
                Ok(&origin.host),
                "{text:?}"
            );
            assert_eq!(uri.port_u16(), Some(origin.port), "{text:?}");
        }
    }
});
