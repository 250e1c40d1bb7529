//! A team's file: one colleague exports it into a repository, the next one clones, types one token and builds. The file may
//! be a stranger's: it opens nothing on this machine, and widens nothing without a yes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::{self, Cargo};
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::programs::binary;
use regauth_tests::registry::{Registry, USERNAME};
use regauth_tests::terminal::Terminal;
use regauth_tests::tmux::Tmux;
use regauth_tests::user::User;
use tempfile::TempDir;

const TOKEN: &str = "t0ken-of-a-colleague";

/// Repository of a project with the registry `corp`, which a colleague has exported.
fn repository(registry: &Registry) -> Cargo {
    let project = Cargo::new().depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    let folder = project.project();
    fs::create_dir(folder.join(".cargo")).unwrap();
    let index = format!("[registries.corp]\nindex = \"{}\"\n", registry.index());
    fs::write(folder.join(".cargo/config.toml"), index).unwrap();

    let first = Daemon::start();
    first.add("corp", registry);
    let exported = first
        .ctl(&["export", "--output", folder.join("regauth.toml").to_str().unwrap()])
        .succeeds();
    assert_eq!(exported.json["files"].as_array().unwrap().len(), 2, "{}", exported.json);
    let text = fs::read_to_string(folder.join("regauth.toml")).unwrap();
    assert!(!text.contains(TOKEN) && !text.contains(USERNAME), "{text}");
    git(&folder, "init --quiet --initial-branch main");
    git(&folder, "add --all");
    git(
        &folder,
        "-c user.name=a -c user.email=a@x commit --quiet --message team",
    );
    project
}

fn git(folder: &Path, arguments: &str) {
    exec::run(
        exec::command("git", folder)
            .arg("-C")
            .arg(folder)
            .args(arguments.split(' ')),
    )
    .succeeds();
}

/// Command of a user of this daemon, in a folder, with our programs on the `PATH`.
fn in_folder(user: &User, folder: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let usual = cargo::command(user.home());
    let (_, path) = usual.get_envs().find(|(name, _)| *name == "PATH").unwrap();
    let programs = binary("regauthctl").parent().unwrap().to_owned();
    let mut command = user.command(program);
    command
        .env(
            "PATH",
            [programs.as_os_str(), path.unwrap()].join(std::ffi::OsStr::new(":")),
        )
        .current_dir(folder);
    command
}

#[test]
fn a_colleague_clones_types_one_token_and_builds() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN)
        .auth_required()
        .start();
    let project = repository(&registry);
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    let clone = user.home().join("clone");
    git(
        user.home(),
        &format!("clone --quiet {} {}", project.project().display(), clone.display()),
    );

    // A token that is at hand goes nowhere before a yes.
    let mut given = in_folder(&user, &clone, binary("regauthctl"));
    given.args(["add-registry", "--from", "regauth.toml", "--token-env", "CORP_TOKEN"]);
    let mut terminal = Terminal::start(given.env("CORP_TOKEN", TOKEN));
    terminal.read_until("Add corp?");
    terminal.type_line("n");
    let (rest, status) = terminal.finish();
    assert!(!status.success() && rest.contains("corp was not added"), "{rest}");

    let mut add = in_folder(&user, &clone, binary("regauthctl"));
    add.args(["add-registry", "--from", "regauth.toml"]);
    let mut terminal = Terminal::start(&add);
    let shown = terminal.read_until("User name for corp: ");
    assert!(
        shown.contains("corp: new") && shown.contains(&registry.nginx.authority()),
        "{shown}"
    );
    assert!(
        shown.contains("trusts the authorities in corp-ca.pem (SHA-256 "),
        "{shown}"
    );
    terminal.type_line(USERNAME);
    terminal.read_until("): ");
    terminal.type_without_echo(TOKEN);
    let (rest, status) = terminal.finish();
    assert!(
        status.success() && rest.contains("the registry accepts the token"),
        "{rest}"
    );

    user.ctl(&["setup", "cargo"]).succeeds();
    exec::run(in_folder(&user, &clone, "cargo").arg("build"))
        .succeeds()
        .says("Compiling ship");

    // The repository's CA file may change; regauth has a copy of what was shown, and deletes it with the registry.
    let copy = daemon.ctl(&["show", "corp"]).json["ca-file"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(copy.starts_with(daemon.home().to_str().unwrap()), "{copy}");
    let again = daemon
        .ctl(&["add-registry", "--from", clone.to_str().unwrap()])
        .succeeds()
        .json;
    assert_eq!(again["unchanged"][0], "corp", "{again}");
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert!(!Path::new(&copy).exists());
}

