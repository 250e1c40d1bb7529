//! Identities that a machine or a job has: Google's metadata server, and services that only the environment names.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use regauth_shared::exit_code;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::forge::Forge;
use regauth_tests::http_server::{Handler, HttpServer};
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::MockServer;
use regauth_tests::network::NetworkNamespace;
use regauth_tests::openid_provider::JOB_TOKEN;
use regauth_tests::privilege::require_root;
use regauth_tests::token_service::Vendor;

const TOKEN: &str = "ya29.t0ken-of-the-machine";
const SERVER: &str = "169.254.169.254:80";

/// Metadata server of a machine, or of another cloud that has one at the same address.
#[derive(Clone)]
struct MetadataServer {
    flavor: Option<&'static str>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Handler for MetadataServer {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.requests.lock().unwrap().push(request.uri().path().to_owned());
        assert_eq!(request.headers()["metadata-flavor"], "Google");
        let body = format!(r#"{{"access_token":"{TOKEN}","expires_in":3599,"token_type":"Bearer"}}"#);
        let mut response = Response::new(Full::from(body));
        if let Some(flavor) = self.flavor {
            response
                .headers_mut()
                .insert("metadata-flavor", flavor.parse().unwrap());
        }
        response
    }
}

/// Network with a metadata server and a registry, and a daemon in it.
struct Machine {
    network: NetworkNamespace,
    registry: MockServer,
    authority: Authority,
    daemon: Daemon,
    requests: Arc<Mutex<Vec<String>>>,
    _server: HttpServer,
}

impl Machine {
    /// Starts everything; `None` without root.
    fn start(flavor: Option<&'static str>) -> Option<Self> {
        if !require_root("network namespaces") {
            return None;
        }
        let network = NetworkNamespace::start(&["169.254.169.254/32"]);
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let server = MetadataServer {
            flavor,
            requests: Arc::clone(&requests),
        };
        let address: SocketAddr = SERVER.parse().unwrap();
        let (server, _) = network.enter(|| HttpServer::on_tcp(address, None, server));
        let authority = Authority::new("Corp Root");
        let registry = MockServer::builder(&authority, "127.0.0.1");
        let registry = network.enter(|| registry.start());
        let daemon = Daemon::builder()
            .wrapped_in(&network.enter_command())
            // A variable does not move the server, and no proxy gets the request.
            .env("GCE_METADATA_HOST", &registry.authority())
            .env("http_proxy", "http://127.0.0.1:1")
            .start();
        Some(Self {
            network,
            registry,
            authority,
            daemon,
            requests,
            _server: server,
        })
    }

    fn add(&self, source: &str) -> regauth_tests::ctl::Ctl {
        let ca = self.authority.file();
        let scope = self.registry.url("/");
        self.daemon.ctl(&[
            "add-registry",
            "corp",
            "--kind",
            "pypi",
            "--scope",
            &scope,
            "--ca-file",
            ca.to_str().unwrap(),
            "--source",
            source,
        ])
    }
}

#[test]
fn a_google_machine_gives_the_token_of_its_service_account() {
    let Some(machine) = Machine::start(Some("Google")) else {
        return;
    };
    machine.daemon.register_secret(TOKEN);
    let added = machine.add("google:metadata=true").succeeds().json;
    assert_eq!(added["registry"]["username"], "oauth2accesstoken", "{added}");
    machine.registry.clear_requests();
    let url = machine.registry.url("/simple/treasure/");
    let answer = machine.network.enter(|| Curl::new().behind(&machine.daemon).get(&url));
    assert_eq!(answer.status, 200);
    let sent = machine.registry.requests().pop().unwrap();
    // `oauth2accesstoken:` and the token.
    let expected = "Basic b2F1dGgyYWNjZXNzdG9rZW46eWEyOS50MGtlbi1vZi10aGUtbWFjaGluZQ==";
    assert_eq!(sent.header("authorization").unwrap(), expected);
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!(*machine.requests.lock().unwrap(), [path]);
}

#[test]
fn a_metadata_server_of_another_cloud_gives_no_token() {
    let Some(machine) = Machine::start(None) else {
        return;
    };
    let refused = machine
        .add("google:metadata=true")
        .exits(i32::from(exit_code::FAILED))
        .json;
    let message = refused["err"]["message"].as_str().unwrap();
    assert!(message.contains("no `Metadata-Flavor: Google`"), "{message}");
    LeakScan::new(TOKEN).scan("the error", message).assert_clean();
    assert!(machine.registry.requests().is_empty());
}

/// Job of a CI system: variables, the server that gives its identity, and the request that it must get.
struct Job {
    system: &'static str,
    server: Option<MockServer>,
    variables: Vec<(&'static str, String)>,
    request: &'static [&'static str],
}

