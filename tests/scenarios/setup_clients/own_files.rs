//! Files of the user and of the project that setup changes, keeps or leaves alone.

use std::fs;
use std::path::Path;

use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::maven::Maven;
use regauth_tests::programs::binary;
use regauth_tests::user::User;

use super::{pom, project_pom, server_daemon_user};

#[test]
fn setup_project_changes_files_of_the_project_only() {
    let (server, daemon, user) = server_daemon_user("maven");
    server.write("com/corp/parent/1.0/parent-1.0.pom", pom("parent", ""));
    user.write("project/pom.xml", &project_pom(&server));
    user.write("project/.mvn/jvm.config", "-Xmx128m\n-Dhttp.nonProxyHosts=");
    let in_project = |program: &Path, arguments: &[&str]| {
        let mut command = user.command(program);
        exec::run(command.args(arguments).current_dir(user.home().join("project")))
    };
    let ctl = binary("regauthctl");
    let files = [
        ("maven", ".mvn/jvm.config"),
        ("gradle", "gradle.properties"),
        ("yarn", ".yarnrc.yml"),
        ("bun", "bunfig.toml"),
        ("hg", ".hg/hgrc"),
    ];
    for (client, file) in files {
        in_project(&ctl, &["setup", client, "--project"]).succeeds().says(file);
    }
    for maven in [Maven::Wagon, Maven::Native] {
        let validate = ["-B", "-X", "-U", "-Dmaven.repo.local=repository", "validate"];
        let resolved = in_project(&maven.program(), &validate).succeeds();
        maven.assert_transport(&resolved);
        fs::remove_dir_all(user.home().join("project/repository")).unwrap();
    }
    server.assert_served("/parent-1.0.pom");
    for (client, file) in files {
        in_project(&ctl, &["setup", client, "--project", "--undo"])
            .succeeds()
            .says(file);
    }
    let mut left: Vec<_> = fs::read_dir(user.home().join("project"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, [".mvn", "pom.xml"]);
    assert_eq!(
        user.read("project/.mvn/jvm.config").unwrap(),
        "-Xmx128m\n-Dhttp.nonProxyHosts="
    );
    for client in ["wget", "aria2", "gem"] {
        let refused = in_project(&ctl, &["setup", client, "--project"]).fails();
        assert_eq!(refused.status.code(), Some(2), "{}", refused.report());
        refused.says("has no settings of a project");
    }
    assert!(
        fs::read_dir(daemon.home().join("state/setup"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn clients_without_a_setup_are_refused_with_the_way_that_they_have() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    for (client, said) in [
        ("poetry", "regauthctl setup shell"),
        ("go", "regauthctl setup shell"),
        ("docker", "regauthctl grant"),
        ("apt", "regauthctl grant"),
        ("svn", "docs/clients.md"),
        ("wget2", "CONNECT"),
        ("cobol", "possible values"),
    ] {
        let refused = user.ctl(&["setup", client]).fails().says(said);
        assert_eq!(refused.status.code(), Some(2), "{}", refused.report());
    }
}

#[test]
fn files_that_are_not_what_they_should_be_stay_and_are_named() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    for (client, file, text, said) in [
        (
            "maven",
            ".m2/settings.xml",
            "<settings>\n<proxies>\n</settings>",
            "line 3",
        ),
        ("maven", ".m2/settings.xml", "<project/>", "no <settings>"),
        ("yarn", ".yarnrc.yml", "httpsProxy: x\n- a\n  b: {\n}\n", "line 3"),
        ("gem", ".gemrc", "{ http_proxy: x }\n", "line 1"),
        ("bun", ".bunfig.toml", "install = \n", "line 1"),
        ("bun", ".bunfig.toml", "install = 3\n", "install is not a table"),
    ] {
        user.write(file, text);
        let refused = user.ctl(&["setup", client]).fails().says(said).says(file);
        assert!(refused.stderr.contains("hint"), "{}", refused.report());
        assert_eq!(user.read(file).as_deref(), Some(text));
        fs::remove_file(user.home().join(file)).unwrap();
    }
    fs::create_dir(user.home().join(".wgetrc")).unwrap();
    user.ctl(&["setup", "wget"]).fails().says(".wgetrc: Is a directory");
    fs::write(user.home().join(".hgrc"), b"[ui]\nusername = \xff\n").unwrap();
    user.ctl(&["setup", "mercurial"]).fails().says(".hgrc");
}

#[test]
fn a_read_only_file_is_shown_and_not_replaced() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    user.write(".wgetrc", "timeout = 5\n");
    let file = user.home().join(".wgetrc");
    let mode = |mode| fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o444);
    user.ctl(&["setup", "wget", "--dry-run"])
        .succeeds()
        .says("+ca_certificate");
    user.ctl(&["setup", "wget"]).fails().says("read-only").says("chmod u+w");
    assert!(!daemon.home().join("state/setup/wget.json").exists());
    mode(0o644);
    user.ctl(&["setup", "wget"]).succeeds();
    mode(0o444);
    user.ctl(&["setup", "wget", "--undo"]).fails().says("read-only");
}

#[test]
fn a_companys_values_are_replaced_with_a_note_and_come_back() {
    let daemon = Daemon::start();
    let user = User::new(&daemon);
    for (client, file, text) in [
        ("wget", ".wgetrc", "HTTPS-Proxy = http://proxy.corp:3128\n"),
        (
            "aria2",
            ".config/aria2/aria2.conf",
            "https-proxy=http://proxy.corp:3128\n",
        ),
        ("yarn", ".yarnrc.yml", "httpsProxy: \"http://proxy.corp:3128\" # ours\n"),
        ("gem", ".gemrc", "http_proxy: http://proxy.corp:3128\n"),
        ("mercurial", ".hgrc", "[http_proxy]\nhost = proxy.corp:3128\n"),
        (
            "gradle",
            ".gradle/gradle.properties",
            "systemProp.https.proxyHost=proxy.corp\nsystemProp.https.proxyPort = 3128\n",
        ),
        (
            "maven",
            ".m2/settings.xml",
            "<settings><proxies><proxy><host>proxy.corp</host><port>3128</port></proxy></proxies></settings>",
        ),
    ] {
        user.write(file, text);
        user.ctl(&["setup", client])
            .succeeds()
            .says("sets the proxy http://proxy.corp:3128, and regauthd does not use it")
            .says(&format!("`regauthctl setup {client} --carry-over`"));
        user.ctl(&["setup", client, "--undo"]).succeeds();
        assert_eq!(user.read(file).as_deref(), Some(text));
    }
}
