//! Finds archives that a registry's scopes miss: indexes of Python, npm, NuGet and Composer may have them outside of their own
//! path on the same host, where clients that know a password per host find them, and ours would get no token.
//!
//! One package page is read. Nothing is added by itself: a note names the command.

use std::time::Duration;

use http::Uri;
use http_body_util::BodyExt;
use memchr::memmem;
use regauth_shared::{RegistryName, Secret};
use serde_json::Value;
use url::Url;

use crate::control::probe;
use crate::credential::header::CredentialHeader;
use crate::proxy::upstream::Upstream;
use crate::registry::{Kind, Registry, Scope};

/// A note if the first archive that is found lies on a host of the registry and outside of all its scopes.
pub(super) async fn uncovered_archives(
    upstream: &Upstream,
    pool: usize,
    name: &RegistryName,
    registry: &Registry,
    token: &Secret,
) -> Option<String> {
    let header = CredentialHeader::new(&registry.scheme, token);
    let reader = Reader {
        upstream,
        pool,
        registry,
        header: &header,
    };
    let archive = tokio::time::timeout(READ_TIMEOUT, reader.archive()).await.ok()??;
    let scope = scope_for(registry, &archive)?;
    Some(format!(
        "archives are outside of these scopes, at {}, and get no token; if downloads need it: \
         `regauthctl add-scope {name} {scope}`",
        without_query(&archive)
    ))
}

/// Reads pages of a registry.
struct Reader<'a> {
    upstream: &'a Upstream,
    pool: usize,
    registry: &'a Registry,
    header: &'a CredentialHeader,
}

impl Reader<'_> {
    /// URL of the first archive.
    async fn archive(&self) -> Option<Url> {
        match self.registry.kind {
            Kind::Pypi => {
                let (simple, _) = probe::probe_url(self.registry)?;
                let package = first_link(&simple, &self.page(&simple).await?)?;
                first_link(&package, &self.page(&package).await?)
            }
            Kind::Npm => {
                let root: Url = self.registry.scopes.first()?.to_string().parse().ok()?;
                let search = self.page(&root.join("-/v1/search?text=&size=1").ok()?).await?;
                let found: Value = serde_json::from_slice(&search).ok()?;
                let package = found.pointer("/objects/0/package/name")?.as_str()?.replace('/', "%2f");
                let page = root.join(&package).ok()?;
                let document = self.page(&page).await?;
                text_after(&document, b"\"tarball\":\"", b'"')?.parse().ok()
            }
            Kind::Nuget => {
                let (page, _) = probe::probe_url(self.registry)?;
                let index = serde_json::from_slice(&self.page(&page).await?).ok()?;
                resources(&page, &index).find(|resource| scope_for(self.registry, resource).is_some())
            }
            Kind::Composer => {
                let (page, _) = probe::probe_url(self.registry)?;
                let root: Value = serde_json::from_slice(&self.page(&page).await?).ok()?;
                match first_archive(&page, &root) {
                    Some(archive) => Some(archive),
                    None => {
                        let package = package_page(&page, &root)?;
                        first_archive(&package, &serde_json::from_slice(&self.page(&package).await?).ok()?)
                    }
                }
            }
            // These have their archives below the index, or no index.
            Kind::Cargo
            | Kind::Git
            | Kind::Oci
            | Kind::Maven
            | Kind::Go
            | Kind::Rubygems
            | Kind::Apt
            | Kind::Generic => None,
        }
    }

    /// The beginning of a page in scope, at most [`MAX_PAGE`] bytes of it.
    async fn page(&self, url: &Url) -> Option<Vec<u8>> {
        let mut plain = url.clone();
        // npm names a scoped package with an encoded slash, which is one segment of the path.
        plain.set_path(&url.path().replace("%2f", "-"));
        if !self.registry.covers_url(&plain) {
            return None;
        }
        let uri: Uri = url.as_str().parse().ok()?;
        let answer = probe::get(self.upstream, self.pool, uri, Some(self.header))
            .await
            .ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let (mut body, mut page) = (answer.into_body(), Vec::new());
        while page.len() < MAX_PAGE
            && let Some(frame) = body.frame().await
        {
            page.extend_from_slice(frame.ok()?.data_ref().map_or(&[], |data| data));
        }
        Some(page)
    }
}

/// URLs of a NuGet feed's resources ("Service index").
fn resources<'a>(page: &'a Url, index: &'a Value) -> impl Iterator<Item = Url> + 'a {
    let resources = index.get("resources").and_then(Value::as_array).into_iter().flatten();
    resources.filter_map(|resource| page.join(resource.get("@id")?.as_str()?).ok())
}

/// URL of the first archive of a Composer document: `dist` of any version of any package.
fn first_archive(page: &Url, document: &Value) -> Option<Url> {
    let versions = children(document.get("packages")?).flat_map(children);
    let mut urls = versions.filter_map(|version| version.pointer("/dist/url")?.as_str());
    page.join(urls.next()?).ok()
}

