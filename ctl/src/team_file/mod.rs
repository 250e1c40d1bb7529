//! A team's file, `regauth.toml`: definitions of registries without tokens, for every colleague.
//!
//! The file comes with a repository, so a stranger may have written it. [`location`] finds and reads it, within limits.
//! [`reader`] parses it and reports every problem with its line: it may name no command, path or variable.
//! [`certificates`] reads the CA files beside it. [`cargo_index`] takes a missing index from the project's own cargo
//! configuration. [`writer`] makes such a file.

mod cargo_index;
mod certificates;
mod location;
mod problems;
mod reader;
mod writer;

pub(crate) use cargo_index::{NamedIndex, index_in_project};
pub(crate) use certificates::{CaFile, forget as forget_ca_file, is_copy};
pub(crate) use location::{Location, Source, is_in_repository};
pub(crate) use reader::{Definition, read};
pub(crate) use writer::{ExportedFile, write};

/// Usual name of the file.
pub(crate) const FILE_NAME: &str = "regauth.toml";

/// Format that this release reads and writes.
const FORMAT: i64 = 1;

/// Longest file that is read, in bytes: a definition is a few lines.
const MAX_BYTES: u64 = 1024 * 1024;
