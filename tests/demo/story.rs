//! The story, from top to bottom: every function is one step, shown as it happens and checked as it is told.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use regauth_shared::paths::Folders;
use regauth_shared::response::Status;

use crate::command::{Ran, Typed};
use crate::daemon::Daemon;
use crate::hunt::Hunt;
use crate::places;
use crate::programs::Programs;
use crate::project;
use crate::registry::{Crate, Registry, Terms, Visit};
use crate::stage::Stage;
use crate::tokens::{self, Tokens, USERNAME};

/// Tells it all. Ends at the first step that does not go as told.
pub(crate) async fn tell(stage: &mut Stage) -> anyhow::Result<()> {
    opening(stage)?;
    let programs = Programs::build(stage.telling).await?;
    let cast = a_private_registry_starts(stage, programs).await?;
    cargo_is_turned_away(stage, &cast).await?;
    let daemon = regauthd_starts(stage, &cast).await?;
    the_registry_is_added(stage, &cast).await?;
    let first_build = the_same_build_passes(stage, &cast).await?;
    let second_build = the_token_is_rotated(stage, &cast).await?;
    the_tokens_are_nowhere(stage, &cast, &daemon).await?;
    the_end(stage, &cast, daemon, [first_build, second_build]).await
}

/// Who takes part, besides cargo.
struct Cast {
    programs: Programs,
    registry: Registry,
    tokens: Tokens,
}

fn opening(stage: &Stage) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.title("regauth: cargo builds from a private registry and never holds the token")?;
    tell.paragraph(
        "Everything below really happens, on this machine's loopback interface, below one temporary folder that goes \
         away in the end. Your own cargo, keychain and settings are not touched.",
    )?;
    tell.command(&format!(
        "export DEMO={}\nexport CARGO_HOME=$DEMO/cargo-home REGAUTH_HOME=$DEMO/regauth",
        stage.folder().display()
    ))?;
    tell.paragraph("First, the two programs are built (minutes the first time, a moment later on).")?;
    Ok(())
}

async fn a_private_registry_starts(stage: &mut Stage, programs: Programs) -> anyhow::Result<Cast> {
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
    let tokens = Tokens::new();
    let terms = Terms {
        authorization: tokens.first_authorization(),
        auth_required: false,
    };
    let registry = Registry::open(terms, vec![greeting]).await?;
    fs::write(stage.company_ca(), registry.ca_pem())?;
    tell.paragraph(&format!(
        "The registry is at {} with a certificate of the company's own CA, and asks everyone for a user name and a \
         token: HTTP Basic, on every path.",
        registry.index()
    ))?;
    Ok(Cast {
        programs,
        registry,
        tokens,
    })
}

async fn cargo_is_turned_away(stage: &mut Stage, cast: &Cast) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.heading(2, "cargo has no token, so the registry says 401")?;
    project::write_project(&stage.project(), &cast.registry.index())?;
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
    let visits = show_visits(stage, cast)?;
    ensure!(!visits.is_empty(), "cargo failed before it asked the registry");
    ensure!(
        visits.iter().all(|visit| visit.status == 401),
        "the registry let somebody in"
    );
    Ok(())
}

async fn regauthd_starts(stage: &mut Stage, cast: &Cast) -> anyhow::Result<Daemon> {
    let tell = stage.telling;
    tell.heading(3, "regauthd starts")?;
    tell.paragraph(
        "Usually the operating system's keychain keeps the tokens. A demo has no business there, so this one uses the \
         other store, an encrypted file.",
    )?;
    let daemon = Daemon::start(stage, &cast.programs.regauthd).await?;
    tell.paragraph(&format!("It was ready after {}.", milliseconds(daemon.ready_after)))?;
    let status = status(stage, cast).await?;
    tell.figure("the proxy for cargo", &status.proxy)?;
    tell.figure("the CA bundle for cargo", &stage.shortened(&status.bundle))?;
    tell.figure("the store", &status.store.kind)?;
    tell.figure("what protects it", &stage.shortened(&status.store.protection))?;
    Ok(daemon)
}