/// Jobs of the systems other than GitHub, with this identity.
fn jobs(identity: &str, authority: &Authority) -> [Job; 5] {
    let given = |name: &str| serde_json::json!({ name: identity }).to_string();
    let server = |name: &str| {
        let json = [("content-type", "application/json")];
        let server = MockServer::builder(authority, "localhost").answer(200, &json, &given(name));
        server.start()
    };
    let (buildkite, azure) = (server("token"), server("oidcToken"));
    let variable = |system, mark, name| Job {
        system,
        server: None,
        variables: vec![(mark, "true".to_owned()), (name, identity.to_owned())],
        request: &[],
    };
    [
        variable("gitlab", "GITLAB_CI", "REGAUTH_ID_TOKEN"),
        variable("circleci", "CIRCLECI", "CIRCLE_OIDC_TOKEN_V2"),
        variable("bitbucket", "BITBUCKET_BUILD_NUMBER", "BITBUCKET_STEP_OIDC_TOKEN"),
        Job {
            system: "buildkite",
            variables: vec![
                ("BUILDKITE", "true".to_owned()),
                ("BUILDKITE_JOB_ID", "0190-j0b".to_owned()),
                ("BUILDKITE_AGENT_ENDPOINT", buildkite.url("/v3")),
                ("BUILDKITE_AGENT_ACCESS_TOKEN", JOB_TOKEN.to_owned()),
            ],
            request: &[
                "POST",
                "/v3/jobs/0190-j0b/oidc/tokens ",
                "authorization: Token token-of-the-job\n",
                r#"{"audience":"jfrog"}"#,
            ],
            server: Some(buildkite),
        },
        Job {
            system: "azure-pipelines",
            variables: vec![
                ("TF_BUILD", "True".to_owned()),
                ("SYSTEM_OIDCREQUESTURI", azure.url("/corp/build/oidctoken")),
                ("SYSTEM_ACCESSTOKEN", JOB_TOKEN.to_owned()),
                ("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "c0nnection".to_owned()),
            ],
            request: &[
                "POST",
                "/corp/build/oidctoken?api-version=7.1&serviceConnectionId=c0nnection ",
                "authorization: Bearer token-of-the-job\n",
                "x-tfs-fedauthredirect: Suppress\n",
            ],
            server: Some(azure),
        },
    ]
}

#[test]
fn a_job_of_each_ci_system_gets_a_token_for_its_identity() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    let identity = forge.provider.identity("jfrog");
    for (number, job) in jobs(&identity, forge.registry.authority()).iter().enumerate() {
        let builder = Daemon::builder();
        let builder = job
            .variables
            .iter()
            .fold(builder, |builder, (name, value)| builder.env(name, value));
        let daemon = builder.start();
        daemon.register_secret(&identity);
        daemon.register_secret(JOB_TOKEN);
        let host = job
            .server
            .as_ref()
            .map_or_else(|| service.host(), MockServer::authority);
        let source = format!(
            "jfrog:host={},provider=corp,audience=jfrog,identity-host={host}",
            service.host()
        );
        let (scope, ca) = (forge.registry.scope(), forge.registry.ca());
        let location = ["add-registry", "corp", "--kind", "generic", "--scope", &scope];
        let source = ["--no-verify", "--ca-file", ca.to_str().unwrap(), "--source", &source];
        daemon.ctl(&[&location[..], &source].concat()).succeeds();
        assert_eq!(service.minted().len(), number + 1, "{}", job.system);
        let answer = Curl::new().behind(&daemon).get(&forge.registry.file("f", 100));
        assert_eq!(answer.status, 200, "{}", job.system);
        let asked = job
            .server
            .iter()
            .flat_map(MockServer::requests)
            .map(|request| request.text());
        let asked: Vec<String> = asked.collect();
        assert_eq!(
            asked.len(),
            usize::from(job.server.is_some()),
            "{}: {asked:?}",
            job.system
        );
        for part in job.request {
            assert!(asked[0].contains(part), "{}: no {part:?} in {}", job.system, asked[0]);
        }
    }
    // Without the variable, the job is told what it lacks.
    let daemon = Daemon::builder().env("CIRCLECI", "true").start();
    let source = format!("jfrog:host={},provider=corp", service.host());
    let refused = forge
        .add(&daemon, &source, &[])
        .exits(i32::from(exit_code::FAILED))
        .json;
    let message = refused["err"]["message"].as_str().unwrap();
    assert!(message.contains("at least one context"), "{message}");
}

#[test]
fn an_address_from_the_environment_gets_no_token_of_the_job() {
    let forge = Forge::bearer();
    let service = forge.service(Vendor::Jfrog);
    let authority = Authority::new("Thief");
    let thief = MockServer::builder(&authority, "localhost").start();
    let plain_thief = MockServer::builder(&authority, "127.0.0.1").plain().start();
    let source = format!("jfrog:host={},provider=corp,audience=jfrog", service.host());
    for (url, host) in [
        (thief.url("/id?api-version=2.0"), thief.authority()),
        (plain_thief.url("/id?api-version=2.0"), plain_thief.authority()),
        (
            "https://actions.githubusercontent.com.example/id?x".to_owned(),
            "actions.githubusercontent.com.example".to_owned(),
        ),
    ] {
        let daemon = Daemon::builder()
            .env("GITHUB_ACTIONS", "true")
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", &url)
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", JOB_TOKEN)
            .start();
        daemon.register_secret(JOB_TOKEN);
        let (scope, ca) = (forge.registry.scope(), authority.file());
        let location = [
            "add-registry",
            "corp",
            "--scope",
            &scope,
            "--ca-file",
            ca.to_str().unwrap(),
        ];
        let refused = daemon
            .ctl(&[&location[..], &["--source", &source]].concat())
            .exits(i32::from(exit_code::FAILED))
            .json;
        let message = refused["err"]["message"].as_str().unwrap();
        let expected = format!("ACTIONS_ID_TOKEN_REQUEST_URL leads to {host} instead of github-actions");
        assert!(message.contains(&expected), "{message}");
        assert!(message.contains(&format!("identity-host={host}")), "{message}");
    }
    assert!(thief.requests().is_empty() && plain_thief.requests().is_empty());
}
