//! Denial of service: slow clients, many clients and floods of frames do not affect other clients.

mod floods;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::mock_server::{MockServer, RecordedRequest};
use regauth_tests::proxy_client::{ProxyClient, TlsTunnel, block_on};
use regauth_tests::{exec, http2_frames, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

const TOKEN: &str = "t0ken-of-the-company";

/// Two crowds at a time would slow each other's measurements.
static ONE_CROWD: Mutex<()> = Mutex::new(());

const MAX_MEASUREMENTS: usize = 10;
const THIRD: usize = 334;
/// Limit of concurrent streams on one connection.
const STREAMS: u32 = 256;

/// Daemon that logs at `info`: at `trace` a flood of frames floods the log too.
fn quiet() -> Builder {
    Daemon::builder().env("REGAUTH_LOG", "info")
}

/// Daemon and a registry that answers with `length` bytes.
fn serve_bytes(builder: Builder, length: usize) -> (MockServer, Daemon) {
    let (root, daemon) = (Authority::new("Corp Root"), builder.start());
    let registry = answering(&root, length);
    add(&daemon, &registry, &root);
    (registry, daemon)
}

fn answering(root: &Authority, length: usize) -> MockServer {
    let registry = MockServer::builder(root, "localhost");
    registry.answer(200, &[], &"x".repeat(length)).start()
}

fn add(daemon: &Daemon, registry: &MockServer, root: &Authority) {
    let location = ["--scope", &registry.url("/"), "--no-verify"];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &root.file(), TOKEN)
        .succeeds();
}