async fn the_registry_is_added(stage: &mut Stage, cast: &Cast) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.heading(4, "regauthctl gives it the token, once")?;
    let arguments = format!(
        "add-registry corp --index sparse+{} --scheme basic --username {USERNAME} --ca-file {} --token-stdin",
        cast.registry.index(),
        stage.company_ca().display()
    );
    let add = Typed::new(&cast.programs.regauthctl, stage.folder(), &arguments);
    add.token(tokens::FIRST, &cast.tokens.first).run(stage).await?.ok()?;
    tell.paragraph(
        "Before it stored the token, regauthd asked the registry whether the token is good; and once without it, for an \
         answer that everybody gets would say nothing about the token:",
    )?;
    let visits = show_visits(stage, cast)?;
    let asked = without_the_control(visits)?;
    ensure!(
        all_served_with(&asked, &cast.tokens.first_authorization()),
        "the registry was not asked, or not with this token"
    );
    Ok(())
}

async fn the_same_build_passes(stage: &mut Stage, cast: &Cast) -> anyhow::Result<Duration> {
    let tell = stage.telling;
    tell.heading(5, "The same cargo build passes")?;
    tell.paragraph("cargo is told where the proxy is and what to trust. There is no token in that:")?;
    let status = status(stage, cast).await?;
    let settings = format!(
        "[http]\nproxy = \"{}\"\ncainfo = \"{}\"\n[net]\ngit-fetch-with-cli = true\n",
        status.proxy, status.bundle
    );
    fs::write(stage.cargo_home().join("config.toml"), settings)?;
    show_file(stage, "cargo-home/config.toml")?;
    let built = build_and_greet(stage).await?;
    tell.paragraph("What the registry saw: cargo's requests, with a token that cargo does not have.")?;
    let visits = show_visits(stage, cast)?;
    ensure!(
        all_served_with(&visits, &cast.tokens.first_authorization()),
        "not every request had the token and was served"
    );
    Ok(built.took)
}

async fn the_token_is_rotated(stage: &mut Stage, cast: &Cast) -> anyhow::Result<Duration> {
    let tell = stage.telling;
    tell.heading(6, "The token changes, and nobody edits a file")?;
    tell.paragraph("The company issues a new token and the old one dies. Asked directly, the registry says:")?;
    cast.registry.change_authorization(&cast.tokens.second_authorization());
    let old = cast.registry.ask(&cast.tokens.first_authorization()).await?;
    let new = cast.registry.ask(&cast.tokens.second_authorization()).await?;
    tell.figure("to the old token", &old)?;
    tell.figure("to the new token", &new)?;
    ensure!(
        old.contains("401") && new.contains("200"),
        "the registry did not change its token"
    );
    cast.registry.visits();
    let rotate = Typed::new(&cast.programs.regauthctl, stage.folder(), "rotate corp --token-stdin");
    rotate
        .token(tokens::SECOND, &cast.tokens.second)
        .run(stage)
        .await?
        .ok()?;

    tell.paragraph("A build from nothing, with cargo's cache and the project's target folder thrown away:")?;
    tell.command("rm -r $CARGO_HOME/registry target")?;
    fs::remove_dir_all(stage.cargo_home().join("registry"))?;
    fs::remove_dir_all(stage.project().join("target"))?;
    let built = build_and_greet(stage).await?;
    tell.paragraph("What the registry has seen since it changed the token; regauthctl's check is the first, with the token and without:")?;
    let visits = without_the_control(show_visits(stage, cast)?)?;
    ensure!(
        all_served_with(&visits, &cast.tokens.second_authorization()),
        "not every request had the new token and was served"
    );
    Ok(built.took)
}

