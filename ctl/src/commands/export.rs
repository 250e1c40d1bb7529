//! `regauthctl export`: writes a team's file, with definitions of registries and without tokens.

use std::path::{Path, PathBuf};

use regauth_shared::request::Export;
use regauth_shared::response::Exported;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};
use serde::Serialize;

use crate::client::Client;
use crate::output::{self, Report};
use crate::shell::quote_sh;
use crate::team_file::{self, ExportedFile};
use crate::text_file::TextFile;

/// Write registries to a file that a team can share
///
/// The file has everything but what belongs to you: tokens, your user names, and sources that are files, variables or
/// programs of this machine. A colleague adds the registries with `regauthctl add-registry --from regauth.toml` and types a
/// token. Put the file into a repository.
///
/// With --output, CA files are copied beside it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registries [default: all]
    #[arg(id = "name", value_name = "NAME")]
    names: Vec<RegistryName>,

    /// Write this file, and CA files beside it, instead of printing
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace files that exist
    #[arg(long, requires = "output")]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl export --output regauth.toml
  regauthctl export corp forge";

/// Result of an export.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ExportReport {
    /// Text of the file.
    toml: String,
    /// Files that were written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
    /// Parts that were left out, each with the next step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// Exports the registries.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    arguments.output.as_deref().map(require_folder).transpose()?;
    let exported: Exported = client.call(&Request::Export(Export { names: arguments.names }))?.answer;
    let mut file = team_file::write(&exported)?;
    let Some(path) = &arguments.output else {
        let copies = file
            .ca_files
            .iter()
            .map(|(name, _)| format!("put the CA file {name} beside the file; with --output FILE, this program does"));
        file.notes.extend(copies.collect::<Vec<_>>());
        output::print_to_stderr(&output::notes(&file.notes));
        return Ok(Report::from_value(&report(&file, Vec::new()), file.text)?.verbatim());
    };
    let files = write_files(path, &file, arguments.force)?;
    let count = output::count(exported.registries.len() as u64, "registry", "registries");
    let text = format!("Wrote {count} to {}.\n{}", files.join(", "), output::notes(&file.notes));
    Report::from_value(&report(&file, files), text)
}

fn report(file: &ExportedFile, files: Vec<String>) -> ExportReport {
    ExportReport {
        toml: file.text.clone(),
        files,
        notes: file.notes.clone(),
    }
}

/// Refuses a file in a folder that does not exist: its path may be mistyped.
fn require_folder(path: &Path) -> Result<(), ErrorBody> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(folder) = folder.filter(|folder| !folder.is_dir()) else {
        return Ok(());
    };
    let folder = folder.display().to_string();
    let hint = format!("create it, then repeat: mkdir -p {}", quote_sh(&folder));
    Err(ErrorBody::new(
        ErrorKind::NotFound,
        format!("there is no folder {folder}; nothing was written"),
    )
    .hint(hint))
}

/// Writes the file, and the CA files beside it.
fn write_files(path: &Path, file: &ExportedFile, force: bool) -> Result<Vec<String>, ErrorBody> {
    let ca_files = file
        .ca_files
        .iter()
        .map(|(name, text)| (path.with_file_name(name), text.as_str()));
    let texts: Vec<_> = ca_files.chain([(path.to_owned(), file.text.as_str())]).collect();
    let mut files = Vec::new();
    for (path, text) in &texts {
        let present = TextFile::read(path)?;
        if !force && present.text.as_deref().is_some_and(|present| present != *text) {
            let message = format!("{} exists already and differs", path.display());
            return Err(ErrorBody::new(ErrorKind::Exists, message).hint("look at it; --force replaces it"));
        }
        files.push(present.with_mode(SHARED_MODE));
    }
    for (file, (_, text)) in files.iter().zip(&texts) {
        file.replace(Some(text))?;
    }
    Ok(texts.iter().map(|(path, _)| path.display().to_string()).collect())
}

/// Anybody may read it: it has no secret.
const SHARED_MODE: u32 = 0o644;
