//! Test harness: real servers and clients on free ports below temporary folders. Each ends with its test.
//!
//! Scenarios assert; the harness itself only fails when a fixture does not work.
//!
//! | fixture | what it is | one line of use |
//! |---|---|---|
//! | **regauth** | | |
//! | [`daemon`] | `regauthd` on a free port with a home of its own; scans for leaked tokens when dropped | `let daemon = Daemon::builder().store("vault").start();` |
//! | [`ctl`] | result of `regauthctl --json` | `daemon.ctl(&["status"]).succeeds().json` |
//! | [`user`] | a person with a `HOME` and `regauthctl` | `User::new(&daemon).ctl(&["setup", "cargo"]).succeeds()` |
//! | [`programs`] | paths of the programs under test | `programs::binary("regauthctl")` |
//! | [`fake_service_manager`] | listeners passed by descriptor, `sd_notify` messages kept | `Daemon::builder().socket_activated().start()` |
//! | [`machine`] | guarded daemon of a system user, or a user's own, on a machine with users and a `/run` of its own (root) | `Machine::start(Mode::Guarded)?.ctl(ME, &["status"])` |
//! | [`polkit`] | real polkitd on a system bus of a machine's own (root) | `Polkit::start(&machine, RULES)?` |
//! | [`systemd`] | real systemd in namespaces of its own (root) | `systemd.systemctl(&["restart", "regauthd.service"])` |
//! | **registries and servers** | | |
//! | [`registry`] | private cargo registry: nginx, token check, index, web API | `Registry::start("token")` |
//! | [`git_server`] | private git host for fetch and push | `GitServer::start(&authority, Scheme::basic("me"), "token")` |
//! | [`pypi_server`] | private Python index: pypiserver | `PypiServer::start("me", "password")` |
//! | [`npm_server`] | private npm registry: verdaccio | `NpmServer::start("me", "password")` |
//! | [`file_server`] | folder that needs a password, and takes PUT: repositories of Maven, RubyGems, Composer and others | `FileServer::start("me", "password").write("a.txt", "x")` |
//! | [`container_registry`] | private container registry: docker-registry, with a password or a token service | `ContainerRegistry::with_token_service("me", "password")` |
//! | [`token_registry`] | container registry with a token service, which can end its tokens | `TokenRegistry::start("me", "password").end_tokens()` |
//! | [`openid_provider`] | OpenID provider: the certified oidc-provider | `OpenidProvider::start(registry.gate()).identity("corp")` |
//! | [`token_service`] | token service of a vendor, which checks requests and identities | `TokenService::start(Vendor::Jfrog, &provider, registry.gate(), registry.authority())` |
//! | [`device_service`] | OAuth 2.0 server for logins with a code, which holds its answers until they are released | `DeviceService::start(registry.gate()).hold()` |
//! | [`forge`] | registry that accepts only minted tokens, and a job with an identity | `Forge::bearer().add(&daemon, source, &[])` |
//! | [`moto`] | AWS's security token service: moto | `Moto::start().address()` |
//! | [`lfs_server`] | private git host with Git LFS: giftless, or a server that repeats the token | `LfsServer::giftless("me", "password")` |
//! | [`mock_server`] | HTTP server that records requests and answers as configured | `MockServer::builder(&authority, "localhost").start()` |
//! | [`held_server`] | HTTP/1.1 server that holds its responses until they are released | `HeldServer::start(&["/slow"]).release()` |
//! | [`path_server`] | registry whose answer depends on path and token, by rules that can change | `PathServer::start("token").answer("/private/", 401, &[], "no")` |
//! | [`strict_server`] | HTTP/1.1 server that rejects any deviation from RFC 9112 | `StrictServer::start(&authority)` |
//! | [`head_server`] | HTTP/1.1 server that answers the head of an upload, and counts what follows | `HeadServer::answering(&authority, answer)` |
//! | [`faulty_server`] | TLS server with one fault: a bad certificate, a failing handshake | `FaultyServer::start(Fault::Expired)` |
//! | [`misbehaving_server`] | server that is silent, cuts bodies, closes without a word | `MisbehavingServer::http1(&authority).first(&[Silence::InHandshake]).start()` |
//! | [`nginx`] | real nginx with a JSON access log | `nginx.wait_for_request(\|request\| request.status == 200)` |
//! | [`prometheus`] | real Prometheus with the packaged alert rules | `Prometheus::scraping("127.0.0.1:9102").firing()` |
//! | [`squid`] | company proxy: real Squid with Basic authentication, port rules, TLS, TLS interception | `Squid::builder().login("me", "pw").start()` |
//! | [`socks_proxy`] | SOCKS5 proxy: real microsocks | `SocksProxy::start(&["registry.corp.example"])` |
//! | [`certificates`] | private CA and the certificates it issues | `Authority::new("Corp Root").issue(&["localhost"])` |
//! | **clients** | | |
//! | [`cargo`] | real cargo with a project | `Cargo::new().behind(&daemon).build().succeeds()` |
//! | [`git`] | real git with an empty configuration | `Git::new().behind(&daemon).clone_from(&url)` |
//! | [`maven`] | real Maven, 3.8 with Wagon and 3.9 with its own transport | `Maven::each(\|maven\| run(maven.program()))` |
//! | [`curl`] | real curl, one request at a time | `Curl::new().behind(&daemon).get(&url).status` |
//! | [`proxy_client`] | CONNECT and TLS by hand: any head, any SNI, any bytes | `ProxyClient::new(&daemon).open("corp:443", &["h2"])` |
//! | [`http2_frames`] | HTTP/2 frames as bytes | `http2_frames::headers(1, &pairs, true)` |
//! | [`burst`] | many requests at the same moment | `burst::send(&daemon, &url, 1000, 10)` |
//! | [`load`] | clients that send requests until stopped | `LoadGenerator::start(counts, &proxy, &bundle, &url).stop()` |
//! | **environment** | | |
//! | [`keyring`] | gnome-keyring on a session bus of its own | `Keyring::start().lock()` |
//! | [`containers`] | images, containers and sandboxes: real buildah, podman and bubblewrap (root) | `Containers::new().build(&words, &[])` |
//! | [`notification_daemon`] | dunst on a session bus | `NotificationDaemon::start(&bus).wait_for("the store is locked")` |
//! | [`long_link`] | relay that counts round trips | `LongLink::start(registry.nginx.port())` |
//! | [`name_proxy`] | company proxy that leads names of the real world to servers of a test | `NameProxy::start(&[("github.com", port)]).url()` |
//! | [`network`] | network namespaces, links, a DNS server (root) | `NetworkNamespace::start(&["203.0.113.1/24"])` |
//! | [`system_shim`] | wall clock and disk of a daemon under control (LD_PRELOAD) | `SystemShim::new().load_into(Daemon::builder())` |
//! | [`terminal`] | a program on a pseudo-terminal | `Terminal::start(&command).read_until("Token: ")` |
//! | [`tmux`] | a shell in a terminal of any size; keys and screens | `Tmux::start(&user.command("sh"), 80, 24).wait_for("$ ")` |
//! | [`screen_picture`] | SVG of a screen with its colours | `screen_picture::svg(&terminal.coloured_screen(), 80)` |
//! | **checks** | | |
//! | [`leak_scan`] | search for a secret in texts, files, processes and memory | `LeakScan::new(TOKEN).scan("the log", log).assert_clean()` |
//! | [`ocsf`] | validation against the published OCSF schema | `ocsf::validate(&exported).succeeds()` |
//! | [`store_items`] | names of the secrets in a store, read without the daemon | `store_items::in_vault(&daemon)` |
//! | [`privilege`] | skips a test without root, fails it in CI | `if !require_root("network namespaces") { return; }` |
//! | [`poll`] | wait for a condition with a deadline | `poll::wait_for("the drain", \|\| done().then_some(()))` |
//! | [`random`] | random numbers from a printed seed | `SeededRandom::from_environment().below(2)` |
//!
//! These are the parts the fixtures are made of: [`process`] runs servers and [`exec`] runs programs to their end.
//! [`http_server`] serves the mock server and [`registry_api`]. [`auth_gate`] makes nginx check tokens.
//! [`crates`] packages sample crates, [`crate_index`] keeps a registry's files, [`git_backend`] serves git repositories.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a harness fails loudly"
)]

