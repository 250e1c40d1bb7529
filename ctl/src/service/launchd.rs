//! launchd: one property list that holds the service and its sockets. Those of `packaging/launchd`.

use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use super::plan::{Plan, Step, asked};
use super::{Health, Scope, State, USUAL, Unit};
use crate::error;

/// What installs the service.
///
/// # Errors
/// A file that is not ours; no user for the machine's daemon.
pub(super) fn to_install(scope: Scope, regauthd: &Path) -> Result<Plan, ErrorBody> {
    let mut plan = Plan::new(MANAGER, scope);
    let place = scope.place()?;
    match scope {
        Scope::User => plan.steps.push(Step::Folder {
            folder: place.run.clone(),
            mode: 0o700,
        }),
        Scope::System => prepare_for_the_machine(&mut plan)?,
    }
    let changed = plan.write(place.file.clone(), place.filled_in(scope, regauthd))?;
    let loaded = place.is_loaded();
    if loaded && changed {
        plan.run(&["launchctl", "bootout", &place.target]);
    }
    if changed || !loaded {
        plan.run(&[
            "launchctl",
            "bootstrap",
            &place.domain,
            &place.file.display().to_string(),
        ]);
    }
    Ok(plan)
}

/// What undoes that. The daemon's state stays: it holds tokens.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn to_uninstall(scope: Scope) -> Result<Plan, ErrorBody> {
    let mut plan = Plan::new(MANAGER, scope);
    let place = scope.place()?;
    if place.is_loaded() {
        plan.run(&["launchctl", "bootout", &place.target]);
    }
    plan.remove(place.file)?;
    if plan.steps.is_empty() {
        plan.notes.push("the service is not installed".to_owned());
    }
    Ok(plan)
}

/// What launchd knows.
///
/// # Errors
/// `HOME` is not set.
pub(super) fn state(scope: Scope) -> Result<State, ErrorBody> {
    let place = scope.place()?;
    let loaded = place.is_loaded();
    let word = |yes: bool, word: &str| if yes { word.to_owned() } else { format!("not {word}") };
    let unit = Unit {
        name: LABEL.to_owned(),
        enabled: word(place.file.exists(), "installed"),
        active: word(loaded, "loaded"),
        file: place.file.exists().then(|| place.file.display().to_string()),
    };
    Ok(State {
        manager: MANAGER,
        scope,
        installed: loaded || place.file.exists(),
        health: match (loaded, place.file.exists()) {
            (true, _) => Health::Serving,
            (false, true) => Health::Stopped,
            (false, false) => Health::Absent,
        },
        last_words: None,
        units: vec![unit],
        listens: vec![USUAL],
    })
}

/// Where things are for one scope.
struct Place {
    file: PathBuf,
    domain: String,
    target: String,
    run: PathBuf,
    logs: PathBuf,
}

impl Scope {
    fn place(self) -> Result<Place, ErrorBody> {
        let variable = |name: &str| std::env::var_os(name);
        let domain = match self {
            Self::User => format!("gui/{}", rustix::process::getuid().as_raw()),
            Self::System => "system".to_owned(),
        };
        let (library, folders) = match (self, variable("HOME")) {
            (Self::System, _) => (PathBuf::from("/Library"), Folders::of_the_system()),
            (Self::User, Some(home)) => {
                let folders = Folders::resolve(None, |name| variable(name).filter(|_| name == "HOME"));
                let folders = folders.map_err(|error| error::usage(error.to_string()))?;
                (PathBuf::from(home).join("Library"), folders)
            }
            (Self::User, None) => return Err(error::usage("HOME does not say where your library is")),
        };
        Ok(Place {
            file: library.join(self.folder()).join(format!("{LABEL}.plist")),
            target: format!("{domain}/{LABEL}"),
            domain,
            run: folders.run,
            logs: library.join("Logs"),
        })
    }

    fn folder(self) -> &'static str {
        match self {
            Self::User => "LaunchAgents",
            Self::System => "LaunchDaemons",
        }
    }
}

