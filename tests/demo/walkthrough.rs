//! The eight steps of the demo, from top to bottom. Each function is one step: it explains, runs and checks.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use regauth_shared::paths::Folders;
use regauth_shared::response::Status;

use crate::command::{CommandResult, ShellCommand};
use crate::daemon::Daemon;
use crate::leak_report;
use crate::leak_scan::LeakScan;
use crate::programs::Programs;
use crate::project;
use crate::registry::{AccessRules, Crate, Registry};
use crate::request_checks::{all_served_with, remove_unauthenticated_probe, show_requests};
use crate::sandbox::Sandbox;
use crate::tokens::{self, Tokens, USERNAME};

/// Runs every step.
///
/// # Errors
/// The first step with an unexpected result.
pub(crate) async fn run(sandbox: &mut Sandbox) -> anyhow::Result<()> {
    introduce(sandbox)?;
    let programs = Programs::build(sandbox.terminal).await?;
    let fixtures = start_private_registry(sandbox, programs).await?;
    show_build_without_token_fails(sandbox, &fixtures).await?;
    let daemon = start_daemon(sandbox, &fixtures).await?;
    add_registry(sandbox, &fixtures).await?;
    let first_build = build_through_proxy(sandbox, &fixtures).await?;
    let second_build = rotate_token(sandbox, &fixtures).await?;
    search_for_tokens(sandbox, &fixtures, &daemon).await?;
    summarize(sandbox, &fixtures, daemon, [first_build, second_build]).await
}

/// The programs, the registry and the tokens that every step uses.
struct Fixtures {
    programs: Programs,
    registry: Registry,
    tokens: Tokens,
}

fn introduce(sandbox: &Sandbox) -> anyhow::Result<()> {
    let terminal = sandbox.terminal;
    terminal.title("regauth: cargo builds from a private registry and never holds the token")?;
    terminal.paragraph(
        "This demo starts a private registry, the daemon (regauthd) and real cargo builds on this machine's loopback \
         interface. All files are in one temporary folder, which the demo removes at the end. The demo does not touch \
         your own cargo, keychain or settings.",
    )?;
    terminal.command(&format!(
        "export DEMO={}\nexport CARGO_HOME=$DEMO/cargo-home REGAUTH_HOME=$DEMO/regauth",
        sandbox.folder().display()
    ))?;
    terminal.paragraph("Build regauthd and regauthctl. The first build takes minutes, later builds take seconds.")?;
    Ok(())
}

async fn start_private_registry(sandbox: &mut Sandbox, programs: Programs) -> anyhow::Result<Fixtures> {
    let terminal = sandbox.terminal;
    terminal.heading(1, "Start a private registry")?;
    terminal.paragraph(
        "The registry has one crate, `greeting`. Its build script saves every environment variable that it can read, \
         as a malicious dependency would. Step 7 searches that file for the token.",
    )?;
    let folder = sandbox.folder().join("greeting");
    project::write_crate(&folder)?;
    ShellCommand::cargo(&folder, "package --no-verify")
        .run(sandbox)
        .await?
        .ok()?;
    let greeting = Crate {
        name: "greeting".to_owned(),
        version: "1.0.0".to_owned(),
        archive: fs::read(folder.join("target/package/greeting-1.0.0.crate"))?,
    };
    let tokens = Tokens::generate();
    let rules = AccessRules {
        authorization: tokens.first_authorization(),
        auth_required: false,
    };
    let registry = Registry::start(rules, vec![greeting]).await?;
    fs::write(sandbox.company_ca(), registry.ca_pem())?;
    terminal.paragraph(&format!(
        "The registry listens on {}. The company's own CA signed its certificate. Every path requires HTTP Basic \
         authentication with a user name and a token.",
        registry.index()
    ))?;
    Ok(Fixtures {
        programs,
        registry,
        tokens,
    })
}

