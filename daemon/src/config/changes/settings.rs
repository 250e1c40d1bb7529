//! Changed keys outside of the registries' tables.

use std::fmt::Debug;

use crate::config::changes::{ValueDigest, Weight};
use crate::config::{Config, ProxyUrl, UpstreamSettings};

/// Changed key outside of the registries' tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingChange {
    /// Key, as in `config.toml`.
    pub(crate) key: &'static str,
    /// Digest of the new value.
    pub(crate) value: ValueDigest,
}

impl SettingChange {
    /// Change of a key to a value. No type of a value may leave a part out of its `Debug`.
    pub(crate) fn to(key: &'static str, value: &impl Debug) -> Self {
        Self {
            key,
            value: ValueDigest::of(&format!("{value:?}")),
        }
    }

    /// Place in a list of changes.
    pub(crate) fn weight(&self) -> Weight {
        match self.key {
            "presence" | "[[trust]]" | "signed-grants" | "ca-file" | "[upstream]" | "clients" | "authorities" => {
                Weight::Trust
            }
            _ => Weight::Setting,
        }
    }
}

/// Keys outside of the registries' tables whose values differ, without `store`: the first start and a move write it by
/// themselves.
pub(crate) fn changed_settings(before: &Config, after: &Config) -> Vec<SettingChange> {
    let Config {
        listen,
        listen_tls,
        clients,
        presence,
        signed_grants,
        authorities,
        trust,
        store: _,
        drain_timeout,
        drain_delay,
        audit,
        metrics_listen,
        warn_before,
        notify,
        ca_file,
        upstream,
        registries: _,
    } = after;
    let upstream = (*upstream != before.upstream).then(|| SettingChange::to("[upstream]", &whole_upstream(upstream)));
    [
        change("presence", &before.presence, presence),
        change("[[trust]]", &before.trust, trust),
        change("signed-grants", &before.signed_grants, signed_grants),
        change("ca-file", &before.ca_file, ca_file),
        upstream,
        change("clients", &before.clients, clients),
        change("authorities", &before.authorities, authorities),
        change("listen", &before.listen, listen),
        change("listen-tls", &before.listen_tls, listen_tls),
        change("metrics-listen", &before.metrics_listen, metrics_listen),
        change("audit", &before.audit, audit),
        change("warn-before", &before.warn_before, warn_before),
        change("notify", &before.notify, notify),
        change("drain-timeout", &before.drain_timeout, drain_timeout),
        change("drain-delay", &before.drain_delay, drain_delay),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn change<T: Debug + PartialEq>(key: &'static str, before: &T, after: &T) -> Option<SettingChange> {
    (before != after).then(|| SettingChange::to(key, after))
}

/// Settings with the proxy's user and password, which its `Debug` leaves out.
fn whole_upstream(upstream: &UpstreamSettings) -> impl Debug {
    (
        upstream.proxy.as_ref().map(ProxyUrl::to_text),
        upstream.no_proxy.clone(),
    )
}