impl Place {
    fn filled_in(&self, scope: Scope, regauthd: &Path) -> String {
        let template = match scope {
            Scope::User => AGENT,
            Scope::System => DAEMON,
        };
        template
            .replace("@REGAUTHD@", &in_xml(regauthd))
            .replace("@RUN@", &in_xml(&self.run))
            .replace("@LOGS@", &in_xml(&self.logs))
    }

    fn is_loaded(&self) -> bool {
        asked(&["launchctl", "print", &self.target]).is_ok()
    }
}

/// The user of its own comes from the administrator: making one is a decision about a number.
fn prepare_for_the_machine(plan: &mut Plan) -> Result<(), ErrorBody> {
    asked(&["id", "-u", USER]).map_err(|_| {
        error::failed(format!("there is no user {USER} for the machine's regauthd to run as")).hint(format!(
            "make one, with a number that is free here: sudo sysadminctl -addUser {USER} -UID 450 -roleAccount"
        ))
    })?;
    let run = Folders::of_the_system().run;
    for (folder, mode, owner) in [
        (run.clone(), 0o755, "root"),
        (run.join("home"), 0o700, USER),
        (run.join("bundle"), 0o755, USER),
    ] {
        let name = folder.display().to_string();
        plan.steps.push(Step::Folder { folder, mode });
        plan.run(&["chown", owner, &name]);
    }
    Ok(())
}

fn in_xml(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('&', "&amp;").replace('<', "&lt;")
}

const MANAGER: &str = "launchd";
const LABEL: &str = "regauthd";
const USER: &str = "_regauth";
const AGENT: &str = include_str!("../../../packaging/launchd/agent.plist");
const DAEMON: &str = include_str!("../../../packaging/launchd/daemon.plist");

#[cfg(test)]
mod tests {
    use plist::{Dictionary, Value};

    use super::super::MARK;
    use super::*;

    fn parsed(scope: Scope) -> Dictionary {
        let place = Place {
            file: PathBuf::new(),
            domain: String::new(),
            target: String::new(),
            run: PathBuf::from("/Users/a & b/run"),
            logs: PathBuf::from("/Users/a & b/Library/Logs"),
        };
        let text = place.filled_in(scope, Path::new("/opt/bin/regauthd"));
        assert!(text.contains(MARK), "uninstall would not know it for ours");
        assert!(!text.contains('@'), "{text}");
        Value::from_reader_xml(text.as_bytes())
            .unwrap()
            .into_dictionary()
            .unwrap()
    }

    fn socket<'a>(list: &'a Dictionary, name: &str) -> &'a Dictionary {
        let sockets = list.get("Sockets").unwrap().as_dictionary().unwrap();
        sockets.get(name).unwrap().as_dictionary().unwrap()
    }

    #[test]
    fn an_agent_has_its_sockets_and_its_users_places() {
        let agent = parsed(Scope::User);
        assert_eq!(agent.get("Label").unwrap().as_string(), Some(LABEL));
        assert_eq!(
            agent.get("ProgramArguments").unwrap().as_array().unwrap(),
            &["/opt/bin/regauthd".into()]
        );
        let proxy = socket(&agent, "Proxy");
        assert_eq!(proxy.get("SockNodeName").unwrap().as_string(), Some("127.0.0.1"));
        assert_eq!(proxy.get("SockServiceName").unwrap().as_string(), Some("9001"));
        let control = socket(&agent, "Control");
        assert_eq!(
            control.get("SockPathName").unwrap().as_string(),
            Some("/Users/a & b/run/control.sock")
        );
        assert_eq!(control.get("SockPathMode").unwrap().as_signed_integer(), Some(0o600));
        assert_eq!(agent.get("Umask").unwrap().as_signed_integer(), Some(0o077));
        assert!(!agent.contains_key("UserName"));
    }

    #[test]
    fn the_machines_daemon_has_a_user_of_its_own_and_roots_socket() {
        let daemon = parsed(Scope::System);
        assert_eq!(daemon.get("UserName").unwrap().as_string(), Some(USER));
        let control = socket(&daemon, "Control");
        assert_eq!(control.get("SockPathMode").unwrap().as_signed_integer(), Some(0o600));
        let variables = daemon.get("EnvironmentVariables").unwrap().as_dictionary().unwrap();
        assert!(variables.contains_key("REGAUTH_BUNDLE"));
    }
}