async fn show_build_without_token_fails(sandbox: &mut Sandbox, fixtures: &Fixtures) -> anyhow::Result<()> {
    let terminal = sandbox.terminal;
    terminal.heading(2, "Build without a token: the registry answers 401")?;
    terminal.paragraph("The project depends on `greeting`. cargo trusts the company's CA and has no token.")?;
    project::write_project(&sandbox.project(), &fixtures.registry.index())?;
    show_file(sandbox, "project/.cargo/config.toml")?;
    let trust = format!("[http]\ncainfo = \"{}\"\n", sandbox.company_ca().display());
    fs::write(sandbox.cargo_home().join("config.toml"), trust)?;
    show_file(sandbox, "cargo-home/config.toml")?;
    let build = ShellCommand::cargo(&sandbox.project(), "build").run(sandbox).await?;
    ensure!(
        !build.success,
        "the build succeeded without a token, so the registry is not private"
    );
    terminal.paragraph(
        "The registry answered 401, which proves that it is private. Without regauth, the fix is a token in a file or \
         a variable that every build script can read. The requests that the registry received:",
    )?;
    let requests = show_requests(sandbox.terminal, &fixtures.registry, &fixtures.tokens)?;
    ensure!(
        !requests.is_empty(),
        "cargo failed before it sent a request to the registry"
    );
    ensure!(
        requests.iter().all(|request| request.status == 401),
        "the registry accepted a request without a token"
    );
    Ok(())
}

async fn start_daemon(sandbox: &mut Sandbox, fixtures: &Fixtures) -> anyhow::Result<Daemon> {
    let terminal = sandbox.terminal;
    terminal.heading(3, "Start the daemon")?;
    terminal.paragraph(
        "By default, regauthd keeps tokens in the operating system's keychain. The demo uses an encrypted file instead, \
         so that your keychain stays untouched.",
    )?;
    let daemon = Daemon::start(sandbox, &fixtures.programs.regauthd).await?;
    terminal.paragraph(&format!(
        "regauthd was ready after {}. It is a local proxy, with a CA bundle for its clients:",
        milliseconds(daemon.ready_after)
    ))?;
    let status = status(sandbox, fixtures).await?;
    terminal.figure("proxy for cargo", &status.proxy)?;
    terminal.figure("CA bundle for cargo", &sandbox.shorten(&status.bundle))?;
    terminal.figure("token store", &status.store.kind)?;
    terminal.figure("store protection", &sandbox.shorten(&status.store.protection))?;
    Ok(daemon)
}

async fn add_registry(sandbox: &mut Sandbox, fixtures: &Fixtures) -> anyhow::Result<()> {
    let terminal = sandbox.terminal;
    terminal.heading(4, "Add the registry and give regauthd the token, once")?;
    terminal.paragraph("The token goes to regauthctl's stdin, never into an argument or a file.")?;
    let arguments = format!(
        "add-registry corp --index sparse+{} --scheme basic --username {USERNAME} --ca-file {} --token-stdin",
        fixtures.registry.index(),
        sandbox.company_ca().display()
    );
    let add = ShellCommand::new(&fixtures.programs.regauthctl, sandbox.folder(), &arguments);
    add.token(tokens::FIRST_VARIABLE, &fixtures.tokens.first)
        .run(sandbox)
        .await?
        .ok()?;
    terminal.paragraph(
        "regauthd checked the token before it stored it. It sent one request with the token and one without. The two \
         different answers prove that the registry accepts this token and does not serve everybody:",
    )?;
    let requests = show_requests(sandbox.terminal, &fixtures.registry, &fixtures.tokens)?;
    let authenticated = remove_unauthenticated_probe(requests)?;
    ensure!(
        all_served_with(&authenticated, &fixtures.tokens.first_authorization()),
        "regauthd did not check the token with the registry"
    );
    Ok(())
}

