//! The story, from top to bottom: every function is one step, shown as it happens and checked as it is told.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use anyhow::ensure;
use regauth_shared::response::Status;

use crate::command::{Ran, Typed};
use crate::daemon::Daemon;
use crate::hunt::Hunt;
use crate::places;
use crate::programs::Programs;
use crate::project;
use crate::registry::{Crate, Registry, Terms, Visit, basic};
use crate::stage::Stage;

/// Tells it all. Ends at the first step that does not go as told.
pub(crate) async fn tell(stage: &mut Stage) -> anyhow::Result<()> {
    opening(stage)?;
    let programs = Programs::build(stage.telling).await?;
    let tokens = Tokens::new();

    let registry = a_private_registry_starts(stage, &tokens).await?;
    cargo_is_turned_away(stage, &registry).await?;
    let daemon = regauthd_starts(stage, &programs).await?;
    the_registry_is_added(stage, &programs, &registry, &tokens).await?;
    let first_build = the_same_build_passes(stage, &programs, &registry, &tokens).await?;
    let second_build = the_token_is_rotated(stage, &programs, &registry, &tokens).await?;
    the_tokens_are_nowhere(stage, &programs, &daemon, &tokens).await?;
    the_end(stage, &programs, daemon, [first_build, second_build]).await
}

fn opening(stage: &Stage) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.title("regauth: cargo builds from a private registry and never holds the token")?;
    tell.paragraph(
        "Everything below really happens, on this machine's loopback interface, below one temporary folder that goes \
         away in the end. Your own cargo, keychain and settings are not touched.",
    )?;
    tell.command(&format!("export DEMO={}", stage.folder().display()))?;
    tell.command("export CARGO_HOME=$DEMO/cargo-home REGAUTH_HOME=$DEMO/regauth")?;
    tell.paragraph("First, the two programs are built (minutes the first time, a moment later on).")?;
    Ok(())
}

async fn a_private_registry_starts(stage: &mut Stage, tokens: &Tokens) -> anyhow::Result<Registry> {
    let tell = stage.telling;
    tell.heading(1, "A company runs a private registry")?;
    tell.paragraph(
        "Its one crate is `greeting`. The crate's build script is nosy: it keeps a copy of every environment variable \
         that it can see. We come back to that.",
    )?;
    let folder = stage.folder().join("greeting");
    project::write_crate(&folder)?;
    Typed::cargo(&folder, "package --no-verify").run(stage).await?.ok()?;
    let greeting = Crate {
        name: "greeting".to_owned(),
        version: "1.0.0".to_owned(),
        archive: fs::read(folder.join("target/package/greeting-1.0.0.crate"))?,
    };
    let terms = Terms {
        authorization: basic(USERNAME, &tokens.first),
        auth_required: false,
    };
    let registry = Registry::open(terms, vec![greeting]).await?;
    fs::write(stage.company_ca(), registry.ca_pem())?;
    tell.paragraph(&format!(
        "The registry is at {} with a certificate of the company's own CA, and asks everyone for a user name and a \
         token: HTTP Basic, on every path.",
        registry.index()
    ))?;
    Ok(registry)
}

async fn cargo_is_turned_away(stage: &mut Stage, registry: &Registry) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.heading(2, "cargo has no token, so the registry says 401")?;
    project::write_project(&stage.project(), &registry.index())?;
    show_file(stage, "project/.cargo/config.toml")?;
    let trust = format!("[http]\ncainfo = \"{}\"\n", stage.company_ca().display());
    fs::write(stage.cargo_home().join("config.toml"), trust)?;
    show_file(stage, "cargo-home/config.toml")?;
    let ran = Typed::cargo(&stage.project(), "build").run(stage).await?;
    ensure!(
        !ran.success,
        "the build passed without a token: the registry is not private"
    );
    tell.paragraph("What the registry saw, and its answer. With a 401, cargo wants to hold a token of its own:")?;
    let visits = show_visits(stage, registry)?;
    ensure!(!visits.is_empty(), "cargo failed before it asked the registry");
    ensure!(
        visits.iter().all(|visit| visit.status == 401),
        "the registry let somebody in"
    );
    Ok(())
}

