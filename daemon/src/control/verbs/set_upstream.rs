//! `set-upstream`: writes a company's proxy and roots into the configuration, when `setup` replaces them in a client.
//!
//! A setting that is in the file or in use stays, unless the request is a person's decision to replace it.

use std::path::Path;
use std::sync::Arc;

use regauth_shared::request::SetUpstream;
use regauth_shared::response::UpstreamSet;
use regauth_shared::{ErrorBody, ErrorKind};

use crate::authority::company_roots::CompanyRoots;
use crate::config::{Config, ConfigFile, ProxyUrl, UpstreamSettings};
use crate::control::controller::Controller;
use crate::control::state::{State, StateGuard};
use crate::credential::store::Item;
use crate::guarded;
use crate::proxy::upstream::proxy_rules::ProxySetting;

/// Writes the settings that are missing. The proxy takes effect at the next start, the roots are in the bundle at once.
///
/// # Errors
/// `invalid` when a setting cannot be used; those of the files.
pub(crate) async fn set_upstream(controller: &Controller, request: SetUpstream) -> Result<UpstreamSet, ErrorBody> {
    let mut state = controller.lock_for_change().await?;
    if !controller.persistent {
        return Err(
            ErrorBody::new(ErrorKind::Refused, "an ephemeral daemon has no configuration file")
                .hint("set https_proxy and SSL_CERT_FILE in its environment"),
        );
    }
    if request.remove {
        return remove_proxy(controller, &mut state).await;
    }
    let config = controller.read_config()?;
    let mut notes = Vec::new();
    let mut has_written_proxy = false;
    if let Some(text) = &request.proxy {
        let written = set_proxy(controller, &mut state, &config, text.expose(), &request).await?;
        has_written_proxy = written.is_ok();
        notes.extend(written.unwrap_or_else(|present| vec![present]));
    }
    if let Some(file) = &request.ca_file {
        notes.push(set_ca_file(controller, &state, &config, Path::new(file)).await?);
    }
    Ok(UpstreamSet {
        notes,
        proxy_written: has_written_proxy,
    })
}

/// Removes the proxy. The password goes last, so that a configuration which still names its user finds it.
async fn remove_proxy(controller: &Controller, state: &mut StateGuard<'_>) -> Result<UpstreamSet, ErrorBody> {
    controller.edit_config(ConfigFile::remove_proxy).await?;
    controller.delete_item(state, &Item::ProxyUrl).await?;
    tracing::info!("removed corporate proxy");
    let file = controller.config_file.display();
    let note = format!("{file} names no proxy, and the store has no password for one; restart regauthd");
    Ok(UpstreamSet {
        notes: vec![note],
        proxy_written: false,
    })
}

/// Writes the proxy, and returns notes about it; an inner error is the note that another one stays.
async fn set_proxy(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    config: &Config,
    text: &str,
    request: &SetUpstream,
) -> Result<Result<Vec<String>, String>, ErrorBody> {
    let file = controller.config_file.display();
    let parse = if text.contains("://") {
        ProxyUrl::from_file
    } else {
        ProxyUrl::from_variable
    };
    let proxy = parse(text).map_err(|error| {
        ErrorBody::new(ErrorKind::Invalid, format!("the proxy: {error}")).hint(format!(
            "set `proxy` below [upstream] in {file} by hand, then restart regauthd"
        ))
    })?;
    let in_file = config.upstream.proxy.as_ref();
    let in_use = controller.proxy.dialer.proxies().proxies().into_iter().next();
    if let Some(present) = in_file.filter(|_| !request.replace) {
        let is_pending = in_use.is_none_or(|used| !used.is_at(present));
        let is_same = present.with_password(None) == proxy.with_password(None);
        return Ok(Err(if is_same && is_pending {
            format!("{file} has the proxy {present} already; regauthd uses it from its next start, so restart it")
        } else {
            format!("{file} has the proxy {present} already, so {proxy} was not written")
        }));
    }
    if let Some(present) = in_use.filter(|_| !request.replace) {
        return Ok(Err(format!(
            "regauthd uses the proxy {present} already, so {proxy} was not written"
        )));
    }
    let mut notes = write_proxy(controller, state, &proxy, request).await?;
    tracing::info!(%proxy, "set corporate proxy");
    let used = in_use.filter(|used| used.setting == ProxySetting::File && used.is_at(&proxy));
    let effect = if let Some(used) = used {
        used.set_stored(Some(&proxy));
        format!("regauthd uses the proxy {proxy} with this login from now on")
    } else {
        format!(
            "regauthd uses the proxy {proxy} from its next start, so restart it; it is `proxy` below [upstream] in {file}"
        )
    };
    notes.insert(0, effect);
    Ok(Ok(notes))
}

