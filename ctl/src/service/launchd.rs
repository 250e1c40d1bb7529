//! launchd: one property list that holds the service and its sockets, from the templates in `packaging/launchd`.

use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use super::command::output_of;
use super::plan::{ServicePlan, ServiceStep};
use super::state::{DEFAULT_LISTEN_ADDRESS, Health, Installation, ServiceState, Unit};
use crate::error;

/// Plans the steps that install the service.
///
/// # Errors
/// The property list is not regauthctl's, or the system has no user `_regauth`.
pub(super) fn plan_install(installation: Installation, regauthd: &Path) -> Result<ServicePlan, ErrorBody> {
    let mut plan = ServicePlan::new(MANAGER, installation);
    let job = Job::new(installation)?;
    match installation {
        Installation::User => plan.steps.push(ServiceStep::Folder {
            folder: job.run.clone(),
            mode: 0o700,
        }),
        Installation::System => plan_system_folders(&mut plan)?,
    }
    let changed = plan.write(job.file.clone(), job.property_list(installation, regauthd))?;
    let loaded = job.is_loaded();
    if loaded && changed {
        plan.run(&["launchctl", "bootout", &job.target]);
    }
    if changed || !loaded {
        plan.run(&["launchctl", "bootstrap", &job.domain, &job.file.display().to_string()]);
    }
    Ok(plan)
}

/// Plans the steps that uninstall the service. The daemon's state folder stays, because it holds tokens.
///
/// # Errors
/// The property list cannot be read.
pub(super) fn plan_uninstall(installation: Installation) -> Result<ServicePlan, ErrorBody> {
    let mut plan = ServicePlan::new(MANAGER, installation);
    let job = Job::new(installation)?;
    if job.is_loaded() {
        plan.run(&["launchctl", "bootout", &job.target]);
    }
    plan.remove(job.file)?;
    if plan.steps.is_empty() {
        plan.notes.push("the service is not installed".to_owned());
    }
    Ok(plan)
}

/// Asks launchd for the state of the service.
///
/// # Errors
/// `HOME` is not set.
pub(super) fn state(installation: Installation) -> Result<ServiceState, ErrorBody> {
    let job = Job::new(installation)?;
    let (loaded, installed) = (job.is_loaded(), job.file.exists());
    let word = |yes: bool, word: &str| if yes { word.to_owned() } else { format!("not {word}") };
    let unit = Unit {
        name: LABEL.to_owned(),
        enabled: word(installed, "installed"),
        active: word(loaded, "loaded"),
        file: installed.then(|| job.file.display().to_string()),
    };
    Ok(ServiceState {
        manager: MANAGER,
        installation,
        installed: loaded || installed,
        health: match (loaded, installed) {
            (true, _) => Health::Serving,
            (false, true) => Health::Stopped,
            (false, false) => Health::Absent,
        },
        last_error: None,
        units: vec![unit],
        listen_addresses: vec![DEFAULT_LISTEN_ADDRESS],
    })
}

/// File that launchd writes the daemon's log to.
///
/// # Errors
/// `HOME` is not set.
pub(super) fn log_file(installation: Installation) -> Result<PathBuf, ErrorBody> {
    let job = Job::new(installation)?;
    Ok(match installation {
        Installation::User => job.logs.join(LOG_FILE),
        Installation::System => job.run.join("home").join(LOG_FILE),
    })
}

/// launchd job of one installation: its files, and its names for `launchctl`.
struct Job {
    file: PathBuf,
    domain: String,
    target: String,
    run: PathBuf,
    logs: PathBuf,
}

impl Job {
    fn new(installation: Installation) -> Result<Self, ErrorBody> {
        let (domain, job_folder) = match installation {
            Installation::User => (format!("gui/{}", rustix::process::getuid().as_raw()), "LaunchAgents"),
            Installation::System => ("system".to_owned(), "LaunchDaemons"),
        };
        let (library, folders) = library_and_folders(installation)?;
        Ok(Self {
            file: library.join(job_folder).join(format!("{LABEL}.plist")),
            target: format!("{domain}/{LABEL}"),
            domain,
            run: folders.run,
            logs: library.join("Logs"),
        })
    }

