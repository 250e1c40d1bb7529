//! Grants in containers of podman, with the host's network and with one of their own.

use std::fs;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::containers::Containers;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec::{self, RunningCommand};
use regauth_tests::network::NetworkNamespace;
use regauth_tests::poll;
use regauth_tests::privilege::require_root;
use regauth_tests::registry::Registry;
use tempfile::TempDir;

use super::{Fixture, TOKEN};

/// The bundle's folder is mounted once, and the daemon replaces the file in it.
#[test]
fn a_podman_container_follows_registries_that_are_added_later() {
    if !require_root("podman") {
        return;
    }
    let fixture = Fixture::new();
    let containers = image();
    let granted = fixture.grant("podman", &[]);
    let other = Registry::builder(Scheme::bearer(), TOKEN)
        .host("127.0.0.1")
        .auth_required()
        .start();
    let script = format!(
        "cargo fetch && touch /signal/fetched && while [ ! -e /signal/added ]; do sleep 0.05; done && \
         curl -sSf --noproxy '' {}",
        other.nginx.url("/api/cargo/index/config.json")
    );
    let signals = format!("{}:/signal", fixture.folder.path().display());
    let mut run = containers.run(&granted.command(), &["--volume", &signals], &script);
    let run = RunningCommand::start(run.env("HTTPS_PROXY", "http://127.0.0.1:1"), b"");
    let mut run = Some(run);
    let fetched = fixture.folder.path().join("fetched");
    let is_over = poll::within(poll::TIMEOUT, || {
        (fetched.exists() || !run.as_mut().unwrap().is_running()).then_some(())
    });
    assert!(
        is_over.is_some() && fetched.exists(),
        "{}",
        run.take().unwrap().finish().report()
    );
    fixture.daemon.add("other", &other);
    fs::write(fixture.folder.path().join("added"), "").unwrap();
    run.unwrap().finish().succeeds().says("auth-required");
}

/// Image with the project.
fn image() -> Containers {
    let containers = Containers::new();
    containers.containerfile("");
    let build = ["buildah", "build", "."].map(str::to_owned);
    exec::run(&mut containers.build(&build, &[])).succeeds();
    containers
}

/// The network is made by hand, since a test machine has no container network.
#[test]
fn a_podman_container_with_a_network_of_its_own_reaches_a_daemon_that_listens_on_all_addresses() {
    if !require_root("podman and network namespaces") {
        return;
    }
    let [machine, container] = [(); 2].map(|()| NetworkNamespace::start(&[]));
    machine.link_to("203.0.113.1/24", &container, "203.0.113.2/24");
    let registry = machine.enter(|| Registry::builder(Scheme::bearer(), TOKEN).auth_required().start());
    let daemon = Daemon::builder()
        .config("clients = \"grants\"\n")
        .wrapped_in(&machine.enter_command())
        .listen("0.0.0.0:0")
        .start();
    daemon.add("corp", &registry);
    let fixture = Fixture {
        registry,
        daemon,
        folder: TempDir::new().unwrap(),
    };
    let granted = fixture.grant("podman", &["--registry", "corp"]);
    let words = granted.command();
    assert!(!words.contains(&"--network".to_owned()), "{words:?}");
    let [.., pid] = container.enter_command();
    let network = format!("ns:/proc/{pid}/ns/net");
    // podman gives this name to the machine in a network that it makes.
    let more = [
        "--network",
        &network,
        "--add-host",
        "host.containers.internal:203.0.113.1",
    ];
    exec::run(&mut image().run(&words, &more, "cargo fetch")).succeeds();
    let docker = fixture.grant("docker", &["--registry", "corp"]).command();
    assert!(
        docker.contains(&"host.docker.internal:host-gateway".to_owned()),
        "{docker:?}"
    );
}
