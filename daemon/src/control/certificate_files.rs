//! Certificate files of the configuration, read again when a person asks for the daemon's state.
//!
//! A daemon keeps the certificates that it has read, so a file that is gone shows only at the next start. `status`, `list`
//! and `show` say so before. Nothing that is in service changes here: `reload` does that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regauth_shared::RegistryName;
use regauth_shared::response::Problem;

use crate::authority::company_roots::CompanyRoots;
use crate::control::controller::Controller;
use crate::proxy::routes::RegistryRoute;
use crate::proxy::upstream::trust;
use crate::registry::ClientIdentity;

/// Files that cannot be used now.
#[derive(Debug, Default)]
pub(in crate::control) struct UnusableFiles {
    registries: BTreeMap<RegistryName, String>,
    company_roots: Option<String>,
}

impl UnusableFiles {
    /// Reads the files of these registries, and the global `ca-file`. Finds nothing if the file system does not answer.
    pub(in crate::control) async fn find(
        controller: &Controller,
        routes: impl Iterator<Item = &Arc<RegistryRoute>>,
    ) -> Self {
        let roots = controller.company_roots.load().file.clone();
        let registries: Vec<_> = routes
            .filter(|route| route.registry.ca_file.is_some() || route.registry.client_identity.is_some())
            .map(|route| RegistryFiles {
                name: route.name.clone(),
                ca_file: route.registry.ca_file.clone(),
                identity: route.registry.client_identity.clone(),
            })
            .collect();
        if registries.is_empty() && roots.is_none() {
            return Self::default();
        }
        let read = tokio::task::spawn_blocking(move || Self::read(registries, roots));
        let read = tokio::time::timeout(READ_TIMEOUT, read).await;
        read.ok().and_then(Result::ok).unwrap_or_default()
    }

    fn read(registries: Vec<RegistryFiles>, company_roots: Option<PathBuf>) -> Self {
        let unusable = registries.into_iter().filter_map(|files| {
            let error = trust::check_files(files.ca_file.as_deref(), files.identity.as_ref()).err()?;
            let message = format!("registry `{}`: {error}", files.name);
            Some((files.name, message))
        });
        Self {
            registries: unusable.collect(),
            company_roots: CompanyRoots::read(company_roots.as_deref())
                .err()
                .map(|error| error.to_string()),
        }
    }

    /// The error of a registry's files: that of the last reload, or the one of now.
    pub(in crate::control) fn of(&self, route: &RegistryRoute) -> Option<String> {
        let now = self.registries.get(&route.name);
        route.trouble.as_ref().or(now).cloned()
    }

    /// The fault of the global `ca-file`. The message begins with the configuration file, as for every fault of it.
    pub(in crate::control) fn company_roots_problem(&self, controller: &Controller) -> Option<Problem> {
        let error = self.company_roots.as_ref()?;
        Some(Problem {
            message: format!("{}: `ca-file`: {error}", controller.config_file.display()),
            hint: "write the file again, or correct the path; then `regauthctl reload`".to_owned(),
        })
    }
}

/// Certificate files of one registry.
#[derive(Clone, Debug)]
struct RegistryFiles {
    name: RegistryName,
    ca_file: Option<PathBuf>,
    identity: Option<ClientIdentity>,
}

/// The files are small and usually local.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_is_found_without_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.pem");
        let root = rcgen::generate_simple_self_signed(["root.example".to_owned()]).unwrap();
        std::fs::write(&file, root.cert.pem()).unwrap();
        let name: RegistryName = "corp".parse().unwrap();
        let files = |ca_file: Option<PathBuf>, identity: Option<ClientIdentity>| RegistryFiles {
            name: name.clone(),
            ca_file,
            identity,
        };
        let identity = ClientIdentity {
            certificate: file.clone(),
            key: folder.path().join("root.key"),
        };
        std::fs::write(&identity.key, root.signing_key.serialize_pem()).unwrap();
        let find = || UnusableFiles::read(vec![files(Some(file.clone()), None)], Some(file.clone()));
        let find_identity = || UnusableFiles::read(vec![files(None, Some(identity.clone()))], None);
        assert!(find_identity().registries.is_empty());
        let found = find();
        assert!(
            found.registries.is_empty() && found.company_roots.is_none(),
            "{found:?}"
        );
        std::fs::remove_file(&file).unwrap();
        let found = find();
        let shown = file.display().to_string();
        assert!(found.registries.get(&name).unwrap().contains(&shown), "{found:?}");
        assert!(found.company_roots.unwrap().contains(&shown));
        std::fs::write(&file, root.cert.pem()).unwrap();
        std::fs::write(&identity.key, "no key").unwrap();
        assert!(find_identity().registries.get(&name).unwrap().contains("root.key"));
    }
}