fn raise_descriptor_limit() {
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Time for a connection with one small request.
fn time_of_request(daemon: &Daemon, host: &str) -> Duration {
    let begin = Instant::now();
    let answer = block_on(async {
        let mut tunnel = ProxyClient::new(daemon).open(host, &["http/1.1"]).await.unwrap();
        let request = format!("HEAD /small HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        tunnel.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(poll::TIMEOUT, tunnel.read_to_end(&mut answer));
        end.await.expect("the daemon does not answer").unwrap();
        answer
    });
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    begin.elapsed()
}

/// 99th percentile of the times behind each daemon. They take turns, so that other load on the machine slows both.
fn p99s(daemons: [&Daemon; 2], host: &str) -> [Duration; 2] {
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..100 {
        for (times, daemon) in times.iter_mut().zip(daemons) {
            times.push(time_of_request(daemon, host));
        }
    }
    times.map(|mut times| {
        times.sort();
        times[98]
    })
}

/// Asserts that a crowd of clients does not slow another client down, and takes less than `memory_limit` bytes. The
/// measure is a second daemon, without a crowd, at the same moment.
fn assert_isolated<T>(memory_limit: u64, crowd: impl AsyncFnOnce(&Daemon, &str) -> T) {
    let _one_crowd = ONE_CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    raise_descriptor_limit();
    let root = Authority::new("Corp Root");
    let registry = answering(&root, 1 << 20);
    let (host, daemon, idle) = (registry.authority(), quiet().start(), quiet().start());
    let both = [&daemon, &idle];
    both.iter().for_each(|daemon| add(daemon, &registry, &root));
    let (times, before) = (p99s(both, &host), daemon.memory().resident);
    eprintln!("p99 {times:?} before");
    let crowd = block_on(crowd(&daemon, &host));
    wait_until_memory_is_stable(&daemon);
    // Other load on the machine slows some measurements, the crowd would slow all of them.
    let is_isolated = (0..MAX_MEASUREMENTS).any(|_| {
        let [crowded, idle] = p99s(both, &host);
        eprintln!("p99 {crowded:?} behind the crowd, {idle:?} without it");
        crowded < idle * 2 + Duration::from_millis(100)
    });
    let during = daemon.memory().resident;
    drop(crowd);
    eprintln!("memory {} and {} MiB", before >> 20, during >> 20);
    assert!(is_isolated, "the crowd slows others down");
    let growth = during.saturating_sub(before);
    assert!(growth < memory_limit, "the crowd takes {growth} bytes");
    poll::wait_for("the crowd's connections to close", || {
        let status = daemon.ctl(&["status"]).json;
        (status["connections"].as_u64()? < 10).then_some(())
    });
}

/// Waits until memory is stable for a second, so that the next measurement has the cost of idle slow clients only.
fn wait_until_memory_is_stable(daemon: &Daemon) {
    let (mut held, mut since) = (0, Instant::now());
    poll::wait_for("stable memory", || {
        let now = daemon.memory().resident;
        if now.abs_diff(held) > 1 << 20 {
            (held, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(1)).then_some(())
    });
}

#[test]
fn a_thousand_slow_clients_do_not_slow_another_down() {
    assert_isolated(600 << 20, async |daemon, host| {
        let (mut heads, mut inside) = (Vec::new(), Vec::new());
        for _ in 0..THIRD {
            let mut head = ProxyClient::new(daemon).dial().await.unwrap();
            head.write_all(b"CONNECT localhost:1 HT").await.unwrap();
            heads.push(head);
        }
        for number in 0..2 * THIRD {
            let mut tunnel = ProxyClient::new(daemon).open(host, &["http/1.1"]).await.unwrap();
            let request = if number % 2 == 0 {
                format!("GET /slow-reader HTTP/1.1\r\nHost: {host}\r\n\r\n")
            } else {
                format!("OPTIONS /slow-writer HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nx")
            };
            tunnel.write_all(request.as_bytes()).await.unwrap();
            inside.push(tunnel);
        }
        (heads, inside)
    });
}

/// Each client has an HTTP/2 connection of its own, never reads, and sends a few bytes each second. A third never ends a
/// head, a third closes the window of the response, a third writes a body. Four more open all streams that they may.
///
/// A request costs at most the upstream window of its response: 2 MiB, or 8 MiB on long routes. All responses together
/// have a budget. Each response here has 1 MiB.
#[test]
fn a_thousand_slow_http2_clients_do_not_slow_another_down() {
    assert_isolated(700 << 20, async |daemon, host| {
        let mut crowd = JoinSet::new();
        for number in 0..3 * THIRD {
            let (request, byte) = match number % 3 {
                0 => (
                    [http2_frames::frame(1, 0, 1, &[0x82]), vec![0, 0, 200, 9, 0, 0, 0, 0, 1]].concat(),
                    vec![0x84],
                ),
                1 => (get_headers(host, 1), http2_frames::frame(6, 1, 0, &[0; 8])),
                _ => (
                    http2_frames::headers(1, &pairs("OPTIONS", host), false),
                    http2_frames::frame(0, 0, 1, b"x"),
                ),
            };
            crowd.spawn(dribble(open_h2(daemon, host, &request).await, byte));
        }
        for _ in 0..4 {
            let requests: Vec<u8> = (0..STREAMS)
                .flat_map(|number| get_headers(host, 2 * number + 1))
                .collect();
            let nothing = http2_frames::frame(6, 1, 0, &[0; 8]);
            crowd.spawn(dribble(open_h2(daemon, host, &requests).await, nothing));
        }
        crowd
    });
}

/// The bearer's connections are alive, and the windows of all responses are shut. Each of them holds a stream of the registry.
#[test]
fn a_bearer_that_reads_no_response_leaves_the_registry_to_others() {
    /// An eighth of the streams of all connections to a registry.
    const MOST: usize = 192;
    raise_descriptor_limit();
    let (registry, daemon) = serve_bytes(quiet(), 1 << 20);
    let host = registry.authority();
    let granted = daemon.ctl(&["grant", "--registry", "corp"]).succeeds().json;
    let proxy = granted["proxy"].as_str().unwrap();
    let (login, _) = proxy.trim_start_matches("http://").split_once('@').unwrap();
    let connect = format!(
        "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {}\r\n\r\n",
        STANDARD.encode(login)
    );
    registry.clear_requests();
    let crowd = block_on(async {
        let (client, mut crowd) = (ProxyClient::new(&daemon), JoinSet::new());
        let requests = (0..STREAMS).flat_map(|number| get_headers(&host, 2 * number + 1));
        let begin = [shut_windows(), requests.collect()].concat();
        for _ in 0..8 {
            let stream = client.connect(&connect).await.unwrap();
            let mut tunnel = client.handshake(stream, Some("localhost"), &["h2"]).await.unwrap();
            tunnel.write_all(&begin).await.unwrap();
            let answer_to_ping = http2_frames::frame(6, 1, 0, &[0; 8]);
            crowd.spawn(dribble(tunnel, answer_to_ping));
        }
        crowd
    });
    registry.wait_for_requests(MOST);
    wait_until_memory_is_stable(&daemon);
    assert_eq!(Curl::new().behind(&daemon).get(&registry.url("/mine")).status, 200);
    let of_bearer = |request: &&RecordedRequest| !request.uri.ends_with("/mine");
    assert_eq!(registry.requests().iter().filter(of_bearer).count(), MOST);
    drop(crowd);
}

fn pairs<'a>(method: &'a str, host: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", host),
        (":path", "/"),
    ]
}

fn get_headers(host: &str, stream: u32) -> Vec<u8> {
    http2_frames::headers(stream, &pairs("GET", host), true)
}

/// Opens a connection with shut windows and sends `request`.
async fn open_h2(daemon: &Daemon, host: &str, request: &[u8]) -> TlsTunnel {
    let mut tunnel = ProxyClient::new(daemon).open(host, &["h2"]).await.unwrap();
    tunnel.write_all(&[&shut_windows(), request].concat()).await.unwrap();
    tunnel
}

/// Begin of a connection with an initial stream window of zero (RFC 9113, section 6.9.2).
fn shut_windows() -> Vec<u8> {
    [
        http2_frames::preface(),
        http2_frames::frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]),
    ]
    .concat()
}

