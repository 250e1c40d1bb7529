//! Recipes for Java: no variable holds a proxy's password, so Maven and Gradle get files and all others a forwarder.

use std::path::{Path, PathBuf};

use super::listener::{parts_of, url_for};
use super::{ClientKind, Plan, Recipe};
use crate::daemon_info::DaemonInfo;
use crate::shell;

/// Settings of the machine for Maven, which it merges with those of the user.
pub(super) fn maven(plan: &Plan<'_>, url: &str, file: Option<PathBuf>) -> Recipe {
    let (user, password, host, port) = parts(plan, url);
    let mut recipe = Recipe::new(ClientKind::Maven);
    recipe.file_text = format!(
        "<settings>\n  <proxies>\n    <proxy>\n      <id>regauth</id>\n      <active>true</active>\n      \
         <protocol>https</protocol>\n      <host>{host}</host>\n      <port>{port}</port>\n      \
         <username>{user}</username>\n      <password>{password}</password>\n    </proxy>\n  </proxies>\n</settings>\n"
    );
    let path = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let options = format!("-Djavax.net.ssl.trustStore={} {TUNNELS}", trust_store(plan));
    recipe.variables = vec![("MAVEN_OPTS".to_owned(), Some(options.clone()))];
    recipe.command = ["mvn", "--global-settings", &path, "package"]
        .map(str::to_owned)
        .to_vec();
    recipe.text = format!(
        "Its proxy URL is in {path}, which only you can read. Maven merges that file with your own settings:\n\n  \
         export MAVEN_OPTS={}\n{}",
        shell::quote_sh(&options),
        shell::command(&recipe.command)
    );
    recipe.file = file;
    recipe
}

/// Properties for Gradle, which reads them from its own folder only.
pub(super) fn gradle(plan: &Plan<'_>, url: &str, file: Option<PathBuf>) -> Recipe {
    let (user, password, host, port) = parts(plan, url);
    let mut recipe = Recipe::new(ClientKind::Gradle);
    let properties = [
        ("https.proxyHost", host),
        ("https.proxyPort", port.to_string()),
        ("https.proxyUser", user),
        ("https.proxyPassword", password),
        ("javax.net.ssl.trustStore", trust_store(plan)),
        ("jdk.http.auth.tunneling.disabledSchemes", String::new()),
    ];
    let lines = properties.map(|(name, value)| format!("systemProp.{name}={value}\n"));
    recipe.file_text = lines.concat();
    let path = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    recipe.text = format!(
        "Its proxy URL is in {path}, which only you can read. Gradle reads such settings from one file only:\n\n  \
         (umask 077; mkdir -p ~/.gradle; cat {} >> ~/.gradle/gradle.properties)\n  \
         chmod 600 ~/.gradle/gradle.properties\n",
        shell::quote_sh(&path)
    );
    recipe
        .notes
        .push("with a next grant, replace these lines; `gradle --stop` makes a running Gradle read them".to_owned());
    recipe.file = file;
    recipe
}

/// Commands for the bearer's account. The URL is in a file and not in a command: others see the arguments of processes.
pub(super) fn forwarder(info: &DaemonInfo) -> Recipe {
    let bundle = Path::new(&info.bundle);
    let mut recipe = Recipe::new(ClientKind::Java);
    let copy = format!("~/regauth/{}", bundle.file_name().unwrap_or_default().display());
    let command = [
        "regauthctl",
        "forward",
        "--grant-file",
        "~/grant",
        "--bundle",
        &copy,
        "--",
        "mvn",
        "package",
    ];
    recipe.command = command.map(str::to_owned).to_vec();
    recipe.text = format!(
        "
Java cannot show a grant. Write the URL to a file that only the bearer can read, here ~/grant.
Copy {} and {} to the bearer, here to ~/regauth/. Then, as the bearer:

  {}

Without a command, the forwarder runs until it is stopped, and prints JAVA_TOOL_OPTIONS for other shells.
Maven and Gradle can do without it: --as maven, --as gradle.
",
        bundle.display(),
        bundle.with_extension("jks").display(),
        recipe.command.join(" ")
    );
    recipe
}

fn parts(plan: &Plan<'_>, url: &str) -> (String, String, String, u16) {
    let url = (plan.overrides.host.as_deref()).map_or_else(|| url.to_owned(), |host| url_for(url, host));
    // The daemon made this URL, and the host is checked as part of one.
    parts_of(&url).unwrap_or_default()
}

fn trust_store(plan: &Plan<'_>) -> String {
    Path::new(&plan.bundle()).with_extension("jks").display().to_string()
}

/// Java refuses Basic to a proxy of tunnels unless this list is empty.
const TUNNELS: &str = "-Djdk.http.auth.tunneling.disabledSchemes=";
