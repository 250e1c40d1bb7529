//! Events in the Open Cybersecurity Schema Framework (<https://schema.ocsf.io/1.5.0>).
//!
//! A request or refusal is an HTTP Activity (class 4002), everything else an API Activity (class 6003). What the schema has
//! no attribute for is in `unmapped`.

use regauth_shared::audit::Note;
use regauth_shared::event::{Client, Event, EventKind, Exchange};
use regauth_shared::version::PROGRAM;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Line of the record as an OCSF event.
pub(super) fn event(line: u64, event: &Event) -> Value {
    match &event.kind {
        EventKind::Request(exchange) => http_activity(line, event.time, exchange, Verdict::Allowed),
        EventKind::Refusal(exchange) => http_activity(line, event.time, exchange, Verdict::Denied),
        kind => api_activity(line, event.time, kind),
    }
}

/// Note of the record as an OCSF event: nothing may be missing from the export.
pub(super) fn note(line: u64, note: &Note) -> Option<Value> {
    let (Note::Repaired { time, .. } | Note::Damaged { time } | Note::Pruned { time, .. }) = note else {
        return None;
    };
    let mut event = base(line, *time, API_ACTIVITY, OTHER);
    event.insert("activity_name".to_owned(), json!("Record"));
    event.insert(
        "api".to_owned(),
        json!({"operation": format!("audit-{}", tag(note, "kind"))}),
    );
    event.insert("unmapped".to_owned(), without(note, "kind"));
    Some(finish(event, &Client::default()))
}

/// Decision about a request.
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Allowed,
    Denied,
}

fn http_activity(line: u64, time: u64, exchange: &Exchange, verdict: Verdict) -> Value {
    let method = exchange.method.as_deref().unwrap_or("CONNECT");
    let (activity, name) = http_method(method);
    let mut event = base(line, time, HTTP_ACTIVITY, activity);
    let denied = verdict == Verdict::Denied;
    let failed = denied || exchange.status.is_none_or(|status| status >= 400);
    for (name, value) in [
        ("activity_name", json!(name)),
        ("duration", json!(exchange.total_us / 1000)),
        ("severity_id", json!(if denied { LOW } else { INFORMATIONAL })),
        ("status_id", json!(if failed { 2 } else { 1 })),
        ("action_id", json!(if denied { 2 } else { 1 })),
        ("disposition_id", json!(if denied { 2 } else { 1 })),
        ("http_request", request(exchange, method, activity)),
        ("dst_endpoint", destination(exchange)),
        ("traffic", traffic(exchange)),
        ("unmapped", unmapped(exchange)),
    ] {
        event.insert(name.to_owned(), value);
    }
    if let Some(status) = exchange.status {
        event.insert("status_code".to_owned(), json!(status.to_string()));
        event.insert("http_response".to_owned(), json!({"code": status}));
    }
    if let Some(code) = &exchange.code {
        event.insert("status_detail".to_owned(), json!(code));
    }
    finish(event, &exchange.client)
}

fn api_activity(line: u64, time: u64, kind: &EventKind) -> Value {
    let activity = match kind {
        EventKind::RegistryAdded(_) | EventKind::GrantCreated(_) => CREATE,
        EventKind::Verification(_) => READ,
        EventKind::RegistryRemoved(_)
        | EventKind::Logout(_)
        | EventKind::GrantRevoked(_)
        | EventKind::GrantExpired(_) => DELETE,
        EventKind::Confirmation(_)
        | EventKind::Started(_)
        | EventKind::Stopping
        | EventKind::Lost(_)
        | EventKind::Unknown => OTHER,
        _ => UPDATE,
    };
    let operation = tag(kind, "event");
    let mut event = base(line, time, API_ACTIVITY, activity);
    let (failed, client) = match kind {
        EventKind::Renewal(renewal) => (renewal.failure.is_some(), Client::default()),
        EventKind::Confirmation(confirmation) => (
            !confirmation.confirmed,
            Client {
                uid: confirmation.uid,
                ..Client::default()
            },
        ),
        _ => (false, Client::default()),
    };
    event.insert("status_id".to_owned(), json!(if failed { 2 } else { 1 }));
    if activity == OTHER {
        event.insert("activity_name".to_owned(), json!(operation));
    }
    if let Some(registry) = kind.registry() {
        event.insert("resources".to_owned(), json!([{"name": registry, "type": "registry"}]));
    }
    event.insert("api".to_owned(), json!({"operation": operation}));
    event.insert("unmapped".to_owned(), without(kind, "event"));
    finish(event, &client)
}

