//! `regauthctl forward`: a loopback proxy that adds a grant.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use super::run;
use crate::environment;
use crate::error;
use crate::forward::{Forwarder, GrantSource};
use crate::output::{self, Report};
use crate::shell::Shell;

/// Use a grant for clients that cannot show one, such as Java
///
/// Opens a proxy on 127.0.0.1 that adds the grant to each request and passes everything else unread. It serves only
/// processes of your own user, and needs Linux to tell them. It needs no daemon on this machine.
///
/// With a command, its JAVA_TOOL_OPTIONS name this proxy and the trust store, and the exit code is the command's. Without
/// one, the settings are printed, and the proxy runs until you stop it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// File with the proxy URL that `regauthctl grant` printed, read again for each connection [default: the environment
    /// variable HTTPS_PROXY holds the URL]
    #[arg(long, value_name = "FILE")]
    grant_file: Option<PathBuf>,

    /// The daemon's bundle; its trust store for Java is next to it, with the ending .jks [default: SSL_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Port of the proxy [default: a free one]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,

    /// The command and its arguments
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl forward --grant-file ~/grant --bundle ~/regauth/ca-bundle.pem \\
      -- mvn package
  regauthctl forward --grant-file ~/grant --bundle ~/regauth/ca-bundle.pem \\
      --port 9100";

/// Runs the forwarder, for a command or until a signal.
pub(crate) fn run(arguments: &Arguments, json: bool) -> Result<Report, ErrorBody> {
    // First, since without a grant no bundle helps.
    let grant = grant_source(arguments)?;
    let bundle = arguments
        .bundle
        .clone()
        .or_else(|| Some(std::env::var_os("SSL_CERT_FILE")?.into()));
    let bundle = bundle.ok_or_else(|| {
        error::usage("the bundle is not known").hint("--bundle FILE, with a copy of the daemon's bundle and its .jks")
    })?;
    let bundle = std::path::absolute(&bundle).map_err(error::io(format!("cannot find {}", bundle.display())))?;
    check_trust_store(&bundle.with_extension("jks"))?;
    let forwarder = Forwarder::start(grant, arguments.port)?;
    let current = |name: &str| std::env::var(name).ok();
    let options = environment::java_options(&forwarder.url(), &bundle, current).ok_or_else(|| {
        error::usage("Java cannot read a trust store whose path has a blank").hint("copy it to another folder")
    })?;
    if !arguments.command.is_empty() {
        return run::run_command(&arguments.command, vec![options]).map(Report::silent);
    }
    print_settings(&forwarder, options, json)?;
    forwarder.wait();
    Err(error::failed("the forwarder has ended"))
}

fn grant_source(arguments: &Arguments) -> Result<GrantSource, ErrorBody> {
    if let Some(file) = &arguments.grant_file {
        return Ok(GrantSource::File(file.clone()));
    }
    let url = ["HTTPS_PROXY", "https_proxy"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    url.map(GrantSource::Url).ok_or_else(|| {
        error::usage("there is no grant").hint("--grant-file FILE, with the proxy URL that `regauthctl grant` prints")
    })
}

fn check_trust_store(file: &Path) -> Result<(), ErrorBody> {
    let opened = std::fs::File::open(file).map_err(error::io(format!("cannot read {}", file.display())));
    opened.map(drop).map_err(|error| {
        error.hint("copy ca-bundle.jks from the daemon's state folder too; `regauthctl status` shows the bundle's path")
    })
}

/// Prints the settings at once: the forwarder's own end comes by a signal.
fn print_settings(forwarder: &Forwarder, options: environment::Variable, json: bool) -> Result<(), ErrorBody> {
    let variables = [options];
    let text = format!(
        "# Forwarding at {}. For Java in another shell:\n{}",
        forwarder.url(),
        Shell::of_caller().script(&variables)
    );
    let report = Report::from_value(&variables.into_iter().collect::<BTreeMap<_, _>>(), text)?;
    output::finish(Ok(report.verbatim()), json);
    Ok(())
}