async fn build_through_proxy(sandbox: &mut Sandbox, fixtures: &Fixtures) -> anyhow::Result<Duration> {
    let terminal = sandbox.terminal;
    terminal.heading(5, "Build again through the proxy: it succeeds")?;
    terminal.paragraph("cargo's configuration names the proxy and the CA bundle. It contains no token:")?;
    let status = status(sandbox, fixtures).await?;
    let settings = format!(
        "[http]\nproxy = \"{}\"\ncainfo = \"{}\"\n[net]\ngit-fetch-with-cli = true\n",
        status.proxy, status.bundle
    );
    fs::write(sandbox.cargo_home().join("config.toml"), settings)?;
    show_file(sandbox, "cargo-home/config.toml")?;
    let build = build_and_run_program(sandbox).await?;
    terminal.paragraph(
        "The registry received cargo's requests with the token. cargo does not have that token, so regauthd added it \
         on the way:",
    )?;
    let requests = show_requests(sandbox.terminal, &fixtures.registry, &fixtures.tokens)?;
    ensure!(
        all_served_with(&requests, &fixtures.tokens.first_authorization()),
        "the registry received a request without the token or refused one"
    );
    Ok(build.duration)
}

async fn rotate_token(sandbox: &mut Sandbox, fixtures: &Fixtures) -> anyhow::Result<Duration> {
    let terminal = sandbox.terminal;
    terminal.heading(6, "Rotate the token without editing a file")?;
    replace_token_at_registry(sandbox, fixtures).await?;
    let rotate = ShellCommand::new(
        &fixtures.programs.regauthctl,
        sandbox.folder(),
        "rotate corp --token-stdin",
    );
    rotate
        .token(tokens::SECOND_VARIABLE, &fixtures.tokens.second)
        .run(sandbox)
        .await?
        .ok()?;

    terminal.paragraph(
        "Build again from scratch: without cargo's cache and without the target folder, so that cargo downloads \
         everything again.",
    )?;
    terminal.command("rm -r $CARGO_HOME/registry target")?;
    fs::remove_dir_all(sandbox.cargo_home().join("registry"))?;
    fs::remove_dir_all(sandbox.project().join("target"))?;
    let build = build_and_run_program(sandbox).await?;
    terminal.paragraph(
        "The registry received regauthd's check of the new token (with and without it), then cargo's requests. All of \
         cargo's requests had the new token, and cargo's configuration did not change:",
    )?;
    let requests =
        remove_unauthenticated_probe(show_requests(sandbox.terminal, &fixtures.registry, &fixtures.tokens)?)?;
    ensure!(
        all_served_with(&requests, &fixtures.tokens.second_authorization()),
        "the registry received a request without the new token or refused one"
    );
    Ok(build.duration)
}

/// Makes the registry accept the second token only, and shows its answers to both.
async fn replace_token_at_registry(sandbox: &Sandbox, fixtures: &Fixtures) -> anyhow::Result<()> {
    let (terminal, registry, tokens) = (sandbox.terminal, &fixtures.registry, &fixtures.tokens);
    terminal.paragraph("The company issues a new token and revokes the old one. The registry's answers:")?;
    registry.set_authorization(&tokens.second_authorization());
    let old = registry.status_line_for(&tokens.first_authorization()).await?;
    let new = registry.status_line_for(&tokens.second_authorization()).await?;
    terminal.figure("request with the old token", &old)?;
    terminal.figure("request with the new token", &new)?;
    ensure!(
        old.contains("401") && new.contains("200"),
        "the registry did not change its token"
    );
    registry.take_requests();
    Ok(())
}

