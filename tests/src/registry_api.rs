//! Web API of a registry (Cargo book, "Web API"): publish, yank, unyank, owners, search; and a sink for uploads of any
//! size. nginx in front has checked the token.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::crate_index::CrateIndex;
use crate::crates::{self, PackagedCrate};
use crate::http_server::{Handler, HttpServer};

/// Serves the API for an index on a Unix socket. Paths are relative to `api` in the index's config.json.
pub fn serve(socket: &Path, crate_index: Arc<CrateIndex>) -> HttpServer {
    HttpServer::on_unix_socket(socket, Api { crate_index })
}

#[derive(Clone)]
struct Api {
    crate_index: Arc<CrateIndex>,
}

impl Handler for Api {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let answer = match (&head.method, words.as_slice()) {
            (&Method::PUT | &Method::POST, ["upload"]) => return digest(body).await,
            (&Method::PUT, ["api", "v1", "crates", "new"]) => self.publish(&read(body).await),
            (&Method::DELETE, ["api", "v1", "crates", name, version, "yank"]) => self.yank(name, version, true),
            (&Method::PUT, ["api", "v1", "crates", name, version, "unyank"]) => self.yank(name, version, false),
            (&Method::GET, ["api", "v1", "crates", name, "owners"]) => self.owners(name),
            (&Method::PUT | &Method::DELETE, ["api", "v1", "crates", name, "owners"]) => {
                self.change_owners(name, &read(body).await, head.method == Method::PUT)
            }
            (&Method::GET, ["api", "v1", "crates"]) => self.search(head.uri.query().unwrap_or_default()),
            _ => Err("no such path"),
        };
        respond(answer)
    }
}

type Answer = Result<Value, &'static str>;

impl Api {
    fn publish(&self, body: &[u8]) -> Answer {
        let (manifest, rest) = split_frame(body).ok_or("the upload ends early")?;
        let (archive, _) = split_frame(rest).ok_or("the upload ends early")?;
        let manifest: Value = serde_json::from_slice(manifest).map_err(|_| "the manifest is no JSON")?;
        let dependencies: Vec<Value> = manifest["deps"]
            .as_array()
            .into_iter()
            .flatten()
            .map(dependency)
            .collect();
        let [name, version] = ["name", "vers"].map(|key| manifest[key].as_str().unwrap_or_default());
        let entry = crates::entry(name, version, &dependencies, &manifest["features"], archive);
        let added = self.crate_index.add(&PackagedCrate {
            entry,
            archive: archive.to_owned(),
        });
        let nothing: [&str; 0] = [];
        let warnings = json!({ "invalid_categories": nothing, "invalid_badges": nothing, "other": nothing });
        added
            .then(|| json!({ "warnings": warnings }))
            .ok_or("this version has been published already")
    }

    fn yank(&self, name: &str, version: &str, yanked: bool) -> Answer {
        let found = self.crate_index.set_yanked(name, version, yanked);
        found.then(|| json!({ "ok": true })).ok_or("no such version")
    }

    fn owners(&self, name: &str) -> Answer {
        let owners = self.crate_index.owners(name).ok_or("no such crate")?;
        let users: Vec<Value> = owners
            .iter()
            .zip(1..)
            .map(|(login, id)| json!({ "id": id, "login": login, "name": login }))
            .collect();
        Ok(json!({ "users": users }))
    }

    fn change_owners(&self, name: &str, body: &[u8], add: bool) -> Answer {
        let body: Value = serde_json::from_slice(body).map_err(|_| "the owners are no JSON")?;
        let logins: Vec<String> = body["users"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        self.crate_index.change_owners(name, &logins, add);
        Ok(json!({ "ok": true, "msg": "the owners have been changed" }))
    }

    fn search(&self, query: &str) -> Answer {
        let text = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("q="))
            .unwrap_or_default();
        let found = self.crate_index.search(text);
        let total = found.len();
        let crates: Vec<Value> = found
            .into_iter()
            .map(|(name, version)| json!({ "name": name, "max_version": version, "description": "a part" }))
            .collect();
        Ok(json!({ "crates": crates, "meta": { "total": total } }))
    }
}

/// Encodes a response. Errors have status 400, as at crates.io.
fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let (status, value) = match answer {
        Ok(value) => (StatusCode::OK, value),
        Err(detail) => (StatusCode::BAD_REQUEST, json!({ "errors": [{ "detail": detail }] })),
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    response.body(Full::from(value.to_string())).unwrap()
}

/// Answers an upload with its length and SHA-256, without keeping the body.
async fn digest(mut body: Incoming) -> Response<Full<Bytes>> {
    let (mut length, mut digest) = (0_u64, Sha256::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return respond(Err("the upload ends early"));
        };
        if let Some(data) = frame.data_ref() {
            length += data.len() as u64;
            digest.update(data);
        }
    }
    let checksum: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    respond(Ok(json!({ "length": length, "sha256": checksum })))
}

async fn read(body: Incoming) -> Bytes {
    body.collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default()
}

/// Splits off a little-endian length and that many bytes, as `cargo publish` frames them.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Converts a dependency from the format of publish to that of the index.
fn dependency(published: &Value) -> Value {
    let renamed = published["explicit_name_in_toml"].as_str();
    let mut entry = published.clone();
    entry["req"] = published["version_req"].clone();
    entry["name"] = renamed.map_or_else(|| published["name"].clone(), Value::from);
    entry["package"] = renamed.map_or(Value::Null, |_| published["name"].clone());
    let fields = entry.as_object_mut().unwrap();
    fields.retain(|key, _| !["version_req", "explicit_name_in_toml"].contains(&key.as_str()));
    entry
}
