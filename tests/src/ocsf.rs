//! Validation of OCSF events against the published schema.

use std::path::Path;

use crate::exec::{self, Output};
use crate::programs::tool;

/// Validates events, one JSON object a line. The output names each fault; it fails if there is one, or no event.
pub fn validate(events: &str) -> Output {
    let mut python = exec::command(tool("python/bin/python3"), Path::new("/nonexistent"));
    exec::run_with_input(python.args(["-c", SCRIPT]), events)
}

const SCRIPT: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

schemas = {}
def validator(event):
    version, profiles = event["metadata"]["version"], event["metadata"].get("profiles", [])
    if version not in schemas:
        schemas[version] = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
    name = schemas[version].lookup_class_name_from_uid(event["class_uid"])
    return name, Draft202012Validator(schemas[version].get_class_schema(name, profiles))

faults = number = 0
for number, line in enumerate(sys.stdin, 1):
    event = json.loads(line)
    name, checker = validator(event)
    print(f"event {number}: {name}")
    for error in checker.iter_errors(event):
        print(f"event {number}: {error.json_path}: {error.message[:200]}")
        faults += 1
sys.exit(1 if faults or not number else 0)
"#;