/// Writes the password to the store, then the rest of the URL to the configuration. Returns where the password is.
async fn write_proxy(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    proxy: &ProxyUrl,
    request: &SetUpstream,
) -> Result<Vec<String>, ErrorBody> {
    // curl ignores a form that it does not know, such as a host with a port.
    let accepted = (request.no_proxy.iter()).filter(|entry| UpstreamSettings::accepts_no_proxy(entry));
    let no_proxy: Vec<String> = accepted.cloned().collect();
    let file = controller.config_file.display();
    let (written, note) = if !proxy.has_password() {
        (proxy.clone(), None)
    } else if controller.keeps_proxy_password() {
        controller.store_proxy_password(state, proxy).await?;
        let note = format!("its password is in the {}", controller.store().kind.as_str());
        (proxy.with_password(None), Some(note))
    } else {
        let note = format!("the store `memory` keeps nothing, so its password is in {file}");
        (proxy.clone(), Some(note))
    };
    let edit = |file: &mut ConfigFile| file.set_proxy(&written, &no_proxy, request.replace);
    controller.edit_config(edit).await?;
    Ok(note.into_iter().collect())
}

async fn set_ca_file(
    controller: &Controller,
    state: &State,
    config: &Config,
    roots: &Path,
) -> Result<String, ErrorBody> {
    let file = controller.config_file.display();
    let invalid = |message: String| ErrorBody::new(ErrorKind::Invalid, format!("the CA file: {message}"));
    if !roots.is_absolute() {
        return Err(invalid("expected an absolute path".to_owned()));
    }
    if controller.proxy.served.is_guarded() {
        guarded::check_file("ca-file", roots)?;
    }
    let company = CompanyRoots::read(Some(roots)).map_err(|error| invalid(error.to_string()))?;
    if let Some(present) = config.ca_file.as_ref().filter(|present| *present != roots) {
        return Ok(format!(
            "{file} has the ca-file {} already; append the certificates of {} to it, then `regauthctl reload`",
            present.display(),
            roots.display()
        ));
    }
    use_roots(controller, state, company, roots).await?;
    tracing::info!(file = %roots.display(), "added a company's roots to the bundle");
    Ok(format!(
        "the bundle has the roots of {}; that file is `ca-file` at the top of {file}",
        roots.display()
    ))
}

/// Writes the bundle with the roots, then the configuration; undone if either fails.
async fn use_roots(
    controller: &Controller,
    state: &State,
    company: CompanyRoots,
    file: &Path,
) -> Result<(), ErrorBody> {
    let before = controller.company_roots.swap(Arc::new(company));
    let mut used = controller.write_bundle(state).await;
    if used.is_ok() {
        used = controller.edit_config(|config| config.set_ca_file(file)).await;
    }
    if used.is_err() {
        controller.company_roots.store(before);
        // The file may have been replaced before the failure.
        let _ = controller.write_bundle(state).await;
    }
    used.map_err(|error| {
        let hint = error.hint.clone().unwrap_or_default();
        error.hint(format!("the ca-file was not set; {hint}"))
    })
}
