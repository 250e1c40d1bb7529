//! Real Helm, as a library for Python: renders and lints the chart without a cluster.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exec::{self, Output};
use crate::programs::tool;

/// Rendered chart.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Documents in the order of their files.
    pub documents: Vec<Value>,
    /// Warnings and errors of Helm's own checks.
    pub lint: Vec<Value>,
}

impl Rendered {
    /// The document of a kind.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    pub fn only(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}: {:#?}", self.documents);
        all[0]
    }

    /// All documents of a kind.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        self.documents
            .iter()
            .filter(|document| document["kind"] == kind)
            .collect()
    }
}

/// Folder of the chart.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/helm/regauth")
}

/// Renders the chart with these values.
///
/// # Panics
/// When Helm refuses; the message has its reason.
#[track_caller]
pub fn render(values: &Value) -> Rendered {
    let output = try_render(values).succeeds();
    let rendered: Value = serde_json::from_str(&output.stdout).unwrap();
    let files = rendered["documents"].as_object().unwrap().values();
    Rendered {
        documents: files
            .flat_map(|documents| documents.as_array().unwrap().clone())
            .collect(),
        lint: rendered["lint"].as_array().unwrap().clone(),
    }
}

/// Renders the chart with values that may be refused.
pub fn try_render(values: &Value) -> Output {
    let folder = tempfile::TempDir::new().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/helm_render.py");
    let mut python = exec::command(tool("helm/bin/python"), folder.path());
    exec::run_with_input(python.arg(script).arg(chart()), values.to_string())
}