/// URL of the page of the first package that a Composer repository names ("metadata-url", "available-packages").
fn package_page(page: &Url, root: &Value) -> Option<Url> {
    let pattern = root.get("metadata-url")?.as_str()?;
    let name = root.get("available-packages")?.get(0)?.as_str()?;
    page.join(&pattern.replace("%package%", name)).ok()
}

/// Elements of a list, or values of an object.
fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(elements) => Box::new(elements.iter()),
        Value::Object(members) => Box::new(members.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// Target of the first link of a page of the simple repository API (PEP 503).
fn first_link(page: &Url, body: &[u8]) -> Option<Url> {
    let anchors = memmem::find(body, b"<a ").and_then(|start| body.get(start..))?;
    let target = text_after(anchors, b"href=\"", b'"')?;
    let mut url = page.join(&target.replace("&amp;", "&")).ok()?;
    url.set_fragment(None);
    Some(url)
}

fn text_after(body: &[u8], before: &[u8], end: u8) -> Option<String> {
    let start = memmem::find(body, before)? + before.len();
    let text = body.get(start..)?.split(|byte| *byte == end).next()?;
    String::from_utf8(text.to_vec()).ok()
}

/// The smallest scope that covers the archive and the registry's own scope on the same host. `None` if the archive is
/// covered or on another host.
fn scope_for(registry: &Registry, archive: &Url) -> Option<Scope> {
    if registry.covers_url(archive) {
        return None;
    }
    let on_host = registry.scopes.iter().filter(|scope| scope.is_on_host_of(archive));
    let nearest = on_host.max_by_key(|scope| scope.common_parent(archive.path()).len())?;
    Some(nearest.with_path(nearest.common_parent(archive.path())))
}

/// The query may hold a signature.
fn without_query(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    url
}

/// Bytes of a page that are read.
const MAX_PAGE: usize = 256 * 1024;
/// Time for all pages together.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn suggested(scope: &str, archive: &str) -> Option<String> {
        let text = format!("registries.corp.scopes = [\"{scope}\"]");
        let config = Config::read(&text).unwrap();
        let registry = config.registries.values().next().unwrap();
        scope_for(registry, &archive.parse().unwrap()).map(|scope| scope.to_string())
    }

    #[test]
    fn suggests_the_smallest_scope_that_covers_index_and_archive() {
        for (scope, archive, suggestion) in [
            (
                "https://azure.example/org/_packaging/feed/pypi/",
                "https://azure.example/org/7f/_packaging/3a/pypi/download/anchor-1.0.whl",
                Some("https://azure.example/org/"),
            ),
            (
                "https://gitlab.example/api/v4/groups/9/-/packages/pypi/",
                "https://gitlab.example/api/v4/projects/7/packages/pypi/files/a",
                Some("https://gitlab.example/api/v4/"),
            ),
            (
                "https://a.example/simple/",
                "https://a.example/files/x.whl",
                Some("https://a.example/"),
            ),
            ("https://a.example/", "https://a.example/files/x.whl", None),
            ("https://a.example/simple/", "https://cdn.example/x.whl", None),
            ("https://a.example/simple/", "https://a.example:8443/x.whl", None),
        ] {
            assert_eq!(suggested(scope, archive).as_deref(), suggestion, "{archive}");
        }
    }

    #[test]
    fn finds_the_archives_of_composer_and_nuget() {
        let page: Url = "https://a.example/repo/packages.json".parse().unwrap();
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for document in [
            r#"{"packages":{"corp/x":{"1.0":{"dist":{"url":"https:\/\/a.example\/files\/x.zip"}}}}}"#,
            r#"{"packages":{"corp/x":[{"version":"1.0","dist":{"type":"zip","url":"/files/x.zip"}}]}}"#,
        ] {
            let archive = first_archive(&page, &json(document)).unwrap();
            assert_eq!(archive.as_str(), "https://a.example/files/x.zip");
        }
        let lazy = json(r#"{"packages":[],"metadata-url":"/p2/%package%.json","available-packages":["corp/x"]}"#);
        assert_eq!(first_archive(&page, &lazy), None);
        assert_eq!(
            package_page(&page, &lazy).unwrap().as_str(),
            "https://a.example/p2/corp/x.json"
        );
        let index = json(r#"{"resources":[{"@id":"https://a.example/7f/flat2/","@type":"x"},{"@type":"y"}]}"#);
        let found: Vec<_> = resources(&page, &index).collect();
        assert_eq!(found[0].as_str(), "https://a.example/7f/flat2/");
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn finds_the_first_link_of_a_page() {
        let page: Url = "https://a.example/simple/anchor/".parse().unwrap();
        let body =
            b"<html><link href=\"/style.css\"><a data-x=\"1\" href=\"../../files/a-1.whl?x=1&amp;y=2#sha256=0\">a</a>";
        assert_eq!(
            first_link(&page, body).unwrap().as_str(),
            "https://a.example/files/a-1.whl?x=1&y=2"
        );
        assert_eq!(first_link(&page, b"<html>nothing"), None);
    }
}
