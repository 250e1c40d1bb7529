//! `regauthctl man`.

use std::fs;
use std::path::PathBuf;

use clap_mangen::Man;
use regauth_shared::ErrorBody;

use crate::error;
use crate::output::Report;

/// Print the manual page, or write one for every verb
///
/// The pages have the same text as --help.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Write regauthctl.1 and a page for every verb into this folder
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl man --folder target/man

  regauthctl man | man -l -                 to read it";

/// Prints the page of regauthctl, or writes all pages.
pub(crate) fn run(arguments: &Arguments, command: clap::Command) -> Result<Report, ErrorBody> {
    let Some(folder) = &arguments.folder else {
        let mut page = Vec::new();
        let written = Man::new(command).render(&mut page);
        written.map_err(error::io("cannot write the page"))?;
        return Ok(Report::script(String::from_utf8_lossy(&page).into_owned()));
    };
    let cannot = || error::io(format!("cannot write to {}", folder.display()));
    fs::create_dir_all(folder).map_err(cannot())?;
    clap_mangen::generate_to(command, folder).map_err(cannot())?;
    Ok(Report::script(String::new()))
}