async fn search_for_tokens(sandbox: &mut Sandbox, fixtures: &Fixtures, daemon: &Daemon) -> anyhow::Result<()> {
    let terminal = sandbox.terminal;
    terminal.heading(7, "Search for the tokens: none is found")?;
    terminal.paragraph(
        "The demo searches file names and file contents for both tokens, in plain text and inside base64. The first \
         line is a check that the search works.",
    )?;
    let scan = LeakScan::for_tokens(&[&fixtures.tokens.first, &fixtures.tokens.second]);
    let sample = format!("{} {}", fixtures.tokens.first_authorization(), fixtures.tokens.second);
    ensure!(
        scan.matches(sample.as_bytes()),
        "the search does not find the tokens in a text that contains them"
    );
    terminal.verdict("a text that contains both tokens", "", "found, as expected", true)?;
    let mut answers = String::new();
    for arguments in ["status --json", "list --json", "show corp --json"] {
        let query = ShellCommand::new(&fixtures.programs.regauthctl, sandbox.folder(), arguments);
        answers.push_str(&query.run_silently(sandbox).await?.ok()?.printed);
    }
    ensure!(
        Folders::below(&sandbox.regauth_home()).vault().is_file(),
        "regauthd has no vault file, so the search would prove nothing"
    );
    leak_report::search_everywhere(sandbox, &scan, daemon, &answers)?;
    terminal.paragraph(
        "No file, variable, command line or output above contains a token, so a build script cannot read one there. \
         The tokens are only in regauthd's memory, in its encrypted vault and at the registry. In this demo, the \
         vault's key is a file beside the vault. The default store, the keychain, needs no such file.",
    )?;
    Ok(())
}

async fn summarize(
    sandbox: &mut Sandbox,
    fixtures: &Fixtures,
    daemon: Daemon,
    [first, second]: [Duration; 2],
) -> anyhow::Result<()> {
    let terminal = sandbox.terminal;
    terminal.heading(8, "Summary: time and memory")?;
    let requests = status(sandbox, fixtures).await?.requests;
    terminal.figure("regauthd, from start to ready", &milliseconds(daemon.ready_after))?;
    terminal.figure("first build through regauthd", &milliseconds(first))?;
    terminal.figure("build from scratch after the rotation", &milliseconds(second))?;
    terminal.figure("requests that regauthd forwarded", &requests.to_string())?;
    if let Some(memory) = daemon.peak_memory() {
        terminal.figure("regauthd's peak memory", &memory)?;
    }
    let stop = ShellCommand::new(&fixtures.programs.regauthctl, sandbox.folder(), "stop");
    stop.run(sandbox).await?.ok()?;
    let status = daemon.wait().await?;
    ensure!(status.success(), "regauthd exited with an error: {status}");
    terminal.paragraph(
        "Next: README.md explains how to install regauth. With your own registry, repeat steps 3, 4 and 5: start \
         regauthd, add the registry, configure cargo.",
    )?;
    Ok(())
}

async fn build_and_run_program(sandbox: &mut Sandbox) -> anyhow::Result<CommandResult> {
    let build = ShellCommand::cargo(&sandbox.project(), "build")
        .run(sandbox)
        .await?
        .ok()?;
    let program = sandbox.project().join("target/debug/hello");
    sandbox.terminal.command("./target/debug/hello")?;
    let greeting = ShellCommand::new(&program, &sandbox.project(), "")
        .run_silently(sandbox)
        .await?
        .ok()?;
    sandbox.terminal.output(&greeting.stdout)?;
    ensure!(
        greeting.stdout.trim() == project::GREETING,
        "the built program printed an unexpected text"
    );
    Ok(build)
}

async fn status(sandbox: &mut Sandbox, fixtures: &Fixtures) -> anyhow::Result<Status> {
    let query = ShellCommand::new(&fixtures.programs.regauthctl, sandbox.folder(), "status --json");
    Ok(serde_json::from_str(&query.run_silently(sandbox).await?.ok()?.stdout)?)
}

fn show_file(sandbox: &Sandbox, file: &str) -> anyhow::Result<()> {
    sandbox.terminal.command(&format!("cat $DEMO/{file}"))?;
    let content = fs::read_to_string(sandbox.folder().join(file))?;
    Ok(sandbox.terminal.output(&sandbox.shorten(&content))?)
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