    fn property_list(&self, installation: Installation, regauthd: &Path) -> String {
        let template = match installation {
            Installation::User => AGENT,
            Installation::System => DAEMON,
        };
        template
            .replace("@REGAUTHD@", &escape_xml(regauthd))
            .replace("@RUN@", &escape_xml(&self.run))
            .replace("@LOGS@", &escape_xml(&self.logs))
    }

    fn is_loaded(&self) -> bool {
        output_of(&["launchctl", "print", &self.target]).is_ok()
    }
}

/// The `Library` folder of the installation, and the daemon's folders.
fn library_and_folders(installation: Installation) -> Result<(PathBuf, Folders), ErrorBody> {
    let variable = |name: &str| std::env::var_os(name);
    match (installation, variable("HOME")) {
        (Installation::System, _) => Ok((PathBuf::from("/Library"), Folders::of_the_system())),
        (Installation::User, Some(home)) => {
            let folders = Folders::resolve(None, |name| variable(name).filter(|_| name == "HOME"));
            let folders = folders.map_err(|error| error::usage(error.to_string()))?;
            Ok((PathBuf::from(home).join("Library"), folders))
        }
        (Installation::User, None) => {
            Err(error::usage("HOME is not set, so your Library folder is unknown").hint("set HOME to your home folder"))
        }
    }
}

/// Plans the daemon's folders. The administrator creates the user `_regauth`, because only they know a free user ID.
fn plan_system_folders(plan: &mut ServicePlan) -> Result<(), ErrorBody> {
    output_of(&["id", "-u", USER]).map_err(|_| {
        error::failed(format!(
            "the user {USER}, which the system's regauthd runs as, does not exist"
        ))
        .hint(format!(
            "create it with a free user ID: sudo sysadminctl -addUser {USER} -UID 450 -roleAccount"
        ))
    })?;
    let run = Folders::of_the_system().run;
    for (folder, mode, owner) in [
        (run.clone(), 0o755, "root"),
        (run.join("home"), 0o700, USER),
        (run.join("bundle"), 0o755, USER),
    ] {
        let name = folder.display().to_string();
        plan.steps.push(ServiceStep::Folder { folder, mode });
        plan.run(&["chown", owner, &name]);
    }
    Ok(())
}

fn escape_xml(path: &Path) -> String {
    let text = path.display().to_string();
    text.replace('&', "&amp;").replace('<', "&lt;")
}

const MANAGER: &str = "launchd";
const LABEL: &str = "regauthd";
/// Name in the property lists.
const LOG_FILE: &str = "regauthd.log";
const USER: &str = "_regauth";
const AGENT: &str = include_str!("../../../packaging/launchd/agent.plist");
const DAEMON: &str = include_str!("../../../packaging/launchd/daemon.plist");

#[cfg(test)]
mod tests {
    use plist::{Dictionary, Value};

    use super::super::state::OWNERSHIP_MARKER;
    use super::*;

    fn parse_property_list(installation: Installation) -> Dictionary {
        let job = Job {
            file: PathBuf::new(),
            domain: String::new(),
            target: String::new(),
            run: PathBuf::from("/Users/a & b/run"),
            logs: PathBuf::from("/Users/a & b/Library/Logs"),
        };
        let text = job.property_list(installation, Path::new("/opt/bin/regauthd"));
        assert!(text.contains(OWNERSHIP_MARKER), "uninstall would not remove it");
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
    fn agent_has_its_sockets_and_the_users_folders() {
        let agent = parse_property_list(Installation::User);
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
        assert_eq!(
            agent.get("StandardErrorPath").unwrap().as_string(),
            Some("/Users/a & b/Library/Logs/regauthd.log")
        );
    }

    #[test]
    fn system_daemon_runs_as_its_own_user_with_a_private_socket() {
        let daemon = parse_property_list(Installation::System);
        assert_eq!(daemon.get("UserName").unwrap().as_string(), Some(USER));
        let control = socket(&daemon, "Control");
        assert_eq!(control.get("SockPathMode").unwrap().as_signed_integer(), Some(0o600));
        let log = log_file(Installation::System).unwrap();
        let written = log.strip_prefix(Folders::of_the_system().run).unwrap();
        let path = daemon.get("StandardErrorPath").unwrap().as_string().unwrap();
        assert!(path.ends_with(written.to_str().unwrap()), "{path}");
        let variables = daemon.get("EnvironmentVariables").unwrap().as_dictionary().unwrap();
        assert!(variables.contains_key("REGAUTH_BUNDLE"));
    }
}