async fn regauthd_starts(stage: &mut Stage, programs: &Programs) -> anyhow::Result<Daemon> {
    let tell = stage.telling;
    tell.heading(3, "regauthd starts")?;
    tell.paragraph(
        "On your machine the operating system's keychain would keep the tokens. A demo has no business there, so this \
         one uses the other store, an encrypted file.",
    )?;
    let daemon = Daemon::start(stage, &programs.regauthd).await?;
    tell.paragraph(&format!("It was ready after {}.", milliseconds(daemon.ready_after)))?;
    let status = status(stage, programs).await?;
    tell.figure("the proxy for cargo", &status.proxy)?;
    tell.figure("the CA bundle for cargo", &stage.shortened(&status.bundle))?;
    tell.figure("the store", &status.store.kind)?;
    tell.figure("what protects it", &stage.shortened(&status.store.protection))?;
    Ok(daemon)
}

async fn the_registry_is_added(
    stage: &mut Stage,
    programs: &Programs,
    registry: &Registry,
    tokens: &Tokens,
) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.heading(4, "regauthctl gives it the token, once")?;
    let arguments = format!(
        "add-registry corp --index sparse+{} --scheme basic --username {USERNAME} --ca-file {} --token-stdin",
        registry.index(),
        stage.company_ca().display()
    );
    let add = Typed::new(&programs.regauthctl, stage.folder(), &arguments);
    add.token("TOKEN", &tokens.first).run(stage).await?.ok()?;
    tell.paragraph("Before it stored the token, regauthd asked the registry whether it is good:")?;
    let visits = show_visits(stage, registry)?;
    ensure!(
        visits
            .iter()
            .any(|visit| visit.brought(&tokens.first) && visit.status == 200),
        "the token was not verified with the registry"
    );
    Ok(())
}

async fn the_same_build_passes(
    stage: &mut Stage,
    programs: &Programs,
    registry: &Registry,
    tokens: &Tokens,
) -> anyhow::Result<Duration> {
    let tell = stage.telling;
    tell.heading(5, "The same cargo build passes")?;
    tell.paragraph("cargo is told where the proxy is and what to trust. There is no token in that:")?;
    let status = status(stage, programs).await?;
    let settings = format!("[http]\nproxy = \"{}\"\ncainfo = \"{}\"\n", status.proxy, status.bundle);
    fs::write(stage.cargo_home().join("config.toml"), settings)?;
    show_file(stage, "cargo-home/config.toml")?;
    let built = build_and_greet(stage).await?;
    tell.paragraph("What the registry saw: cargo's requests, with a token that cargo does not have.")?;
    let visits = show_visits(stage, registry)?;
    ensure!(
        all_served_with(&visits, &tokens.first),
        "not every request had the token and was served"
    );
    Ok(built.took)
}

async fn the_token_is_rotated(
    stage: &mut Stage,
    programs: &Programs,
    registry: &Registry,
    tokens: &Tokens,
) -> anyhow::Result<Duration> {
    let tell = stage.telling;
    tell.heading(6, "The token changes, and nobody edits a file")?;
    tell.paragraph("The company issues a new token and the old one dies. Asked directly, the registry says:")?;
    registry.change_authorization(&basic(USERNAME, &tokens.second));
    let old = registry.ask(&basic(USERNAME, &tokens.first)).await?;
    let new = registry.ask(&basic(USERNAME, &tokens.second)).await?;
    tell.figure("to the old token", &old)?;
    tell.figure("to the new token", &new)?;
    ensure!(
        old.contains("401") && new.contains("200"),
        "the registry did not change its token"
    );
    let rotate = Typed::new(&programs.regauthctl, stage.folder(), "rotate corp --token-stdin");
    rotate.token("NEW_TOKEN", &tokens.second).run(stage).await?.ok()?;
    registry.visits();

    tell.paragraph("A build from nothing, with cargo's cache and the project's target folder thrown away:")?;
    tell.command("rm -r $CARGO_HOME/registry target")?;
    fs::remove_dir_all(stage.cargo_home().join("registry"))?;
    fs::remove_dir_all(stage.project().join("target"))?;
    let built = build_and_greet(stage).await?;
    let visits = show_visits(stage, registry)?;
    ensure!(
        all_served_with(&visits, &tokens.second),
        "not every request had the new token and was served"
    );
    Ok(built.took)
}