async fn the_tokens_are_nowhere(stage: &mut Stage, cast: &Cast, daemon: &Daemon) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.heading(7, "Where the tokens are not")?;
    tell.paragraph("Both tokens are looked for, plain and inside any base64, by name and content of every file:")?;
    let hunt = Hunt::for_tokens(&[&cast.tokens.first, &cast.tokens.second]);
    let control = format!("{} {}", cast.tokens.first_authorization(), cast.tokens.second);
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
        let ask = Typed::new(&cast.programs.regauthctl, stage.folder(), arguments);
        answers.push_str(&ask.run_unseen(stage).await?.ok()?.printed);
    }
    ensure!(
        Folders::below(&stage.regauth_home()).vault().is_file(),
        "regauthd has no vault, so there is nothing to look into"
    );
    places::look_everywhere(stage, &hunt, daemon, &answers)?;
    tell.paragraph("They are in regauthd's memory, in its vault (encrypted), and in the company's registry.")?;
    Ok(())
}

async fn the_end(stage: &mut Stage, cast: &Cast, daemon: Daemon, [first, second]: [Duration; 2]) -> anyhow::Result<()> {
    let tell = stage.telling;
    tell.heading(8, "What it took")?;
    let requests = status(stage, cast).await?.requests;
    tell.figure("regauthd, from start to ready", &milliseconds(daemon.ready_after))?;
    tell.figure("the first build through it", &milliseconds(first))?;
    tell.figure("the build after the rotation, from nothing", &milliseconds(second))?;
    tell.figure("requests to the registry through it", &requests.to_string())?;
    if let Some(memory) = daemon.peak_memory() {
        tell.figure("its memory, at most", &memory)?;
    }
    let stop = Typed::new(&cast.programs.regauthctl, stage.folder(), "stop");
    stop.run(stage).await?.ok()?;
    let status = daemon.ended().await?;
    ensure!(status.success(), "regauthd did not end well: {status}");
    tell.paragraph(
        "Next: README.md says how to install regauth and how to do the same with your own registry. It is steps 3, 4 \
         and 5: start regauthd, add the registry, tell cargo.",
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

async fn status(stage: &mut Stage, cast: &Cast) -> anyhow::Result<Status> {
    let ask = Typed::new(&cast.programs.regauthctl, stage.folder(), "status --json");
    Ok(serde_json::from_str(&ask.run_unseen(stage).await?.ok()?.stdout)?)
}

fn show_file(stage: &Stage, file: &str) -> anyhow::Result<()> {
    stage.telling.command(&format!("cat $DEMO/{file}"))?;
    let content = fs::read_to_string(stage.folder().join(file))?;
    Ok(stage.telling.output(&stage.shortened(&content))?)
}

fn show_visits(stage: &Stage, cast: &Cast) -> anyhow::Result<Vec<Visit>> {
    let visits = cast.registry.visits();
    for visit in &visits {
        let (token, status) = (cast.tokens.name_in(visit), visit.status.to_string());
        stage
            .telling
            .verdict(&visit.request, token, &status, visit.status == 200)?;
    }
    Ok(visits)
}

/// All but the one request without a token, by which regauthd learns whether the page answers everybody.
fn without_the_control(visits: Vec<Visit>) -> anyhow::Result<Vec<Visit>> {
    let (asked, control): (Vec<Visit>, Vec<Visit>) =
        visits.into_iter().partition(|visit| visit.authorization.is_some());
    let statuses: Vec<u16> = control.iter().map(|visit| visit.status).collect();
    ensure!(
        statuses == [401],
        "asked without the token, the registry said {statuses:?} and not 401, once"
    );
    Ok(asked)
}

/// Whether there were requests, and each had this `Authorization` and was served.
fn all_served_with(visits: &[Visit], authorization: &str) -> bool {
    let served = |visit: &Visit| visit.authorization.as_deref() == Some(authorization) && visit.status == 200;
    !visits.is_empty() && visits.iter().all(served)
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
