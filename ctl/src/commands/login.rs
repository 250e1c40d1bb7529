//! `regauthctl login`: logs a person in with a code, for a registry whose tokens come from such a login.

use std::io::IsTerminal;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use regauth_shared::request::ByName;
use regauth_shared::response::{DeviceLogin, DeviceLoginState, RegistryView, Rotated};
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::{registry_text, rotate};
use crate::client::Client;
use crate::error;
use crate::output::{self, Report};
use crate::program::on_path;
use crate::token::TokenFlags;

/// Log in to a registry: type its token, or confirm a code
///
/// For a registry whose token is in the store, asks for a token without echo and lets the daemon verify it first. A token
/// that the registry rejects changes nothing. Clients need no restart.
///
/// For a registry whose source has identity=device, shows a code and the page that asks for it, opens the page on a desktop,
/// and waits until you have confirmed. The daemon keeps the refresh token in its store and gets tokens with it from then on.
///
/// For a token from a file or a program, the daemon reads the file or runs the program again.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// Do not open a browser
    #[arg(long)]
    no_browser: bool,

    /// Store the token without asking the registry about it
    #[arg(long)]
    no_verify: bool,

    #[command(flatten)]
    token: TokenFlags,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl login corp
  pass show corp | regauthctl login corp --token-stdin
  regauthctl add-registry corp --index sparse+https://corp.example/index/ \\
      --source azure:tenant=corp.example,client-id=…,identity=device
  regauthctl login corp --no-browser";

/// Logs in.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let Arguments {
        name,
        no_browser,
        no_verify,
        token,
    } = arguments;
    let view: RegistryView = client.call(&Request::Show(ByName { name: name.clone() }))?.answer;
    if REPLACEABLE_SOURCES.iter().any(|source| view.source.starts_with(source)) {
        return rotate::with_token(name, no_verify, token, client);
    }
    if token.is_given() {
        let error = error::usage(format!(
            "{name} has no token in the store, but the source {}",
            view.source
        ));
        return Err(error.hint(format!("`regauthctl login {name}` shows a code; it takes no token")));
    }
    let by_name = || ByName { name: name.clone() };
    let login = client.call::<DeviceLogin>(&Request::DeviceLogin(by_name()))?.answer;
    show(&login, no_browser);
    let deadline = Instant::now() + Duration::from_secs(login.expires_in);
    let mut interval = login.interval;
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(interval.clamp(1, MAX_INTERVAL)));
        let state = client
            .call::<DeviceLoginState>(&Request::DeviceLoginPoll(by_name()))?
            .answer;
        if let Some(rotated) = &state.rotated {
            return Report::from_value(rotated, describe(rotated));
        }
        interval = state.interval.unwrap_or(interval);
    }
    let error = error::failed("the code has ended before it was confirmed");
    Err(error.hint(format!("`regauthctl login {name}` shows a new one")))
}

/// Shows code and page on stderr: stdout is for the result.
fn show(login: &DeviceLogin, no_browser: bool) {
    let DeviceLogin {
        user_code,
        verification_url,
        ..
    } = login;
    let [page, code] = [verification_url, user_code].map(|text| output::one_line(text));
    output::print_to_stderr(&format!("Open {page} and enter the code {code}\n"));
    if !no_browser && std::io::stderr().is_terminal() {
        open(login.complete_url.as_deref().unwrap_or(verification_url));
    }
}

/// Opens a page in the browser of the desktop, if there is one. The page was shown, so a failure needs no message.
fn open(url: &str) {
    let has_desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    let program = match cfg!(target_os = "macos") {
        true => Some("open"),
        false => has_desktop.then_some("xdg-open"),
    };
    let Some(program) = program.filter(|program| on_path(program).is_some()) else {
        return;
    };
    let mut browser = Command::new(program);
    browser
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // It may run as long as the browser does.
    std::thread::spawn(move || browser.status());
}

fn describe(rotated: &Rotated) -> String {
    format!(
        "Logged in to {}; {}.\n",
        rotated.name,
        registry_text::verification(rotated.verified, rotated.public)
    )
}

/// Beginnings of the sources for which a login is a rotation: the store's, and those that the daemon asks again by itself.
const REPLACEABLE_SOURCES: [&str; 5] = ["store", "file:", "command:", "env:", "credential-of:"];
/// Longest pause between two polls, in seconds.
const MAX_INTERVAL: u64 = 60;