#[test]
fn an_index_that_the_file_leaves_out_comes_from_the_project() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let project = repository(&registry);
    let file = project.project().join("regauth.toml");
    fs::write(
        &file,
        "[registries.corp]\nscheme = \"basic\"\nca-file = \"corp-ca.pem\"\n",
    )
    .unwrap();
    let daemon = Daemon::start();
    let inner = project.project().join("src");
    let from = [
        "add-registry",
        "corp",
        "--from",
        inner.to_str().unwrap(),
        "--token-stdin",
    ];
    // Nobody has seen what the file says.
    let unseen = daemon.ctl_with_input(&from, TOKEN).exits(8);
    assert!(
        unseen.output.stdout.contains(&registry.nginx.authority()),
        "{}",
        unseen.json
    );
    let agreed = [&from[..], &["--yes", "--username", USERNAME]].concat();
    let added = daemon.ctl_with_input(&agreed, TOKEN).succeeds().json;
    assert_eq!(added["added"][0]["registry"]["index"], registry.index(), "{added}");
    assert_eq!(added["added"][0]["verified"], true, "{added}");
}

#[test]
fn a_file_that_asks_for_too_much_is_refused_and_changes_nothing() {
    let daemon = Daemon::start();
    let before = fs::read_to_string(daemon.home().join("config.toml")).unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("regauth.toml");
    let secret = daemon.home().join("secret.pem");
    fs::write(
        &secret,
        "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    symlink(&secret, folder.path().join("link.pem")).unwrap();
    let corp = |key: &str| format!("[registries.corp]\nindex = \"sparse+https://corp.example/index/\"\n{key}\n");
    for (text, exit, says) in [
        (corp("source = \"env:HOME\""), 2, "regauth.toml:3:10: the source"),
        (
            corp("source = { command = [\"sh\"] }"),
            2,
            "regauth.toml:3:10: the source",
        ),
        (
            corp("source = \"1password:reference=op://a/b/c\""),
            8,
            "no command, preset",
        ),
        (corp("ca-file = \"/etc/ssl/cert.pem\""), 2, "regauth.toml:3:11"),
        (corp("ca-file = \"../secret.pem\""), 2, "regauth.toml:3:11"),
        (corp("ca-file = \"link.pem\""), 8, "a link to a file outside"),
        (corp("ca-file = \"missing.pem\""), 1, "missing.pem"),
        (
            corp("token = \"s3cret\""),
            2,
            "regauth.toml:3:1: a shared file has no token",
        ),
        (
            corp("writes = \"allow\""),
            2,
            "regauth.toml:3:1: a file that others wrote opens no writes",
        ),
        (corp("scheems = \"raw\""), 2, "did you mean `scheme`"),
        (
            format!("format = 2\n{}", corp("")),
            2,
            "regauth.toml:1:10: a newer release",
        ),
        ("[registries.corp]\n".to_owned(), 2, "neither an index nor scopes"),
        (corp("scopes = [\"http://corp.example/\"]"), 2, "plain http"),
        (" ".repeat(1024 * 1024 + 1), 1, "longer than"),
    ] {
        fs::write(&file, &text).unwrap();
        let from = [
            "add-registry",
            "--from",
            file.to_str().unwrap(),
            "--yes",
            "--token-stdin",
        ];
        let refused = daemon.ctl_with_input(&from, TOKEN).exits(exit);
        assert!(
            refused.output.stdout.contains(says),
            "{says}\n{}",
            refused.output.report()
        );
        assert!(!refused.output.report().contains("s3cret"));
        assert_eq!(fs::read_to_string(daemon.home().join("config.toml")).unwrap(), before);
    }
    for (from, exit) in [
        ("http://corp.example/regauth.toml", 2),
        ("/no/such/file", 1),
        ("/", 2),
        ("/dev/zero", 1),
    ] {
        daemon.ctl(&["add-registry", "--from", from]).exits(exit);
    }
}

#[test]
fn an_existing_registry_is_changed_only_with_a_yes() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let config = daemon.home().join("config.toml");
    let before = fs::read_to_string(&config).unwrap();
    let user = User::new(&daemon);
    let host = registry.scope().replace("/api/cargo/", "/");
    user.write(
        "regauth.toml",
        &format!("[registries.corp]\nscopes = [\"{host}\"]\nscheme = \"bearer\"\n"),
    );

    let from = ["add-registry", "--from", "regauth.toml"];
    let refused = user.ctl(&from).fails();
    assert_eq!(refused.status.code(), Some(8));
    assert!(
        refused.stderr.contains("which means: the token also goes to"),
        "{}",
        refused.report()
    );

    let terminal = Tmux::start(&user.command("sh"), 100, 24);
    let line = format!("{} {}; echo status=$?", binary("regauthctl").display(), from.join(" "));
    terminal.run(&line);
    terminal.wait_for("Change corp as the file says? (y/N)");
    terminal.type_text("n\n");
    let kept = terminal.wait_for("status=0");
    assert!(kept.contains("corp stays as it is"), "{kept}");
    assert_eq!(fs::read_to_string(&config).unwrap(), before);

    let changed = user.ctl(&[&from[..], &["--yes"]].concat()).succeeds();
    assert!(changed.stdout.contains("Changed corp"), "{}", changed.report());
    assert_eq!(daemon.ctl(&["show", "corp"]).json["scopes"][0], host.as_str());
}

