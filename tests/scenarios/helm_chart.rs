//! The chart for Kubernetes: rendered by Helm itself for a matrix of values, checked part by part, and its container's command
//! line run as rendered.

#![cfg(target_arch = "x86_64")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::exec;
use regauth_tests::helm::{Rendered, render, try_render};
use regauth_tests::openid_provider::OpenidProvider;
use regauth_tests::poll;
use regauth_tests::process::Process;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::squid::free_port;
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-the-company";

fn full() -> Value {
    json!({
        "replicas": 3,
        "image": {"repository": "registry.example/regauth", "tag": "1", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "bindAddress": "::",
        "tokenSecrets": ["corp", "wheels"],
        "signedGrants": {"secretName": "grants"},
        "registries": {"corp": {"index": "sparse+https://corp.example/api/cargo/index/", "source": "file:/run/regauth/tokens/corp/token"}},
        "trust": [{
            "issuer": "https://kubernetes.default.svc", "audience": "regauth", "jwks": "https://kubernetes.default.svc/openid/v1/jwks",
            "ca-file": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            "match": {"sub": ["system:serviceaccount:builds:*"]}, "registries": ["corp"], "operations": ["read", "write"],
        }],
        "settings": {"audit": "all"},
        "bundle": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "proxyProtocol": ["10.0.0.0/8"],
        "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
        "identity": {"audience": "vault"},
        "serviceAccount": {"annotations": {"a": "b"}},
        "autoscaling": {"enabled": true, "minReplicas": 3},
        "networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"ci": "yes"}}}], "monitoring": [{"podSelector": {}}]},
        "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
        "podAnnotations": {"a": "b"}, "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "ci", "operator": "Exists"}], "affinity": {"nodeAffinity": {}},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.corp.example:3128"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}], "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    })
}

#[test]
fn the_chart_is_whole_for_each_choice_of_values() {
    let usual = [
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ];
    for (values, more, fewer) in [
        (json!({}), &[][..], &[][..]),
        (full(), &["HorizontalPodAutoscaler", "ServiceMonitor"], &[]),
        (
            json!({"autoscaling": {"enabled": true}}),
            &["HorizontalPodAutoscaler"],
            &[],
        ),
        (json!({"serviceMonitor": {"enabled": true}}), &["ServiceMonitor"], &[]),
        (
            json!({"networkPolicy": {"enabled": false}, "podDisruptionBudget": {"enabled": false}}),
            &[],
            &["NetworkPolicy", "PodDisruptionBudget"],
        ),
    ] {
        let rendered = render(&values);
        assert_eq!(rendered.lint, Vec::<Value>::new(), "{values}");
        let kinds = rendered
            .documents
            .iter()
            .map(|document| document["kind"].as_str().unwrap());
        let expected = usual.iter().chain(more).copied().filter(|kind| !fewer.contains(kind));
        assert_eq!(kinds.collect::<BTreeSet<_>>(), expected.collect(), "{values}");
        check_documents(&rendered);
        check_pods(&rendered);
        check_references(&rendered);
    }
}

/// Each document has a name, a version and the same labels, and no two have one name.
fn check_documents(rendered: &Rendered) {
    let mut names = BTreeSet::new();
    for document in &rendered.documents {
        let name = document["metadata"]["name"].as_str().unwrap();
        assert!(
            names.insert((document["kind"].to_string(), name.to_owned())),
            "{name} twice"
        );
        assert!(name.starts_with("ci-regauth") && name.len() <= 63, "{name}");
        assert!(document["apiVersion"].is_string(), "{document}");
        let labels = &document["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/instance"], "ci", "{document}");
    }
}

/// The restricted level of the Pod Security Standards, a read-only root and no token of the API server.
fn check_pods(rendered: &Rendered) {
    let pod = &rendered.only("Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    let security = &pod["securityContext"];
    assert_eq!(
        (&security["runAsNonRoot"], &security["runAsUser"]),
        (&json!(true), &json!(65532))
    );
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    for kind in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(pod.get(kind), None);
    }
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert!(container["resources"]["limits"]["memory"].is_string());
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "metrics", "{probe}");
        }
    }
    for volume in pod["volumes"].as_array().unwrap() {
        assert_eq!(volume.get("hostPath"), None, "{volume}");
        if let Some(secret) = volume.get("secret") {
            assert_eq!(secret["defaultMode"], 0o440, "{secret}");
        }
    }
    let drain = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(drain >= 36, "{drain}: the delay, the drain and a margin");
}

