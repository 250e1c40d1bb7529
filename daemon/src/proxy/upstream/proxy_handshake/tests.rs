use super::*;

fn target() -> Origin {
    Origin::parse("host.example:443", None).unwrap()
}

/// Outcome of a CONNECT that is answered so, and the bytes left in the stream.
async fn connect_answered(answer: &[u8], authorization: Option<&HeaderValue>) -> (Result<(), ProxyProblem>, String) {
    let (mut ours, mut proxy) = tokio::io::duplex(64 * 1024);
    proxy.write_all(answer).await.unwrap();
    let result = connect(&mut ours, &target(), authorization).await;
    proxy.shutdown().await.unwrap();
    let mut rest = String::new();
    ours.read_to_string(&mut rest).await.unwrap();
    (result, rest)
}

#[tokio::test]
async fn bytes_after_the_reply_stay_in_the_tunnel() {
    let answers = [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200\r\nVia: x\r\n\r\n",
        "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ];
    for answer in answers {
        let (result, rest) = connect_answered(format!("{answer}SSH-2.0-x").as_bytes(), None).await;
        assert_eq!((result, rest.as_str()), (Ok(()), "SSH-2.0-x"), "{answer}");
    }
}

#[tokio::test]
async fn every_refusal_has_its_own_name() {
    let login = HeaderValue::from_static("Basic x");
    for (status, login, problem) in [
        (407, None, ProxyProblem::LoginRequired),
        (407, Some(&login), ProxyProblem::LoginRejected),
        (403, None, ProxyProblem::Refused(ProxyReply::Status(403))),
        (302, None, ProxyProblem::Refused(ProxyReply::Status(302))),
        (503, None, ProxyProblem::HostUnreachable(ProxyReply::Status(503))),
    ] {
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 3\r\n\r\nno.");
        let (result, _) = connect_answered(answer.as_bytes(), login).await;
        assert_eq!(result, Err(problem));
    }
    for answer in [&b"SSH-2.0-x\r\n\r\n"[..], b"", b"HTTP/1.1 200 OK\r\n", &[b'x'; 40_000]] {
        let (mut ours, mut proxy) = tokio::io::duplex(64 * 1024);
        proxy.write_all(answer).await.unwrap();
        proxy.shutdown().await.unwrap();
        assert_eq!(connect(&mut ours, &target(), None).await, Err(ProxyProblem::NotAProxy));
    }
}

/// Outcome of a SOCKS5 handshake that is answered so, the bytes sent, and the bytes left in the stream.
async fn socks5_answered(answer: &[u8], login: Option<&ProxyLogin>) -> (Result<(), ProxyProblem>, Vec<u8>, Vec<u8>) {
    let (mut ours, mut proxy) = tokio::io::duplex(64 * 1024);
    proxy.write_all(answer).await.unwrap();
    let result = socks5(&mut ours, &target(), None, login).await;
    proxy.shutdown().await.unwrap();
    let (mut rest, mut sent) = (Vec::new(), Vec::new());
    ours.read_to_end(&mut rest).await.unwrap();
    drop(ours);
    proxy.read_to_end(&mut sent).await.unwrap();
    (result, sent, rest)
}

#[tokio::test]
async fn socks5_sends_the_name_and_leaves_the_tunnels_bytes() {
    let answer = [&[5, 0, 5, 0, 0, 3, 2][..], b"ab", &[0, 80], b"banner"].concat();
    let (result, sent, rest) = socks5_answered(&answer, None).await;
    assert_eq!((result, rest.as_slice()), (Ok(()), &b"banner"[..]));
    let expected = [&[5, 1, 0, 5, 1, 0, 3, 12][..], b"host.example", &[1, 187]].concat();
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn socks5_logs_in_and_names_every_refusal() {
    let login = ProxyLogin {
        user: "me".to_owned(),
        password: Some("word".to_owned()),
    };
    let answer = [5, 2, 1, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let (result, sent, _) = socks5_answered(&answer, Some(&login)).await;
    assert_eq!(result, Ok(()));
    assert!(sent.starts_with(&[&[5, 2, 0, 2, 1, 2][..], b"me", &[4], b"word"].concat()));
    for (answer, login, problem) in [
        (&[5, 0xff][..], None, ProxyProblem::LoginRequired),
        (&[5, 2], None, ProxyProblem::LoginRequired),
        (&[5, 0xff], Some(&login), ProxyProblem::LoginRejected),
        (&[5, 2, 1, 1], Some(&login), ProxyProblem::LoginRejected),
        (&[5, 0, 5, 2, 0, 1], None, ProxyProblem::Refused(ProxyReply::Socks(2))),
        (
            &[5, 0, 5, 4, 0, 1],
            None,
            ProxyProblem::HostUnreachable(ProxyReply::Socks(4)),
        ),
        (b"HTTP/1.1 400", None, ProxyProblem::NotAProxy),
    ] {
        assert_eq!(socks5_answered(answer, login).await.0, Err(problem));
    }
}