/// Sends `little` once a second until the connection ends.
async fn dribble(mut tunnel: TlsTunnel, little: Vec<u8>) {
    let mut time = tokio::time::interval(Duration::from_secs(1));
    while tunnel.write_all(&little).await.is_ok() {
        time.tick().await;
    }
}

#[test]
fn the_daemon_recovers_from_running_out_of_descriptors() {
    for builder in [
        quiet().wrapped_in(&["prlimit", "--nofile=64:64"]),
        // The limit is lowered later, so that the daemon expects more descriptors than it has.
        quiet(),
    ] {
        let (registry, daemon) = serve_bytes(builder, 10);
        let pid = daemon.pid().to_string();
        let mut prlimit = exec::command("prlimit", daemon.home());
        exec::run(prlimit.args(["--pid", &pid, "--nofile=64:64"])).succeeds();
        let crowd: Vec<TcpStream> = (0..120)
            .map(|_| TcpStream::connect(daemon.proxy().trim_start_matches("http://")).unwrap())
            .collect();
        let (begin, spent) = (Instant::now(), daemon.processor_time());
        std::thread::sleep(Duration::from_secs(2));
        let spent = daemon.processor_time() - spent;
        assert!(
            spent < begin.elapsed() / 4,
            "a busy loop: {spent:?} in {:?}",
            begin.elapsed()
        );
        drop(crowd);
        let curl = Curl::new().behind(&daemon);
        poll::wait_for("service after the crowd", || {
            let transfer = curl.fetch(&registry.url("/"));
            transfer.output.status.success().then_some(())
        });
    }
}

/// Idle upstream connections stay open, one for each origin.
#[test]
fn one_client_with_many_origins_leaves_descriptors_for_others() {
    let (registry, daemon) = serve_bytes(quiet().wrapped_in(&["prlimit", "--nofile=128:128"]), 10);
    let origins = MockServer::builder(&Authority::new("Elsewhere"), "0.0.0.0")
        .plain()
        .start();
    let port = origins.authority().replace("0.0.0.0:", "");
    let curl = Curl::new().behind(&daemon);
    let tour = curl.fetch(&format!("http://127.0.0.[1-200]:{port}/")).output.succeeds();
    assert_eq!(tour.stdout.matches("200 1.1").count(), 200, "{}", tour.stdout);
    assert_eq!(curl.get(&registry.url("/")).status, 200);
}

/// Silent connections are closed, and heads that are too long as well.
#[test]
fn a_connection_without_a_complete_head_is_closed() {
    let (registry, daemon) = serve_bytes(quiet(), 10);
    let mut stream = TcpStream::connect(daemon.proxy().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let begin = Instant::now();
    let _ = stream.write_all(b"CONNECT localhost:1 HTTP/1.1\r\n");
    let mut rest = Vec::new();
    let mut line = b"X: ".to_vec();
    line.resize(1022, b'x');
    line.extend(b"\r\n");
    for _ in 0..64 {
        if stream.write_all(&line).is_err() {
            break;
        }
    }
    let _ = stream.read_to_end(&mut rest);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    // The daemon waits for more bytes on each of these connections, at the same time.
    let host = registry.authority();
    let mut silent = ["", &format!("CONNECT {host} HTTP/1.1\r\n\r\n"), "CONNECT local"].map(|beginning| {
        let mut silent = TcpStream::connect(daemon.proxy().trim_start_matches("http://")).unwrap();
        silent.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        silent.write_all(beginning.as_bytes()).unwrap();
        silent
    });
    for silent in &mut silent {
        rest.clear();
        silent.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 200 "), "{rest:?}");
    }
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
}
