//! Checks of the environment that all clients share, and of the tools that are set up.

use super::context::{DoctorContext, variable};
use super::finding::{AutomaticFix, Finding};
use crate::environment::{bypassing_entries, without_bypassing_entries};
use crate::setup;

/// Checks `NO_PROXY`, and the setup of every tool.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let no_proxy = ["NO_PROXY", "no_proxy"];
    let bypasses = no_proxy.into_iter().filter_map(|name| check_no_proxy(context, name));
    bypasses.chain(outdated_setups(context)).collect()
}

fn check_no_proxy(context: &DoctorContext, name: &str) -> Option<Finding> {
    let value = variable(name)?;
    let hosts = context.info.hosts();
    let entries = bypassing_entries(&value, &hosts);
    let finding = || {
        Finding::new(
            "no-proxy-bypasses",
            format!(
                "{name} contains {}, which is the host of a registry",
                entries.join(", ")
            ),
            "NO_PROXY overrides every proxy setting, even CARGO_HTTP_PROXY: requests bypass regauthd without a token",
            format!("export {name}='{}'", without_bypassing_entries(&value, &hosts)),
        )
    };
    (!entries.is_empty()).then(finding)
}

fn outdated_setups(context: &DoctorContext) -> Vec<Finding> {
    let finding = |tool: &str| {
        Finding::new(
            "set-up-outdated",
            format!("{tool} was set up for another address, bundle or list of registries"),
            "it connects to an address that regauthd no longer listens on, or lacks the settings of a registry",
            "regauthctl doctor --fix",
        )
        .with_fix(AutomaticFix::RefreshSetup)
    };
    setup::outdated(&context.folders, &context.info)
        .into_iter()
        .map(finding)
        .collect()
}