/// Attributes that every event must have.
fn base(
    line: u64,
    time: u64,
    (class, class_name, category, category_name): Class,
    activity: u64,
) -> Map<String, Value> {
    let profiles: &[&str] = if class == HTTP_ACTIVITY.0 {
        &["host", "security_control"]
    } else {
        &[]
    };
    let event = json!({
        "activity_id": activity,
        "category_uid": category,
        "category_name": category_name,
        "class_uid": class,
        "class_name": class_name,
        "type_uid": class * 100 + activity,
        "time": time,
        "severity_id": INFORMATIONAL,
        "metadata": {
            "version": VERSION,
            "profiles": profiles,
            "product": {"name": "regauth", "vendor_name": "regauth", "version": PROGRAM},
            "log_name": "audit",
            "uid": line.to_string(),
        },
    });
    match event {
        Value::Object(event) => event,
        _ => Map::new(),
    }
}

/// Adds the client: as the actor, and as the source.
fn finish(mut event: Map<String, Value>, client: &Client) -> Value {
    let source = match &client.address {
        Some(address) => json!({"ip": address}),
        None => json!({"name": "localhost"}),
    };
    event.insert("src_endpoint".to_owned(), source);
    event.insert("actor".to_owned(), actor(client));
    Value::Object(event)
}

/// The schema knows no other methods than those of its activities.
fn request(exchange: &Exchange, method: &str, activity: u64) -> Value {
    let url = url(exchange);
    if activity == OTHER {
        json!({"url": url})
    } else {
        json!({"http_method": method, "url": url})
    }
}

fn actor(client: &Client) -> Value {
    let mut actor = Map::new();
    if let (Some(program), Some(name), Some(pid)) = (&client.program, client.program_name(), client.pid) {
        let mut process = Map::new();
        process.insert("pid".to_owned(), json!(pid));
        process.insert("name".to_owned(), json!(name));
        process.insert("file".to_owned(), file(program, name));
        process.extend(attribute("working_directory", client.folder.as_ref()));
        actor.insert("process".to_owned(), Value::Object(process));
    }
    if let Some(uid) = client.uid {
        actor.insert("user".to_owned(), json!({"uid": uid.to_string()}));
    }
    if let Some(grant) = &client.grant {
        actor.insert("session".to_owned(), json!({"uid": grant}));
    }
    if let Some(workload) = &client.workload {
        let session = json!({"uid": workload.subject, "issuer": workload.issuer});
        actor.insert("session".to_owned(), session);
    }
    if actor.is_empty() {
        actor.insert("app_name".to_owned(), json!("regauth"));
    }
    Value::Object(actor)
}

fn file(path: &str, name: &str) -> Value {
    json!({"name": name, "path": path, "type_id": 1})
}

fn url(exchange: &Exchange) -> Value {
    let (host, port) = host_and_port(exchange);
    let mut url = Map::new();
    url.extend(attribute("path", Some(exchange.path.as_deref().unwrap_or("/"))));
    url.extend(attribute("hostname", host));
    url.extend(attribute("port", port));
    Value::Object(url)
}

/// Attribute that is left out without a value.
fn attribute(name: &str, value: Option<impl Serialize>) -> Option<(String, Value)> {
    Some((name.to_owned(), json!(value?)))
}

