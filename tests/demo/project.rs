//! Source files: the company's crate `greeting`, the project that depends on it, and cargo's configuration.

use std::fs;
use std::io;
use std::path::Path;

/// Text that the built program prints.
pub(crate) const GREETING: &str = "Greetings from a crate that only colleagues can download.";

/// Writes the sources of the company's crate into a new folder.
///
/// Its build script saves every environment variable that it can read, as a malicious dependency would.
pub(crate) fn write_crate(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), CRATE_MANIFEST)?;
    fs::write(folder.join("build.rs"), ENV_SAVING_BUILD_SCRIPT)?;
    let source =
        format!("//! A greeting.\n\n/// Greets.\npub fn greeting() -> &'static str {{\n    {GREETING:?}\n}}\n");
    fs::write(folder.join("src/lib.rs"), source)
}

/// Writes a project that depends on the crate.
pub(crate) fn write_project(folder: &Path, index: &str) -> io::Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    fs::create_dir_all(folder.join(".cargo"))?;
    fs::write(folder.join("Cargo.toml"), PROJECT_MANIFEST)?;
    fs::write(folder.join("src/main.rs"), PROJECT_SOURCE)?;
    fs::write(
        folder.join(".cargo/config.toml"),
        format!("{CREDENTIAL_PROVIDER}[registries]\ncorp = {{ index = \"sparse+{index}\" }}\n"),
    )
}

/// Setting that cargo requires for a private registry: it reads tokens from its credentials file and its environment.
const CREDENTIAL_PROVIDER: &str = "[registry]\nglobal-credential-providers = [\"cargo:token\"]\n";

const CRATE_MANIFEST: &str = r#"[package]
name = "greeting"
version = "1.0.0"
edition = "2021"
description = "A greeting"
license = "MIT"
repository = "https://localhost/greeting"
"#;

const ENV_SAVING_BUILD_SCRIPT: &str = r#"fn main() {
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let seen: String = std::env::vars_os().map(|(name, value)| format!("{name:?}={value:?}\n")).collect();
    std::fs::write(std::path::Path::new(&folder).join("seen.txt"), seen).expect("OUT_DIR is writable");
}
"#;

const PROJECT_MANIFEST: &str = r#"[package]
name = "hello"
version = "0.1.0"
edition = "2021"

[dependencies]
greeting = { version = "1", registry = "corp" }
"#;

const PROJECT_SOURCE: &str = r#"fn main() {
    println!("{}", greeting::greeting());
}
"#;