#[test]
fn an_export_reads_back_to_the_same() {
    let config = r#"
        [registries.plain]
        index = "sparse+https://plain.example/index/"

        [registries.wide]
        kind = "generic"
        scopes = ["https://wide.example/a/", "https://wide.example:8443/b%2Fc/"]
        scheme = "X-Api-Key: {token}"
        programs = ["cargo", "/usr/bin/git"]

        [registries.azure]
        index = "sparse+https://pkgs.dev.azure.example/o/_packaging/f/Cargo/index/"
        scheme = "basic"
        username = "PAT"
        read-ahead = false

        [registries.minted]
        index = "sparse+https://minted.example/index/"
        source = { exchange = "jfrog", host = "minted.example", provider = "github", identity = "github-actions" }

        [registries.images]
        kind = "oci"
        scopes = ["https://images.example/v2/"]
        token-service = "https://auth.example/token"

        [registries.forge]
        kind = "git"
        scopes = ["https://forge.example/team/"]
        scheme = "raw"
    "#;
    let from = Daemon::builder().config(config).start();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("regauth.toml");
    let file = file.to_str().unwrap();
    let first = from.ctl(&["export", "--output", file]).succeeds().json;

    let to = Daemon::start();
    for name in ["plain", "wide", "azure", "minted", "images", "forge"] {
        let token: &[&str] = if name == "minted" { &[] } else { &["--token-stdin"] };
        let add = ["add-registry", name, "--from", file, "--yes", "--no-verify"];
        to.ctl_with_input(&[&add, token].concat(), TOKEN).succeeds();
    }
    let second = to.ctl(&["export"]).succeeds().json;
    assert_eq!(first["toml"], second["toml"]);
    let same = to.ctl(&["add-registry", "--from", file]).succeeds().json;
    assert_eq!(same["unchanged"].as_array().unwrap().len(), 6, "{same}");

    // A file that differs is not replaced unasked.
    fs::write(file, "mine").unwrap();
    to.ctl(&["export", "--output", file]).exits(7);
    to.ctl(&["export", "--output", file, "--force"]).succeeds();
}

#[test]
fn a_file_at_a_url_is_read_through_the_proxy() {
    let text = "[registries.corp]\\nscopes = [\\\"https://corp.example/\\\"]\\nca-file = \\\"ca.pem\\\"\\n";
    let ca = "-----BEGIN CERTIFICATE-----\\nAAEC\\n-----END CERTIFICATE-----\\n";
    let server = Registry::builder(Scheme::bearer(), TOKEN)
        .location("= /team/regauth.toml", &format!("return 200 \"{text}\";"))
        .location("= /team/ca.pem", &format!("return 200 \"{ca}\";"))
        .location("= /team/moved.toml", "return 302 /team/regauth.toml;")
        .start();
    let daemon = Daemon::builder()
        .config(&format!("ca-file = \"{}\"\n", server.ca().display()))
        .start();
    let from = |path: &str| daemon.ctl(&["add-registry", "--from", &server.nginx.url(path)]);
    let shown = from("/team/regauth.toml").exits(8).output.stdout;
    assert!(
        shown.contains("https://corp.example/") && shown.contains("ca.pem (SHA-256 AE4B3280"),
        "{shown}"
    );
    assert!(
        from("/team/moved.toml")
            .exits(1)
            .output
            .stdout
            .contains("is redirected")
    );
    assert!(
        from("/api/cargo/regauth.toml")
            .exits(1)
            .output
            .stdout
            .contains("answered 401")
    );
}

#[test]
fn the_first_step_in_a_repository_with_a_file_is_to_add_from_it() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    user.write(
        "repository/regauth.toml",
        "[registries.corp]\nscopes = [\"https://corp.example/\"]\n",
    );
    user.write("repository/src/main.rs", "");
    let mut ctl = user.command(binary("regauthctl"));
    ctl.arg("--json").current_dir(user.home().join("repository/src"));
    let overview: serde_json::Value = serde_json::from_str(&exec::run(&mut ctl).succeeds().stdout).unwrap();
    assert_eq!(
        overview["next"]["step"], "regauthctl add-registry --from .",
        "{overview}"
    );
}

#[test]
fn a_source_of_ones_own_is_no_difference_to_a_file_that_names_none() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.register_secret(TOKEN);
    let folder = TempDir::new().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let (ca, source) = (registry.ca(), format!("file:{}", token.display()));
    let add = [
        "add-registry",
        "corp",
        "--scope",
        &registry.scope(),
        "--source",
        &source,
    ];
    daemon
        .ctl(&[&add[..], &["--ca-file", ca.to_str().unwrap()]].concat())
        .succeeds();
    let file = daemon.home().join("regauth.toml");
    let scopes = format!("[registries.corp]\nscopes = [\"{}\"]\n", registry.scope());
    fs::write(&file, &scopes).unwrap();
    let from = ["add-registry", "--from", file.to_str().unwrap()];
    assert_eq!(daemon.ctl(&from).succeeds().json["unchanged"][0], "corp");

    // One that names a source is a difference, which a person decides on.
    fs::write(&file, scopes + "source = \"store\"\n").unwrap();
    let refused = daemon.ctl(&from).exits(8);
    assert!(refused.output.stdout.contains("source"), "{}", refused.output.report());
}