fn destination(exchange: &Exchange) -> Value {
    let (host, port) = host_and_port(exchange);
    let mut endpoint = Map::new();
    let name = exchange
        .registry
        .as_ref()
        .map_or("unknown", |registry| registry.as_str());
    endpoint.insert("svc_name".to_owned(), json!(name));
    endpoint.extend(attribute("hostname", host));
    endpoint.extend(attribute("port", port));
    Value::Object(endpoint)
}

fn host_and_port(exchange: &Exchange) -> (Option<&str>, Option<u16>) {
    let Some(host) = exchange.host.as_deref() else {
        return (None, None);
    };
    match host.rsplit_once(':').map(|(name, port)| (name, port.parse())) {
        Some((name, Ok(port))) => (Some(name), Some(port)),
        _ => (Some(host), None),
    }
}

fn traffic(exchange: &Exchange) -> Value {
    let (up, down) = (exchange.bytes_up, exchange.bytes_down);
    json!({"bytes_out": up, "bytes_in": down, "bytes": up + down})
}

fn unmapped(exchange: &Exchange) -> Value {
    let mut unmapped = Map::new();
    unmapped.extend(attribute("operation", exchange.operation));
    unmapped.extend(attribute("generation", exchange.generation));
    unmapped.extend(attribute("parent", exchange.client.parent.as_ref()));
    Value::Object(unmapped)
}

/// Name of a variant, which serde writes into a field.
fn tag(value: &impl Serialize, field: &str) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.get(field).and_then(Value::as_str).unwrap_or("unknown").to_owned()
}

/// Fields of a variant.
fn without(value: &impl Serialize, field: &str) -> Value {
    let mut json = serde_json::to_value(value).unwrap_or_default();
    if let Some(fields) = json.as_object_mut() {
        fields.remove(field);
    }
    json
}

fn http_method(method: &str) -> (u64, &str) {
    let known = METHODS.iter().find(|(name, ..)| *name == method);
    known.map_or((OTHER, method), |(_, activity, caption)| (*activity, *caption))
}

/// Number and name of a class and of its category.
type Class = (u64, &'static str, u64, &'static str);

const VERSION: &str = "1.5.0";
const HTTP_ACTIVITY: Class = (4002, "HTTP Activity", 4, "Network Activity");
const API_ACTIVITY: Class = (6003, "API Activity", 6, "Application Activity");
const CREATE: u64 = 1;
const READ: u64 = 2;
const UPDATE: u64 = 3;
const DELETE: u64 = 4;
const OTHER: u64 = 99;
const INFORMATIONAL: u64 = 1;
const LOW: u64 = 2;
const METHODS: [(&str, u64, &str); 8] = [
    ("CONNECT", 1, "Connect"),
    ("DELETE", 2, "Delete"),
    ("GET", 3, "Get"),
    ("HEAD", 4, "Head"),
    ("OPTIONS", 5, "Options"),
    ("POST", 6, "Post"),
    ("PUT", 7, "Put"),
    ("TRACE", 8, "Trace"),
];

#[cfg(test)]
mod tests {
    use regauth_shared::event::{Confirmation, Confirmer};

    use super::*;

    #[test]
    fn a_refused_confirmation_is_a_failure_of_the_user_that_asked() {
        let confirmation = Confirmation {
            registry: Some("corp".parse().unwrap()),
            uid: Some(1000),
            effect: "opens writes".to_owned(),
            by: Confirmer::Polkit,
            confirmed: false,
            reason: None,
        };
        let event = event(
            7,
            &Event {
                time: 1_772_600_000_000,
                sequence: 1,
                kind: EventKind::Confirmation(confirmation),
            },
        );
        assert_eq!(event["actor"], json!({"user": {"uid": "1000"}}));
        assert_eq!(
            (&event["status_id"], &event["activity_name"]),
            (&json!(2), &json!("confirmation"))
        );
        assert_eq!(event["resources"], json!([{"name": "corp", "type": "registry"}]));
    }
}
