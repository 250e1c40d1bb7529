//! JSON text of a request's event, written from its record.
//!
//! `watch` and the record of every request need this text for each request. By way of [`event::Exchange`], it would cost ten
//! allocations. The text is the one that serde makes of that type.
//!
//! [`event::Exchange`]: regauth_shared::event::Exchange

use std::net::IpAddr;
use std::time::Duration;

use http::Method;
use http::uri::Authority;

use crate::bearer::Bearer;
use crate::events::caller::Caller;
use crate::events::record::{MAX_METHOD, RequestRecord, cut, micros};
use crate::policy::Operation;

/// The event of a request as one line of JSON. `time` is in milliseconds since 1970.
pub(super) fn request_line(time: u64, sequence: u64, record: &RequestRecord) -> String {
    let mut object = Object::begin();
    object.number("time", time);
    object.number("sequence", sequence);
    let is_refusal = record.code.is_some();
    object.plain("event", if is_refusal { "refusal" } else { "request" });
    object.text("registry", record.registry.as_ref().map(|name| name.as_str()));
    object.text("host", record.host.as_ref().map(Authority::as_str));
    object.object("client", |client| write_client(client, record));
    if let Some(operation) = record.operation {
        object.plain("operation", operation_name(operation));
    }
    let method = record.method.as_ref().map(Method::as_str);
    object.text("method", method.map(|method| cut(method, MAX_METHOD)));
    object.text("path", record.path.as_text().as_deref());
    object.optional_number("status", record.status.map(u64::from));
    object.text("code", record.code);
    object.optional_number("generation", record.generation);
    object.number("bytes-up", record.bytes_up);
    object.number("bytes-down", record.bytes_down);
    object.number("total-us", micros(record.total));
    object.duration("first-byte-us", record.first_byte);
    object.duration("own-us", record.own);
    if let Some(reused) = record.reused {
        object.raw("reused", if reused { "true" } else { "false" });
    }
    object.end()
}

fn write_client(client: &mut Object, record: &RequestRecord) {
    let caller: &Caller = &record.caller;
    let program = caller.program.get().and_then(Option::as_ref);
    client.optional_number("uid", caller.uid.map(u64::from));
    client.text("address", caller.address.as_ref().map(IpAddr::to_string).as_deref());
    let bearer = record.bearer.as_ref();
    client.text("grant", bearer.and_then(Bearer::grant_id));
    if let Some(identity) = bearer.and_then(Bearer::workload) {
        client.object("workload", |workload| {
            workload.text("issuer", Some(&identity.issuer));
            workload.text("subject", Some(&identity.subject));
            workload.text("repository", identity.repository.as_deref());
        });
    }
    client.optional_number("pid", program.map(|program| u64::from(program.pid)));
    client.text("program", program.map(|program| program.path.as_str()));
    client.text("parent", program.and_then(|program| program.parent.as_deref()));
    client.text("folder", program.and_then(|program| program.folder.as_deref()));
}

fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Read => "read",
        Operation::Write => "write",
    }
}

/// JSON object in the making. A field without a value is left out.
struct Object {
    text: String,
    is_empty: bool,
}

impl Object {
    fn begin() -> Self {
        let mut text = String::with_capacity(TYPICAL_LENGTH);
        text.push('{');
        Self { text, is_empty: true }
    }

    fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.is_empty) {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// Field whose value is JSON already.
    fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.text.push_str(json);
    }

    fn number(&mut self, name: &str, number: u64) {
        self.raw(name, itoa::Buffer::new().format(number));
    }

    fn optional_number(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(name, number);
        }
    }

    fn duration(&mut self, name: &str, duration: Option<Duration>) {
        self.optional_number(name, duration.map(micros));
    }

    /// Field with a text that needs no escapes.
    fn plain(&mut self, name: &str, text: &str) {
        self.name(name);
        self.text.push('"');
        self.text.push_str(text);
        self.text.push('"');
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        let Some(text) = text else { return };
        let needs_escape = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        if text.bytes().any(needs_escape) {
            // A text is always JSON, so serialization cannot fail.
            self.raw(name, &serde_json::to_string(text).unwrap_or_default());
        } else {
            self.plain(name, text);
        }
    }

    fn object(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.raw(name, "{");
        self.is_empty = true;
        write(self);
        self.is_empty = false;
        self.text.push('}');
    }
}

/// Bytes of most events.
const TYPICAL_LENGTH: usize = 640;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use regauth_shared::event::Event;
    use tokio::sync::SetOnce;

    use super::*;
    use crate::events::caller::Program;
    use crate::events::record::PathText;
    use crate::workload::Workload;

    fn caller(program: Option<Program>) -> Arc<Caller> {
        Arc::new(Caller {
            uid: Some(1000),
            program: SetOnce::new_with(Some(program)),
            ..Caller::default()
        })
    }

    fn full_record(path: &str, folder: &str) -> RequestRecord {
        let program = Program {
            pid: 4711,
            path: "/usr/bin/cargo".to_owned(),
            parent: Some("/usr/bin/\"bash\"".to_owned()),
            folder: Some(folder.to_owned()),
        };
        RequestRecord {
            total: Duration::from_micros(1234),
            first_byte: Some(Duration::from_micros(1000)),
            own: Some(Duration::from_micros(17)),
            registry: Some("corp".parse().unwrap()),
            host: Some(Authority::from_static("crates.example:8443")),
            method: Some(Method::from_bytes(&[b'X'; 40]).unwrap()),
            path: PathText::new(path),
            operation: Some(Operation::Read),
            status: Some(200),
            generation: Some(3),
            bytes_up: 0,
            bytes_down: u64::MAX,
            reused: Some(true),
            ..RequestRecord::begin(caller(Some(program)), Instant::now())
        }
    }

    #[test]
    fn the_text_is_the_one_that_serde_makes() {
        let long = "/ü".repeat(200);
        let refusal = RequestRecord {
            code: Some("write-denied"),
            operation: Some(Operation::Write),
            ..full_record("/", "/")
        };
        let workload = RequestRecord {
            bearer: Some(Bearer::Workload(Arc::new(Workload::without_rules(
                "https://issuer.example",
                "repo:\"corp\"/plans",
            )))),
            ..full_record("/", "/")
        };
        let from_afar = Caller {
            address: Some("2001:db8::1".parse().unwrap()),
            ..Caller::default()
        };
        for record in [
            full_record("/index/se/rd/serde", "/home/a/project"),
            full_record(&long, "/tmp/line\nfeed\tand \u{1b}[31m \\ \u{202e} ü"),
            refusal,
            workload,
            RequestRecord::begin(caller(None), Instant::now()),
            RequestRecord::begin(Arc::new(from_afar), Instant::now()),
        ] {
            let event = Event {
                time: 1_772_600_000_000,
                sequence: 17,
                kind: record.to_event(),
            };
            let line = request_line(event.time, event.sequence, &record);
            assert_eq!(line, serde_json::to_string(&event).unwrap());
        }
    }
}
