//! What a CONNECT, an SNI, a Host or a scope names: one host has one form, and whoever else reads it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use regauthd::host::{Host, Origin};

fuzz_target!(|text: &str| {
    if let Ok(host) = text.parse::<Host>() {
        let form = host.to_string();
        assert_eq!(form.parse::<Host>().as_ref(), Ok(&host), "{text:?}");
        let url = url::Url::parse(&format!("https://{form}/a")).unwrap();
        let read = url.host_str().map(str::parse::<Host>);
        assert_eq!(read, Some(Ok(host.clone())), "{text:?}");
        assert_eq!((url.path(), url.username(), url.port()), ("/a", "", None), "{text:?}");
        if let Host::Name(name) = &host {
            assert!(name.parse::<std::net::IpAddr>().is_err(), "{text:?}");
        }
    }
    for default in [None, Some(443)] {
        if let Ok(origin) = Origin::parse(text, default) {
            let form = origin.to_string();
            assert_eq!(Origin::parse(&form, None).as_ref(), Ok(&origin), "{text:?}");
            // What dials takes the URL apart once more.
            let uri: http::Uri = format!("https://{form}/").parse().unwrap();
            assert_eq!(
                uri.host().unwrap().parse::<Host>().as_ref(),
                Ok(&origin.host),
                "{text:?}"
            );
            assert_eq!(uri.port_u16(), Some(origin.port), "{text:?}");
        }
    }
});
