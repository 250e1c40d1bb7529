//! Maven, in `settings.xml` and `.mavenrc`, and Gradle, in `gradle.properties`. Neither reads proxy variables or PEM files.

use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use super::{CONFIG_ROLE, Client, Context, FileSettings, ToolSettings, one_file, proxy_address, setting, text};
use crate::company::CompanySetting;
use crate::error;
use crate::setup::format::Format;
use crate::setup::maven_settings;
use crate::setup::setting::SettingValue;
use crate::setup::target::SetupTarget;
use crate::user_folders::{home, path_variable};

pub(in crate::setup) const MAVEN: Client = Client {
    name: "maven",
    programs: &["mvn"],
    kinds: &["maven", "generic"],
    file: maven_file,
    settings: maven,
};

pub(in crate::setup) const GRADLE: Client = Client {
    name: "gradle",
    programs: &["gradle"],
    kinds: &["maven", "generic"],
    file: gradle_file,
    settings: gradle,
};

/// Proxies of the user in Maven's `settings.xml`. The one that setup adds comes before them.
pub(in crate::setup) fn maven_proxies() -> Vec<CompanySetting> {
    let Ok(path) = maven_file(&SetupTarget::User) else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let proxies = maven_settings::other_proxies(&text).into_iter();
    let place = path.display().to_string();
    proxies.map(|url| CompanySetting::proxy(&place, &url)).collect()
}

/// The user's `settings.xml`, or a project's `jvm.config` (Maven's guides, "Configuring Apache Maven").
fn maven_file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    match target {
        SetupTarget::User => Ok(home()?.join(".m2/settings.xml")),
        SetupTarget::Project(folder) => Ok(folder.join(".mvn/jvm.config")),
    }
}

/// Every transport of Maven, from 3.8 to 4, takes its proxy from `settings.xml`. The trust store is an option of the JVM.
fn maven(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let (host, port) = proxy_address(context.info)?;
    let trust_store = trust_store(&context.info.bundle)?;
    let options = [
        format!("-Djavax.net.ssl.trustStore={trust_store}"),
        // Plugins with connections of their own read these.
        format!("-Dhttps.proxyHost={host}"),
        format!("-Dhttps.proxyPort={port}"),
    ];
    if let SetupTarget::Project(_) = context.target {
        // Maven's own transports, from 3.9 on, read the proxy's options only if told so.
        let transports = ["connector.http", "transport.apache"];
        let told = transports.map(|transport| format!("-Daether.{transport}.useSystemProperties=true"));
        let lines = options.into_iter().chain(told);
        let settings = lines.map(|line| setting(&[], SettingValue::Text(line))).collect();
        return Ok(one_file(context.path.clone(), Format::Line, settings, Vec::new()));
    }
    let proxy = text(&[maven_settings::PROXY_ID], &format!("{host} {port}"));
    let line = format!("MAVEN_OPTS=\"$MAVEN_OPTS {}\" # regauth", options.join(" "));
    let launcher = FileSettings {
        role: "launcher",
        path: home()?.join(".mavenrc"),
        format: Format::Line,
        settings: vec![setting(&[], SettingValue::Text(line))],
    };
    let config = FileSettings {
        role: CONFIG_ROLE,
        path: context.path.clone(),
        format: Format::MavenSettings,
        settings: vec![proxy],
    };
    Ok(ToolSettings {
        files: vec![config, launcher],
        notes: note_on_another_home().into_iter().collect(),
        other_files: Vec::new(),
    })
}

/// The user's `gradle.properties`, or a project's (Gradle's user manual, "Build Environment").
fn gradle_file(target: &SetupTarget) -> Result<PathBuf, ErrorBody> {
    let folder = match target {
        SetupTarget::User => path_variable("GRADLE_USER_HOME").map_or_else(|| Ok(home()?.join(".gradle")), Ok)?,
        SetupTarget::Project(folder) => folder.clone(),
    };
    Ok(folder.join("gradle.properties"))
}

fn gradle(context: &Context<'_>) -> Result<ToolSettings, ErrorBody> {
    let (host, port) = proxy_address(context.info)?;
    let settings = vec![
        text(&["systemProp.https.proxyHost"], &host),
        text(&["systemProp.https.proxyPort"], &port.to_string()),
        text(
            &["systemProp.javax.net.ssl.trustStore"],
            &trust_store(&context.info.bundle)?,
        ),
    ];
    let notes = note_on_another_home().into_iter().collect();
    Ok(one_file(context.path.clone(), Format::Properties, settings, notes))
}

/// Note on a `HOME` that Java ignores: it takes the home folder from the system's list of users.
fn note_on_another_home() -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??;
    let home = home().ok()?;
    (user.dir != home).then(|| {
        format!(
            "Java takes {} for your home folder, not HOME; Maven and Gradle read the file only with `-Duser.home={}` in \
             JAVA_TOOL_OPTIONS",
            user.dir.display(),
            home.display()
        )
    })
}

/// Path of the trust store beside the bundle, if a shell, a JVM option and a properties file can all hold it.
fn trust_store(bundle: &str) -> Result<String, ErrorBody> {
    let path = Path::new(bundle).with_extension("jks").display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@,=~".contains(c);
    if path.chars().all(is_plain) {
        return Ok(path);
    }
    Err(error::failed(format!(
        "Maven and Gradle cannot take the path {path}: it has blanks or special characters"
    ))
    .hint("start regauthd with a --home whose path has none"))
}
