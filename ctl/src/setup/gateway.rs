//! Setup of a machine whose clients use a gateway. It needs no daemon.
//!
//! A file that the shell reads at its start sets the environment of all clients: the proxy's URL with the token, and the roots.
//! The token itself is read at that moment, from the file or variable that holds it. Setup writes it into one file only,
//! which nobody else may read, and only if it was given the token instead of its place.

mod script;

use std::fs;
use std::path::PathBuf;

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, Secret};
use secrecy::zeroize::Zeroizing;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::clients::{self, CONFIG_ROLE, Client, FileSettings, ToolSettings, setting};
use super::format::Format;
use super::record::SetupRecord;
use super::setting::SettingValue;
use super::target::SetupTarget;
use super::{SetupPlan, Tool};
use crate::error;
use crate::shell::Shell;
use crate::user_folders::{home, path_variable};

/// Row of the gateway in the table of clients. Its settings come from flags, not from a daemon.
pub(super) const CLIENT: Client = Client {
    name: "gateway",
    programs: &[],
    kinds: &[],
    file: SetupTarget::shell_profile,
    settings: |_| Err(error::usage("a gateway is set up by `regauthctl setup --gateway URL`")),
};

/// Gateway, as the flags name it.
pub(crate) struct NewGateway {
    /// URL of its listener with TLS, without a login.
    pub(crate) url: Url,
    /// Roots that clients trust: the gateway's bundle, and the root of its own certificate. PEM.
    pub(crate) roots: Vec<u8>,
    /// Origin of the token.
    pub(crate) token: TokenOrigin,
    /// The token, if setup is to keep it.
    pub(crate) secret: Option<Secret>,
}

/// Origin of the token that each new shell reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokenOrigin {
    /// File with the token.
    File(PathBuf),
    /// Environment variable with the token.
    Variable(String),
}

/// Gateway that this machine's clients are set up for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GatewaySettings {
    /// URL of its listener with TLS.
    #[serde(serialize_with = "write_url", deserialize_with = "read_url")]
    pub(crate) url: Url,
    /// Origin of the token.
    pub(crate) token: TokenOrigin,
}

impl GatewaySettings {
    /// Reads the settings of the setup; `None` without one.
    pub(crate) fn read(folders: &Folders) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder(folders).join(SETTINGS)).ok()?).ok()
    }

    /// Reads the token from its origin.
    ///
    /// # Errors
    /// The file cannot be read, or the variable is not set.
    pub(crate) fn read_token(&self) -> Result<Zeroizing<String>, ErrorBody> {
        match &self.token {
            TokenOrigin::File(file) => {
                let text = fs::read_to_string(file).map(Zeroizing::new);
                let text = text.map_err(error::io(format!("cannot read the token in {}", file.display())))?;
                Ok(Zeroizing::new(text.trim().to_owned()))
            }
            TokenOrigin::Variable(name) => std::env::var(name).map(Zeroizing::new).map_err(|_| {
                error::failed(format!("the variable {name} is not set, or is not text"))
                    .hint(format!("put the token into it, as the job does: export {name}=…"))
            }),
        }
    }
}

fn write_url<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(url.as_str())
}

fn read_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// File with the roots of the setup.
pub(crate) fn roots_file(folders: &Folders) -> PathBuf {
    folder(folders).join(ROOTS)
}

/// File with the token that setup keeps.
pub(crate) fn token_file(folders: &Folders) -> PathBuf {
    folder(folders).join(TOKEN)
}

/// Files that hold what no setup record may hold.
pub(super) fn own_files(folders: &Folders) -> Vec<PathBuf> {
    vec![roots_file(folders), token_file(folders)]
}

/// Command that sets up the present shell.
pub(crate) fn source_command(folders: &Folders) -> Result<String, ErrorBody> {
    let shell = Shell::of_profile(&SetupTarget::User.shell_profile()?);
    Ok(shell.source_now(&folder(folders).join(shell.environment_file())))
}