async fn the_tokens_are_nowhere(
    stage: &mut Stage,
    programs: &Programs,
    daemon: &Daemon,
    tokens: &Tokens,
) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.heading(7, "Where the tokens are not")?;
    tell.paragraph("Both tokens are looked for, plain and inside any base64, by name and content of every file:")?;
    let hunt = Hunt::for_tokens(&[&tokens.first, &tokens.second]);
    let control = format!("{} {}", basic(USERNAME, &tokens.first), tokens.second);
    ensure!(
        hunt.finds_in(control.as_bytes()),
        "the search does not find what is there"
    );
    tell.verdict(
        "a text that has them, to test the search",
        "",
        "found, as it must be",
        true,
    )?;
    let mut answers = String::new();
    for arguments in ["status --json", "list --json", "show corp --json"] {
        let ask = Typed::new(&programs.regauthctl, stage.folder(), arguments);
        answers.push_str(&ask.run_unseen(stage).await?.ok()?.printed);
    }
    places::look_everywhere(stage, &hunt, daemon, &answers)?;
    tell.paragraph("They are in regauthd's memory, in its vault (encrypted), and in the company's registry.")?;
    Ok(())
}

async fn the_end(
    stage: &mut Stage,
    programs: &Programs,
    daemon: Daemon,
    [first, second]: [Duration; 2],
) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.heading(8, "What it took")?;
    let requests = status(stage, programs).await?.requests;
    tell.figure("regauthd, from start to ready", &milliseconds(daemon.ready_after))?;
    tell.figure("the first build through it", &milliseconds(first))?;
    tell.figure("the build after the rotation, from nothing", &milliseconds(second))?;
    tell.figure("requests that it gave a token", &requests.to_string())?;
    if let Some(memory) = daemon.peak_memory() {
        tell.figure("its memory, at most", &memory)?;
    }
    let stop = Typed::new(&programs.regauthctl, stage.folder(), "stop");
    stop.run(stage).await?.ok()?;
    let status = daemon.ended().await?;
    ensure!(status.success(), "regauthd did not end well: {status}");
    tell.paragraph(
        "Next: README.md says how to install regauth and how to do the same with your own registry. It is steps 3, 4 \
         and 5: start regauthd, add the registry, two lines in cargo's config.",
    )?;
    Ok(())
}

async fn build_and_greet(stage: &mut Stage) -> anyhow::Result<Ran> {
    let built = Typed::cargo(&stage.project(), "build").run(stage).await?.ok()?;
    let program = stage.project().join("target/debug/hello");
    stage.telling.command("./target/debug/hello")?;
    let greeting = Typed::new(&program, &stage.project(), "")
        .run_unseen(stage)
        .await?
        .ok()?;
    stage.telling.output(&greeting.stdout)?;
    ensure!(
        greeting.stdout.trim() == project::GREETING,
        "the program printed something else"
    );
    Ok(built)
}

async fn status(stage: &mut Stage, programs: &Programs) -> anyhow::Result<Status> {
    let ask = Typed::new(&programs.regauthctl, stage.folder(), "status --json");
    Ok(serde_json::from_str(&ask.run_unseen(stage).await?.ok()?.stdout)?)
}

fn show_file(stage: &Stage, file: &str) -> anyhow::Result<()> {
    stage.telling.command(&format!("cat $DEMO/{file}"))?;
    let content = fs::read_to_string(stage.folder().join(file))?;
    Ok(stage.telling.output(&stage.shortened(&content))?)
}

fn show_visits(stage: &Stage, registry: &Registry) -> anyhow::Result<Vec<Visit>> {
    let visits = registry.visits();
    for visit in &visits {
        let what = format!("GET {}", visit.path);
        let authorization = match &visit.authorization {
            Some(value) => format!("{}...", value.get(..12).unwrap_or(value)),
            None => "no Authorization".to_owned(),
        };
        let good = visit.status == 200;
        stage
            .telling
            .verdict(&what, &authorization, &visit.status.to_string(), good)?;
    }
    Ok(visits)
}

fn all_served_with(visits: &[Visit], token: &str) -> bool {
    !visits.is_empty() && visits.iter().all(|visit| visit.brought(token) && visit.status == 200)
}

impl Visit {
    fn brought(&self, token: &str) -> bool {
        self.authorization.as_deref() == Some(basic(USERNAME, token).as_str())
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// The registry's two tokens, unlike anything else on the disk.
struct Tokens {
    first: String,
    second: String,
}

impl Tokens {
    fn new() -> Self {
        let new = |name: &str| format!("{name}_{}{}", random_hex(), random_hex());
        Self {
            first: new("first"),
            second: new("second"),
        }
    }
}

/// Random enough for a registry that lives for a minute, and in the standard library.
fn random_hex() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

const USERNAME: &str = "me@corp.example";