pub mod auth_gate;
pub mod burst;
pub mod cargo;
pub mod certificates;
pub mod container_registry;
pub mod containers;
pub mod crate_index;
pub mod crates;
pub mod ctl;
pub mod curl;
pub mod daemon;
pub mod device_service;
pub mod exec;
pub mod fake_service_manager;
pub mod faulty_server;
pub mod file_server;
pub mod forge;
pub mod gateway;
pub mod git;
pub mod git_backend;
pub mod git_server;
pub mod haproxy;
pub mod head_server;
pub mod held_server;
pub mod helm;
pub mod http2_frames;
pub mod http_server;
pub mod keyring;
pub mod leak_scan;
pub mod lfs_server;
pub mod load;
pub mod long_link;
pub mod machine;
pub mod maven;
pub mod misbehaving_server;
pub mod mock_server;
pub mod moto;
pub mod name_proxy;
#[cfg(target_os = "linux")]
pub mod network;
pub mod nginx;
pub mod notification_daemon;
pub mod npm_server;
pub mod ocsf;
pub mod openid_provider;
pub mod path_server;
pub mod polkit;
pub mod poll;
pub mod privilege;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod proxy_client;
pub mod pypi_server;
pub mod random;
pub mod registry;
pub mod registry_api;
pub mod screen_picture;
pub mod socks_proxy;
pub mod squid;
pub mod store_items;
pub mod strict_server;
#[cfg(target_os = "linux")]
pub mod system_shim;
pub mod systemd;
pub mod terminal;
pub mod tmux;
pub mod token_registry;
pub mod token_service;
pub mod user;
pub mod viewer;
