//! Sample crates with dependencies, packaged by real `cargo package` once per test run.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{cargo, exec};

/// Name, version and dependencies of a crate to package.
#[derive(Clone, Debug)]
pub struct CrateSpec {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Names of crates of the same batch that it depends on.
    pub dependencies: Vec<String>,
}

/// Packaged crate.
#[derive(Clone, Debug)]
pub struct PackagedCrate {
    /// Index entry.
    pub entry: Value,
    /// Contents of the `.crate` file.
    pub archive: Vec<u8>,
}

/// Version 1.0.0 of `anchor`, of `rope`, which depends on it, and of `ship`, which depends on `rope`.
pub fn chain() -> &'static [PackagedCrate] {
    static CHAIN: OnceLock<Vec<PackagedCrate>> = OnceLock::new();
    CHAIN.get_or_init(|| package(&[spec("anchor", &[]), spec("rope", &["anchor"]), spec("ship", &["rope"])]))
}

/// Packages a batch of crates, dependencies before their dependents.
pub fn package(specs: &[CrateSpec]) -> Vec<PackagedCrate> {
    let folder = TempDir::new().unwrap();
    let members: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    fs::write(
        folder.path().join("Cargo.toml"),
        format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n"),
    )
    .unwrap();
    for spec in specs {
        write(spec, specs, &folder.path().join(&spec.name));
    }
    let mut package = cargo::command(folder.path());
    package
        .args([
            "package",
            "--workspace",
            "--no-verify",
            "--offline",
            "--exclude-lockfile",
            "--quiet",
        ])
        .current_dir(folder.path());
    exec::run(&mut package).succeeds();
    let archives = folder.path().join("target/package");
    specs.iter().map(|spec| packaged(spec, specs, &archives)).collect()
}

/// Index entry for an archive, as the registry computes it for a published crate.
pub fn entry(name: &str, version: &str, dependencies: &[Value], features: &Value, archive: &[u8]) -> Value {
    let checksum: String = Sha256::digest(archive)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({
        "name": name, "vers": version, "deps": dependencies, "cksum": checksum,
        "features": features, "yanked": false, "v": 2,
    })
}

/// Spec of a crate of version 1.0.0.
pub fn spec(name: &str, dependencies: &[&str]) -> CrateSpec {
    CrateSpec {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        dependencies: dependencies.iter().copied().map(str::to_owned).collect(),
    }
}

/// Writes a library that calls its dependencies, so that a build needs them.
fn write(spec: &CrateSpec, batch: &[CrateSpec], folder: &Path) {
    let CrateSpec {
        name,
        version,
        dependencies,
    } = spec;
    let dependency_lines: String = dependencies
        .iter()
        .map(|other| {
            format!(
                "{other} = {{ path = \"../{other}\", version = \"{}\" }}\n",
                version_of(other, batch)
            )
        })
        .collect();
    let calls: String = dependencies
        .iter()
        .map(|other| format!("{other}::weigh() + "))
        .collect();
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(
        folder.join("Cargo.toml"),
        format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\nlicense = \"MIT\"\n\
             description = \"a part\"\nhomepage = \"https://corp.example\"\n[dependencies]\n{dependency_lines}"
        ),
    )
    .unwrap();
    fs::write(
        folder.join("src/lib.rs"),
        format!("pub fn weigh() -> u32 {{ {calls}1 }}\n"),
    )
    .unwrap();
}

fn packaged(spec: &CrateSpec, batch: &[CrateSpec], archives: &Path) -> PackagedCrate {
    let archive = fs::read(archives.join(format!("{}-{}.crate", spec.name, spec.version))).unwrap();
    let dependencies: Vec<Value> = spec
        .dependencies
        .iter()
        .map(|other| {
            json!({
                "name": other, "req": format!("^{}", version_of(other, batch)), "features": [], "optional": false,
                "default_features": true, "target": null, "kind": "normal", "registry": null, "package": null,
            })
        })
        .collect();
    PackagedCrate {
        entry: entry(&spec.name, &spec.version, &dependencies, &json!({}), &archive),
        archive,
    }
}

fn version_of<'a>(name: &str, batch: &'a [CrateSpec]) -> &'a str {
    let found = batch.iter().find(|spec| spec.name == name);
    &found.unwrap_or_else(|| panic!("{name} is not in the batch")).version
}
