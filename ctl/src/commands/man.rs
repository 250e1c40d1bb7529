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
        return Ok(Report::script(complete(&String::from_utf8_lossy(&page), true)));
    };
    let cannot = || error::io(format!("cannot write to {}", folder.display()));
    fs::create_dir_all(folder).map_err(cannot())?;
    clap_mangen::generate_to(command, folder).map_err(cannot())?;
    for entry in fs::read_dir(folder).map_err(cannot())? {
        let file = entry.map_err(cannot())?.path();
        let is_main = file.file_name().is_some_and(|name| name == "regauthctl.1");
        let page = fs::read_to_string(&file).map_err(cannot())?;
        fs::write(&file, complete(&page, is_main)).map_err(cannot())?;
    }
    fs::write(folder.join("regauth.1"), ".so man1/regauthctl.1\n").map_err(cannot())?;
    Ok(Report::script(String::new()))
}

/// Names the section of the examples, and adds the sections that clap does not have.
fn complete(page: &str, is_main: bool) -> String {
    let page = page.replace(".SH EXTRA\n", ".SH EXAMPLES\n");
    let more = if is_main { FILES_AND_ENVIRONMENT } else { SEE_ALSO };
    format!("{}\n{more}", page.trim_end())
}

const FILES_AND_ENVIRONMENT: &str = r".SH FILES
.TP
.I ~/.config/regauth/config.toml
Registries and settings; see
.BR regauth\-config (5).
.TP
.I ~/.local/state/regauth/ca\-bundle.pem
The bundle for clients: the system's roots and regauth's authorities.
.TP
.I ~/.local/state/regauth/vault.age
The vault, if that is the store.
.TP
.I ~/.local/state/regauth/audit/
The audit record.
.TP
.I ~/.local/state/regauth/setup/
What `regauthctl setup \-\-undo` restores. It holds no secret.
.TP
.I $XDG_RUNTIME_DIR/regauth/control.sock
The control socket; for a daemon without that variable, ~/.local/state/regauth/run/control.sock.
.SH ENVIRONMENT
.TP
.B REGAUTH_HOME
One folder for everything, as \-\-home.
.TP
.B REGAUTH_BUNDLE
Path of the bundle, if clients of other users must read it.
.TP
.B XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR
Folders of the files above, on Linux.
.TP
.B CARGO_HOME, GIT_CONFIG_GLOBAL, PIP_CONFIG_FILE, npm_config_userconfig, ZDOTDIR, SHELL
Files that `regauthctl setup` edits.
.SH SEE ALSO
.BR regauthd (1),
.BR regauth\-config (5),
.BR cargo (1),
.BR git\-config (1)
";
const SEE_ALSO: &str = ".SH SEE ALSO\n.BR regauthctl (1),\n.BR regauth\\-config (5)\n";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// A command of its own, since the program's is private to `cli`.
    #[derive(clap::Parser)]
    #[command(name = "regauthctl", after_help = "Examples:\n  regauthctl list")]
    struct Program {}

    #[test]
    fn pages_have_examples_files_and_environment() {
        let mut page = Vec::new();
        Man::new(Program::command()).render(&mut page).unwrap();
        let page = complete(&String::from_utf8(page).unwrap(), true);
        for section in ["EXAMPLES", "FILES", "ENVIRONMENT", "SEE ALSO"] {
            assert_eq!(
                page.matches(&format!(".SH {section}\n")).count(),
                1,
                "{section}:\n{page}"
            );
        }
        assert!(!page.contains("EXTRA"));
    }
}