/// Checks that each name that one part of the chart refers to exists in another part.
fn check_references(rendered: &Rendered) {
    let deployment = rendered.only("Deployment");
    let template = &deployment["spec"]["template"];
    let pod = &template["spec"];
    let container = &pod["containers"][0];
    let names = |list: &Value| -> BTreeSet<String> {
        let names = list
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(
        names(&container["volumeMounts"]),
        names(&pod["volumes"]),
        "each volume is mounted"
    );
    let ports = names(&container["ports"]);
    let labels = template["metadata"]["labels"].as_object().unwrap();
    let selects = |selector: &Value| {
        let selector = selector.as_object().unwrap();
        assert!(!selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
    };
    selects(&deployment["spec"]["selector"]["matchLabels"]);
    for service in rendered.all("Service") {
        selects(&service["spec"]["selector"]);
        for port in service["spec"]["ports"].as_array().unwrap() {
            assert!(ports.contains(port["targetPort"].as_str().unwrap()), "{port}");
        }
    }
    for kind in ["NetworkPolicy", "PodDisruptionBudget"] {
        for document in rendered.all(kind) {
            let spec = &document["spec"];
            selects(
                spec.get("podSelector")
                    .unwrap_or(&spec["selector"])
                    .get("matchLabels")
                    .unwrap(),
            );
        }
    }
    for monitor in rendered.all("ServiceMonitor") {
        let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
        let found = rendered.all("Service").into_iter().filter(|service| {
            let labels = &service["metadata"]["labels"];
            wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
        });
        assert_eq!(found.count(), 1, "the proxy's own service has no metrics");
    }
    for scaler in rendered.all("HorizontalPodAutoscaler") {
        assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
        assert_eq!(deployment["spec"].get("replicas"), None, "the autoscaler decides");
    }
    assert_eq!(
        pod["serviceAccountName"],
        rendered.only("ServiceAccount")["metadata"]["name"]
    );
    let config = pod["volumes"][0]["configMap"]["name"].as_str().unwrap();
    assert!(
        rendered
            .all("ConfigMap")
            .iter()
            .any(|map| map["metadata"]["name"] == config)
    );
}

#[test]
fn values_that_cannot_work_are_refused_by_name() {
    for (values, says) in [
        (json!({"replica": 2}), "'replica' not allowed"),
        (json!({"replicas": 0}), "/replicas"),
        (json!({"image": {"tag": 7}}), "/image/tag"),
        (json!({"image": {"repository": ""}}), "/image/repository"),
        (json!({"tls": {"secretName": ""}}), "/tls/secretName"),
        (json!({"registries": {"corp": {"token": "secret"}}}), "/registries/corp"),
        (
            json!({"trust": [{"issuer": "https://issuer.example"}]}),
            "missing properties",
        ),
        (
            json!({"trust": [{"issuer": "i", "audience": "a", "jwks": "http://corp.example/", "registries": ["corp"]}]}),
            "/trust/0/jwks",
        ),
        (
            json!({"trust": [{"issuer": "i", "audience": "a", "jwks": "/f", "registries": ["corp"], "operations": ["write"]}]}),
            "/trust/0/operations",
        ),
        (json!({"settings": {"clients": "same-user"}}), "clients"),
        (json!({"logLevel": "verbose"}), "/logLevel"),
        (json!({"bundle": "-----BEGIN PRIVATE KEY-----"}), "/bundle"),
        (json!({"drain": {"delay": -1}}), "/drain/delay"),
        (json!({"service": {"type": "ExternalName"}}), "/service/type"),
        (json!({"tokenSecrets": ["../etc"]}), "/tokenSecrets/0"),
    ] {
        let refused = try_render(&values).fails();
        assert!(refused.stderr.contains(says), "{values}: {}", refused.report());
    }
}

#[test]
fn the_audit_record_fits_into_the_home_unless_the_settings_say_more() {
    for (values, expected) in [
        (json!({}), "audit-max-size = \"16MiB\""),
        (
            json!({"settings": {"audit-max-size": "32MiB"}}),
            "audit-max-size = \"32MiB\"",
        ),
    ] {
        let rendered = render(&values);
        let config = rendered.only("ConfigMap")["data"]["config.toml"].as_str().unwrap();
        assert!(config.contains(expected), "{config}");
    }
}

#[test]
fn only_named_peers_reach_the_metrics() {
    let peers = json!([{"podSelector": {"matchLabels": {"app": "prometheus"}}}]);
    for (monitoring, expected) in [(json!([]), vec![]), (peers.clone(), vec![&peers])] {
        let rendered = render(&json!({"networkPolicy": {"monitoring": monitoring}}));
        let rules = rendered.only("NetworkPolicy")["spec"]["ingress"].as_array().unwrap();
        let metrics = rules.iter().filter(|rule| rule["ports"][0]["port"] == "metrics");
        assert_eq!(metrics.map(|rule| &rule["from"]).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_service_for_other_machines_keeps_the_addresses_of_clients() {
    for (kind, policy) in [
        ("ClusterIP", Value::Null),
        ("NodePort", json!("Local")),
        ("LoadBalancer", json!("Local")),
    ] {
        let rendered = render(&json!({"service": {"type": kind}}));
        let services = rendered.all("Service");
        let proxy = services.iter().find(|service| service["spec"]["type"] == kind).unwrap();
        assert_eq!(proxy["spec"]["externalTrafficPolicy"], policy, "{kind}");
    }
}

/// Files as Kubernetes mounts them: each is a link into `..data`, which is a link to a folder.
fn mount(folder: &Path, version: &str, files: &[(&str, &[u8])]) {
    fs::create_dir_all(folder.join(version)).unwrap();
    for (name, contents) in files {
        fs::write(folder.join(version).join(name), contents).unwrap();
        let link = folder.join(name);
        if link.symlink_metadata().is_err() {
            symlink(format!("..data/{name}"), link).unwrap();
        }
    }
    symlink(version, folder.join("..next")).unwrap();
    fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
}

#[test]
fn the_container_runs_as_rendered_and_follows_its_config_map() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let provider = OpenidProvider::start(registry.gate());
    let (authority, root) = (Authority::new("Gateway Root"), TempDir::new().unwrap());
    let corp = |scope: String| {
        json!({
            "kind": "cargo", "scopes": [scope], "scheme": "basic", "username": USERNAME,
            "source": "file:/run/regauth/tokens/corp/token", "ca-file": registry.ca(),
        })
    };
    let values = |registries: Value| {
        json!({
            "bindAddress": "127.0.0.1", "tokenSecrets": ["corp"], "drain": {"delay": 0}, "registries": registries,
            "trust": [{
                "issuer": provider.issuer(), "audience": "regauth", "jwks": provider.keys_url(),
                "match": {"repository": ["corp/*"]}, "registries": ["corp"],
            }],
        })
    };
    let ports = [free_port(), free_port()];
    // The container's own folders and ports are below the temporary folder, and free ones of this machine.
    let here = |text: &str| {
        let folder = root.path().display();
        let moved = ["/etc/regauth", "/run/regauth", "/var/lib/regauth"]
            .iter()
            .fold(text.to_owned(), |text, path| {
                text.replace(path, &format!("{folder}{path}"))
            });
        moved
            .replace(":9001", ":0")
            .replace(":9443", &format!(":{}", ports[0]))
            .replace(":9102", &format!(":{}", ports[1]))
    };
    let rendered = render(&values(json!({ "corp": corp(registry.scope()) })));
    let config = |rendered: &Rendered| here(rendered.only("ConfigMap")["data"]["config.toml"].as_str().unwrap());
    let at = |path: &str| root.path().join(path);
    let certificate = authority.issue(&["localhost"]);
    let [chain, key] = [certificate.chain_file(), certificate.key_file()].map(|file| fs::read(file).unwrap());
    mount(
        &at("etc/regauth"),
        "..v1",
        &[("config.toml", config(&rendered).as_bytes())],
    );
    mount(
        &at("run/regauth/tls"),
        "..v1",
        &[("tls.crt", &chain), ("tls.key", &key)],
    );
    mount(&at("run/regauth/tokens/corp"), "..v1", &[("token", TOKEN.as_bytes())]);
    let mut create = exec::command(binary("regauthd"), root.path());
    let created = exec::run(create.args(["--create-authority", "localhost"])).succeeds();
    mount(
        &at("run/regauth/authorities"),
        "..v1",
        &[("localhost.pem", created.stdout.as_bytes())],
    );
    // An emptyDir is open to everybody.
    fs::create_dir_all(at("var/lib/regauth")).unwrap();
    fs::set_permissions(at("var/lib/regauth"), fs::Permissions::from_mode(0o777)).unwrap();

    let container = &rendered.only("Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["/usr/bin/regauthd"]));
    let mut regauthd = exec::command(binary("regauthd"), root.path());
    for argument in container["args"].as_array().unwrap() {
        regauthd.arg(here(argument.as_str().unwrap()));
    }
    for variable in container["env"].as_array().unwrap() {
        let [name, value] = ["name", "value"].map(|key| variable[key].as_str().unwrap());
        regauthd.env(name, here(value));
    }
    let mut process = Process::spawn("regauthd", &mut regauthd, &root.path().join("regauthd.log"));
    let ready = |path: &str| Curl::new().fetch(&format!("http://127.0.0.1:{}{path}", ports[1]));
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        process.wait_until(probe, || {
            let fetched = ready(path);
            (fetched.output.status.success() && fetched.response().status == 200).then_some(())
        });
    }
    let job = provider.identity("regauth");
    let proxy = format!("https://regauth:{job}@localhost:{}", ports[0]);
    let (bundle, roots) = (at("var/lib/regauth/ca-bundle.pem"), authority.file());
    let curl = Curl::new()
        .proxy(&proxy)
        .trusts(&bundle)
        .with(&["--proxy-cacert", roots.to_str().unwrap()]);
    let url = registry.nginx.url("/api/cargo/index/config.json");
    assert_eq!(curl.get(&url).status, 200);
    // Another ConfigMap: the registry has moved, so its old place gets no token and the rule opens nothing there.
    let moved = render(&values(json!({ "corp": corp(registry.nginx.url("/elsewhere/")) })));
    mount(
        &at("etc/regauth"),
        "..v2",
        &[("config.toml", config(&moved).as_bytes())],
    );
    poll::wait_for("the new ConfigMap", || (curl.get(&url).status != 200).then_some(()));
    assert!(process.stop().success());
    assert!(!process.log().contains(TOKEN) && !process.log().contains(&job));
}
