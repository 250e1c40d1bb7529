use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::*;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::proxy_rules::ProxyRules;
use crate::proxy::upstream::{Trust, Upstream};

#[test]
fn the_window_grows_with_the_round_trip() {
    for (milliseconds, mebibytes) in [(0, 2.0), (1, 2.0), (30, 3.6), (60, 7.2), (300, 8.0), (100_000, 8.0)] {
        let window = f64::from(stream_window(Duration::from_millis(milliseconds))) / 1_048_576.0;
        assert!((window - mebibytes).abs() < 0.1, "{milliseconds} ms: {window} MiB");
    }
}

#[test]
fn every_connection_has_full_stream_windows_within_one_budget() {
    static BUDGET: Budget = Budget::new();
    let stream = stream_window(Duration::from_millis(60));
    let windows: Vec<Windows> = (0..16).map(|number| BUDGET.take(stream, number == 0)).collect();
    assert!(windows.iter().all(|windows| windows.stream == stream));
    assert!(
        windows
            .iter()
            .all(|windows| windows.connection >= 3 * MAX_STREAM_WINDOW)
    );
    let bytes: u64 = windows.iter().map(|windows| u64::from(windows.connection)).sum();
    assert!(bytes <= BUDGET_BYTES + 16 * u64::from(MIN_CONNECTION_WINDOW), "{bytes}");
    let first = windows.first().unwrap().connection;
    assert_eq!(
        u64::from(first),
        BUDGET_BYTES,
        "the first connection to a registry far away may take the budget"
    );
    static OTHER: Budget = Budget::new();
    let nearby = OTHER.take(MIN_STREAM_WINDOW, true);
    assert_eq!(
        nearby.connection,
        MIN_STREAM_WINDOW * MAX_STREAMS,
        "no stream of the first connection stops another"
    );
    drop(windows);
    assert_eq!(
        BUDGET.taken.load(Ordering::Relaxed),
        0,
        "a closed connection returns its share"
    );
    assert_eq!(BUDGET.take(stream, true).connection, first);
}

/// Server that reports the window of each stream, and answers without a body's end.
async fn serve(listener: TcpListener, tls: TlsAcceptor, windows: mpsc::UnboundedSender<usize>) {
    let tasks = TaskTracker::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, windows) = (tls.clone(), windows.clone());
        tasks.spawn(async move {
            let stream = tls.accept(stream).await.unwrap();
            let mut server = h2::server::Builder::new();
            server.max_send_buffer_size(1 << 30);
            let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
            let mut open = Vec::new();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.reserve_capacity(1 << 30);
                windows.send(body.capacity()).unwrap();
                body.reserve_capacity(0);
                open.push(body);
            }
        });
    }
}

fn self_signed() -> (CertificateDer<'static>, TlsAcceptor) {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = identity.cert.der().clone();
    let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let provider = crate::crypto::provider();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (certificate, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn the_streams_of_later_connections_have_the_window_of_the_first() {
    let (certificate, tls) = self_signed();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let (sender, mut reported) = mpsc::unbounded_channel();
    let tasks = TaskTracker::new();
    tasks.spawn(serve(listener, tls, sender));
    let dialer = Dialer::new(ProxyRules::direct(), Trust::nobody()).unwrap();
    let upstream = Upstream::new(&dialer, Trust::system(&[certificate]), 1).unwrap();
    let mut open = Vec::new();
    // The last one is on a second connection.
    for _ in 0..=MAX_STREAMS {
        let request = Request::get(&uri).body(Either::Right(Full::default())).unwrap();
        open.push(upstream.send(0, request).await.unwrap());
        let window = reported.recv().await.unwrap();
        assert!(
            window >= MIN_STREAM_WINDOW as usize,
            "{window} bytes on stream {}",
            open.len()
        );
    }
}