impl SetupPlan {
    /// Plans to set all clients up for a gateway.
    ///
    /// # Errors
    /// A file cannot be read, or clients are set up for the daemon of this machine.
    pub(crate) fn for_gateway(gateway: NewGateway, folders: &Folders) -> Result<Self, ErrorBody> {
        refuse_beside_daemon(folders)?;
        let target = SetupTarget::User;
        let before = SetupRecord::read(folders, Tool::Gateway, &target)?;
        let mut wanted = settings(&gateway, &target, &before, folders)?;
        wanted.notes.push(format!(
            "this shell does not change; {} sets it up",
            source_command(folders)?
        ));
        let mut plan = Self::with_settings(Tool::Gateway, &target, &before, wanted)?;
        let token = gateway
            .secret
            .map(|secret| Zeroizing::new(format!("{}\n", secret.expose()).into_bytes()));
        plan.own_files = vec![
            (roots_file(folders), Some(Zeroizing::new(gateway.roots))),
            // A token that an earlier setup kept goes.
            (token_file(folders), token),
        ];
        Ok(plan)
    }
}

fn settings(
    gateway: &NewGateway,
    target: &SetupTarget,
    before: &SetupRecord,
    folders: &Folders,
) -> Result<ToolSettings, ErrorBody> {
    let profile = match before.path_of(CONFIG_ROLE) {
        Some(path) => path.to_owned(),
        None => target.shell_profile()?,
    };
    let shell = Shell::of_profile(&profile);
    let whole = |role, name: &str, text: String| FileSettings {
        role,
        path: folder(folders).join(name),
        format: Format::Whole,
        settings: vec![setting(&[], SettingValue::Text(text))],
    };
    let known = GatewaySettings {
        url: gateway.url.clone(),
        token: gateway.token.clone(),
    };
    let environment = whole(
        "environment",
        shell.environment_file(),
        script::environment(shell, &known, &roots_file(folders)),
    );
    let known = serde_json::to_string_pretty(&known).map_err(|error| error::failed(error.to_string()))?;
    let line = shell.source(&environment.path);
    let curl = FileSettings {
        role: "curl",
        path: curl_file()?,
        format: Format::Line,
        settings: vec![setting(
            &[],
            SettingValue::Text(script::curl_line(&roots_file(folders))),
        )],
    };
    let files = [whole("settings", SETTINGS, known + "\n"), environment, curl];
    Ok(ToolSettings {
        files: files
            .into_iter()
            .chain(clients::profiles(profile, target, before, &line))
            .collect(),
        notes: NOTES.map(str::to_owned).into(),
        other_files: Vec::new(),
    })
}

/// curl reads the proxy's roots from its file only, of the first folder that has one (curl(1), "--config").
fn curl_file() -> Result<PathBuf, ErrorBody> {
    if let Some(folder) = path_variable("CURL_HOME") {
        return Ok(folder.join(".curlrc"));
    }
    let xdg = path_variable("XDG_CONFIG_HOME").map(|folder| folder.join(".curlrc"));
    match xdg.filter(|file| file.exists()) {
        Some(file) => Ok(file),
        None => Ok(home()?.join(".curlrc")),
    }
}

/// The environment would override the files of clients that use the daemon of this machine.
fn refuse_beside_daemon(folders: &Folders) -> Result<(), ErrorBody> {
    let records = SetupRecord::all_of_daemon(folders);
    let Some(record) = records.first() else { return Ok(()) };
    let message = format!("{} is set up for the regauthd of this machine", record.tool.name());
    Err(error::refused(message).hint("`regauthctl setup --all --undo` ends that; then repeat"))
}

/// Refuses the setup of a client for the daemon of this machine while a gateway's environment would override it.
///
/// # Errors
/// A gateway is set up.
pub(crate) fn refuse_beside_gateway(folders: &Folders) -> Result<(), ErrorBody> {
    match GatewaySettings::read(folders) {
        Some(settings) => Err(
            error::refused(format!("this machine's clients are set up for {}", settings.url))
                .hint("`regauthctl setup --gateway --undo` ends that; then repeat"),
        ),
        None => Ok(()),
    }
}

fn folder(folders: &Folders) -> PathBuf {
    folders.state.join("gateway")
}

const SETTINGS: &str = "gateway.json";
const ROOTS: &str = "roots.pem";
const TOKEN: &str = "token";
const NOTES: [&str; 3] = [
    "each new shell reads the token; after a new one, start a new shell",
    "Java (Maven, Gradle), wget and cargo before 1.90 cannot speak TLS to a proxy; give them a regauthd of their own, see \
     docs/gateway.md",
    "the roots are copied: repeat the command when the gateway gets a registry on another host",
];
