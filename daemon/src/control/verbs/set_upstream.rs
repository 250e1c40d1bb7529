//! `set-upstream`: writes a company's proxy and roots into the configuration, when `setup` replaces them in a client.
//!
//! A setting that is in the file or in use stays: a person decided on it.

use std::path::Path;
use std::sync::Arc;

use regauth_shared::request::SetUpstream;
use regauth_shared::response::UpstreamSet;
use regauth_shared::{ErrorBody, ErrorKind};

use crate::authority::company_roots::CompanyRoots;
use crate::config::{Config, ProxyUrl, UpstreamSettings};
use crate::control::controller::Controller;
use crate::control::state::State;
use crate::guarded;

/// Writes the settings that are missing. The proxy takes effect at the next start, the roots are in the bundle at once.
///
/// # Errors
/// `invalid` when a setting cannot be used; those of the files.
pub(crate) async fn set_upstream(controller: &Controller, request: SetUpstream) -> Result<UpstreamSet, ErrorBody> {
    let state = controller.lock_for_change().await?;
    if !controller.persistent {
        return Err(
            ErrorBody::new(ErrorKind::Refused, "an ephemeral daemon has no configuration file")
                .hint("set https_proxy and SSL_CERT_FILE in its environment"),
        );
    }
    let config = controller.read_config()?;
    let mut notes = Vec::new();
    if let Some(text) = &request.proxy {
        notes.push(set_proxy(controller, &config, text.expose(), &request.no_proxy).await?);
    }
    if let Some(file) = &request.ca_file {
        notes.push(set_ca_file(controller, &state, &config, Path::new(file)).await?);
    }
    Ok(UpstreamSet { notes })
}

async fn set_proxy(
    controller: &Controller,
    config: &Config,
    text: &str,
    no_proxy: &[String],
) -> Result<String, ErrorBody> {
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
    if let Some(present) = &config.upstream.proxy {
        return Ok(format!(
            "{file} has the proxy {present} already, so {proxy} was not written"
        ));
    }
    if let Some(present) = controller.proxy.dialer.proxies().proxies().first() {
        return Ok(format!(
            "regauthd uses the proxy {present} already, so {proxy} was not written"
        ));
    }
    // curl ignores a form that it does not know, such as a host with a port.
    let accepted = no_proxy
        .iter()
        .filter(|entry| UpstreamSettings::accepts_no_proxy(entry));
    let no_proxy: Vec<String> = accepted.cloned().collect();
    controller.edit_config(|file| file.set_proxy(&proxy, &no_proxy)).await?;
    tracing::info!(%proxy, "set corporate proxy for the next start");
    Ok(format!(
        "regauthd uses the proxy {proxy} from its next start, so restart it; it is `proxy` below [upstream] in {file}"
    ))
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
