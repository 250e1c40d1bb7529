//! A request as a service received it.

use std::collections::BTreeMap;

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Uri};
use serde_json::Value;

/// Request with the whole body.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

impl Received {
    pub(super) fn new(head: &Parts, body: &[u8]) -> Self {
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            body: body.to_vec(),
        }
    }

    /// True for this method and path.
    pub(super) fn is(&self, method: &Method, path: &str) -> bool {
        self.method == *method && self.path == path
    }

    /// Value of a header; empty if it is missing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Bearer token; empty if there is none.
    pub(super) fn bearer(&self) -> &str {
        self.header("authorization").strip_prefix("Bearer ").unwrap_or_default()
    }

    /// The JSON document.
    pub(super) fn json(&self) -> Result<Value, String> {
        if self.header("content-type") != "application/json" {
            return Err("the body is not application/json".to_owned());
        }
        serde_json::from_slice(&self.body).map_err(|error| error.to_string())
    }

    /// The form's fields, each once.
    pub(super) fn form(&self) -> Result<BTreeMap<String, String>, String> {
        if self.header("content-type") != "application/x-www-form-urlencoded" {
            return Err("the body is not a form".to_owned());
        }
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(&self.body).into_owned() {
            if fields.insert(name.clone(), value).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(fields)
    }

    /// The query's pairs.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect()
    }

    /// Body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
