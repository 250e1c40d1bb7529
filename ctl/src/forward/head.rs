//! Request heads: adds the grant's header. Pure.

/// Head of the request at the start of `received`, with the grant's header, and the length of the original.
///
/// An absolute-form request also gets `Connection: close`. Each further request of its connection would need the header too.
///
/// # Errors
/// The head is malformed. `Ok(None)`: it is not complete yet.
pub(super) fn with_grant(received: &[u8], authorization: &str) -> Result<Option<Head>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(received)? else {
        return Ok(None);
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(httparse::Error::Token);
    };
    let is_connect = method == "CONNECT";
    let version = request.version.unwrap_or_default();
    let mut text = format!("{method} {target} HTTP/1.{version}\r\n").into_bytes();
    let replaced: &[&str] = if is_connect { &REPLACED[..1] } else { &REPLACED };
    for header in request.headers.iter() {
        if !replaced.iter().any(|name| header.name.eq_ignore_ascii_case(name)) {
            text.extend([header.name.as_bytes(), b": ", header.value, b"\r\n"].concat());
        }
    }
    text.extend(format!("Proxy-Authorization: {authorization}\r\n").into_bytes());
    text.extend(if is_connect {
        &b"\r\n"[..]
    } else {
        b"Connection: close\r\n\r\n"
    });
    Ok(Some(Head {
        text,
        length,
        is_connect,
    }))
}

/// Rewritten head. It holds the grant, so it has no `Debug`.
pub(super) struct Head {
    /// The bytes to send.
    pub(super) text: Vec<u8>,
    /// Length of the received head.
    pub(super) length: usize,
    /// True for CONNECT.
    pub(super) is_connect: bool,
}

const MAX_HEADERS: usize = 128;
/// For CONNECT, only the first: the others do not concern a tunnel.
const REPLACED: [&str; 4] = ["proxy-authorization", "connection", "proxy-connection", "keep-alive"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(received: &str, sent: &str) {
        let head = with_grant(received.as_bytes(), "Basic x").unwrap().unwrap();
        assert_eq!(String::from_utf8(head.text).unwrap(), sent);
        assert_eq!(&received[head.length..], "rest");
    }

    #[test]
    fn adds_the_grant_in_place_of_the_clients_own_header() {
        check(
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nproxy-authorization: Basic y\r\nConnection: keep-alive\r\n\r\nrest",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: keep-alive\r\nProxy-Authorization: Basic x\r\n\r\n",
        );
    }

    #[test]
    fn an_absolute_form_request_is_the_only_one_of_its_connection() {
        check(
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nproxy-connection: keep-alive\r\n\r\nrest",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic x\r\nConnection: close\r\n\r\n",
        );
    }

    #[test]
    fn waits_for_the_whole_head_and_refuses_a_malformed_one() {
        assert!(with_grant(b"CONNECT a:443 HTTP/1.1\r\nHost:", "x").unwrap().is_none());
        assert!(with_grant(b"\x16\x03\x01\x02\x00\x01\x00", "x").is_err());
    }
}
