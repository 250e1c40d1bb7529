//! Answers that are read before the client gets them: those of Git LFS, and those of token services.
//!
//! A token service may give out the very token that it was asked with, in base64. Such an answer is withheld.
//!
//! An answer of Git LFS lists the requests that get and put objects. GitLab, Gitea and Forgejo put the Authorization of the
//! request into each action of the answer. The client then sends it with the object's request. It is the registry's
//! token, so it is removed: that request gets it here anyway. giftless and others put a short-lived token of their own
//! there. Our token would replace it, so it travels sealed and under another name between client and proxy. An answer that
//! has our token anywhere else is withheld.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RANGE,
};
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use serde_json::{Map, Value};
use url::Url;

use crate::credential::header::CredentialHeader;
use crate::host::Origin;
use crate::policy::{lfs, token_scope};
use crate::proxy::exchange::action_seal::ActionSeal;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::send::ResponseBody;
use crate::proxy::routes::{InterceptedHost, RegistryRoute, Routes};
use crate::proxy::upstream::UpstreamFailure;

/// Header of a request to an object's URL: the authorization that the Git LFS server gave for it, sealed.
pub(in crate::proxy) const ACTION_AUTHORIZATION: HeaderName = HeaderName::from_static("regauth-action-authorization");

/// Prepares a request whose answer has to be checked, or may have to be: it must not be compressed. Returns true if it has
/// to be, whatever its media type.
pub(super) fn prepare(request: &mut Request<RequestBody>) -> bool {
    let (uri, headers) = (request.uri(), request.headers());
    let names_lfs = |value: &HeaderValue| {
        let mut parts = value.as_bytes().windows(lfs::MEDIA_TYPE.len());
        parts.any(|part| part.eq_ignore_ascii_case(lfs::MEDIA_TYPE))
    };
    let is_batch = *request.method() == Method::POST
        && lfs::is_batch_path(uri.path())
        && headers.get_all(CONTENT_TYPE).iter().any(names_lfs);
    let has_to_be = is_batch || token_scope::may_ask_for_token(uri.path(), uri.query());
    if has_to_be || headers.get_all(ACCEPT).iter().any(names_lfs) {
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        // Half of an answer would not show the credential.
        request.headers_mut().remove(RANGE);
    }
    has_to_be
}

/// Is this a response of Git LFS?
pub(super) fn is_of_lfs(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_TYPE)
        .iter()
        .any(|value| lfs::is_media_type(value.as_bytes()))
}

/// Reads an answer, removes the credential from its actions, and seals other tokens there.
///
/// # Errors
/// [`ProxyError::UpstreamUnsafe`] if the credential is anywhere else in it, [`ProxyError::UpstreamUnreadable`] if it cannot
/// be searched, or that there was no whole answer in time.
pub(super) async fn check_answer(
    routes: &Routes,
    seal: &ActionSeal,
    credential: &CredentialHeader,
    response: Response<ResponseBody>,
) -> Result<Response<ResponseBody>, ProxyError> {
    if response.body().is_end_stream() {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    let encodings = head.headers.get_all(CONTENT_ENCODING).iter();
    if encodings.into_iter().any(|encoding| encoding.as_bytes() != b"identity") {
        return Err(ProxyError::UpstreamUnreadable);
    }
    let body = read_whole(body).await?;
    let actions = Actions {
        routes,
        seal,
        credential,
    };
    let body = without_credential(&actions, body)?;
    for name in [CONTENT_LENGTH, CONTENT_MD5, DIGEST] {
        head.headers.remove(name);
    }
    Ok(Response::from_parts(head, Either::Right(Full::new(body))))
}

fn without_credential(actions: &Actions<'_>, body: Bytes) -> Result<Bytes, ProxyError> {
    let credential = actions.credential;
    let mut body = body;
    if let Ok(mut answer) = serde_json::from_slice(&body) {
        if actions.change(&mut answer) {
            body = answer.to_string().into();
        }
        if repeats(credential, &answer) {
            return Err(ProxyError::UpstreamUnsafe);
        }
    }
    // Also the text: it may be an error page, and a name may be there twice.
    if credential.is_repeated_in(&body) {
        return Err(ProxyError::UpstreamUnsafe);
    }
    Ok(body)
}

async fn read_whole(body: ResponseBody) -> Result<Bytes, ProxyError> {
    let read = Limited::new(body, MAX_ANSWER_BYTES).collect();
    match tokio::time::timeout(ANSWER_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ProxyError::UpstreamUnreadable),
        Ok(Err(_)) => Err(ProxyError::Upstream(UpstreamFailure::Closed)),
        Err(_) => Err(ProxyError::Upstream(UpstreamFailure::NoAnswer)),
    }
}

/// The actions of an answer: objects with `href` and `header`, wherever they are.
struct Actions<'a> {
    routes: &'a Routes,
    seal: &'a ActionSeal,
    credential: &'a CredentialHeader,
}

impl Actions<'_> {
    /// Changes the headers of all actions. Returns true if one was changed.
    fn change(&self, value: &mut Value) -> bool {
        match value {
            Value::Array(values) => values
                .iter_mut()
                .fold(false, |changed, value| self.change(value) | changed),
            Value::Object(object) => {
                let changed = self.change_action(object);
                object
                    .values_mut()
                    .fold(changed, |changed, value| self.change(value) | changed)
            }
            _ => false,
        }
    }

    fn change_action(&self, action: &mut Map<String, Value>) -> bool {
        let Some(Value::String(href)) = action.get("href") else {
            return false;
        };
        let recipient = self.recipient(href);
        let Some(Value::Object(headers)) = action.get_mut("header") else {
            return false;
        };
        let before = headers.len();
        headers.retain(|_, value| !repeats(self.credential, value));
        if let Some((host, registry)) = &recipient {
            self.seal_token(host, registry, headers);
        }
        headers.len() < before || headers.contains_key(ACTION_AUTHORIZATION.as_str())
    }

    /// Seals the header that we replace in a request to this registry. A value that cannot be sealed is removed.
    fn seal_token(&self, host: &InterceptedHost, registry: &RegistryRoute, headers: &mut Map<String, Value>) {
        let replaced = registry.registry.scheme.header();
        let is_replaced = |name: &&String| name.eq_ignore_ascii_case(replaced.as_str());
        let Some(name) = headers.keys().find(is_replaced).cloned() else {
            return;
        };
        let value = headers.remove(&name);
        let token = value.as_ref().and_then(Value::as_str);
        let seal = host.action_seal.as_deref().unwrap_or(self.seal);
        let sealed = token.and_then(|token| seal.seal(&registry.name, &host.origin, token));
        if let Some(sealed) = sealed {
            headers.insert(ACTION_AUTHORIZATION.as_str().to_owned(), sealed.into());
        }
    }

    /// Host and registry that a request to this URL belongs to; `None` outside every scope.
    fn recipient(&self, url: &str) -> Option<(&InterceptedHost, &RegistryRoute)> {
        let url = Url::parse(url).ok()?;
        let authority = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let host = self.routes.host(&Origin::parse(&authority, None).ok()?)?;
        let is_plain = url.scheme() == "http";
        let registry = host.match_scope(url.path()).ok()??;
        (host.plain == is_plain).then_some((&**host, &**registry))
    }
}

/// Does a text, a name or a value within repeat the credential? JSON's escapes are decoded here.
fn repeats(credential: &CredentialHeader, value: &Value) -> bool {
    match value {
        Value::String(text) => credential.is_repeated_in(text.as_bytes()),
        Value::Array(values) => values.iter().any(|value| repeats(credential, value)),
        Value::Object(object) => object
            .iter()
            .any(|(name, value)| credential.is_repeated_in(name.as_bytes()) || repeats(credential, value)),
        _ => false,
    }
}

/// git-lfs asks for 100 objects at once. A signed URL has up to some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const DIGEST: HeaderName = HeaderName::from_static("digest");

#[cfg(test)]
mod tests {
    use regauth_shared::Secret;
    use serde_json::json;

    use super::*;
    use crate::proxy::routes::tests::routes;
    use crate::registry::Scheme;

    const TOKEN: &str = "s3cret-t0ken-of-corp";

    fn test_routes() -> Routes {
        routes(
            r#"
                registries.corp.scopes = ["https://corp.example/git/"]
                registries.other.scopes = ["https://other.example/"]
                registries.other.scheme = "X-Token: {token}"
            "#,
        )
    }

    fn checked(scheme: &Scheme, token: &str, answer: &Value) -> Result<Value, ProxyError> {
        checked_with(&ActionSeal::new(), scheme, token, answer)
    }

    fn checked_with(seal: &ActionSeal, scheme: &Scheme, token: &str, answer: &Value) -> Result<Value, ProxyError> {
        let routes = test_routes();
        let credential = CredentialHeader::new(scheme, &Secret::parse(token).unwrap());
        let body = Either::Right(Full::new(Bytes::from(answer.to_string())));
        let checking = check_answer(&routes, seal, &credential, Response::new(body));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let body = checking.await?.into_body().collect().await.unwrap().to_bytes();
            Ok(serde_json::from_slice(&body).unwrap())
        })
    }

    fn action(href: &str, header: &Value) -> Value {
        json!({"transfer": "basic", "objects": [{"oid": "ab", "size": 3, "actions": {"download": {"href": href, "header": header}}}]})
    }

    fn check(href: &str, header: &Value, expected: &Value) {
        let basic = Scheme::Basic {
            username: "me".to_owned(),
        };
        let answer = checked(&basic, TOKEN, &action(href, header)).unwrap();
        assert_eq!(answer, action(href, expected));
    }

    #[test]
    fn a_repeated_token_is_removed_from_an_action() {
        // `me:s3cret-t0ken-of-corp` and `oauth2:s3cret-t0ken-of-corp`
        for value in [
            "Basic bWU6czNjcmV0LXQwa2VuLW9mLWNvcnA=",
            "Basic b2F1dGgyOnMzY3JldC10MGtlbi1vZi1jb3Jw",
            "Bearer s3cret-t0ken-of-corp",
        ] {
            for href in ["https://corp.example/git/r.git/objects/ab", "https://cdn.example/ab"] {
                check(
                    href,
                    &json!({"Authorization": value, "Accept": "x"}),
                    &json!({"Accept": "x"}),
                );
            }
        }
    }

    #[test]
    fn a_short_token_is_removed_as_well() {
        let href = "https://corp.example/git/r.git/objects/ab";
        let answer = checked(
            &Scheme::Bearer,
            "tok",
            &action(href, &json!({"authorization": "Bearer tok"})),
        );
        assert_eq!(answer.unwrap(), action(href, &json!({})));
    }

    #[test]
    fn an_authorization_of_the_server_is_kept_where_ours_would_not_replace_it() {
        let theirs = json!({"authorization": "Bearer theirs"});
        for href in [
            "https://corp.example/elsewhere/ab",
            "https://corp.example:8443/git/ab",
            "http://corp.example:443/git/ab",
            "https://other.example/ab",
            "https://storage.example/ab",
            "/git/ab",
        ] {
            check(href, &theirs, &theirs);
        }
    }

    #[test]
    fn an_authorization_of_the_server_is_sealed_where_ours_would_replace_it() {
        let seal = ActionSeal::new();
        for (registry, host, href, name) in [
            (
                "corp",
                "corp.example",
                "https://corp.example/git/r.git/objects/ab",
                "authorization",
            ),
            (
                "corp",
                "corp.example",
                "https://CORP.example:443/git/r.git/ab?x=y",
                "Authorization",
            ),
            ("other", "other.example", "https://other.example/ab", "x-token"),
        ] {
            let answer = action(href, &json!({ name: "Bearer theirs" }));
            let answer = checked_with(&seal, &Scheme::Bearer, TOKEN, &answer).unwrap();
            let headers = &answer["objects"][0]["actions"]["download"]["header"];
            assert_eq!(headers.as_object().unwrap().len(), 1, "{headers}");
            let sealed = HeaderValue::from_str(headers["regauth-action-authorization"].as_str().unwrap()).unwrap();
            let host = Origin::parse(host, Some(443)).unwrap();
            let opened = seal.open(&registry.parse().unwrap(), &host, &sealed);
            assert_eq!(opened.unwrap(), "Bearer theirs");
        }
    }

    #[test]
    fn a_token_anywhere_else_withholds_the_answer() {
        for answer in [
            json!({"message": format!("no access for {TOKEN}")}),
            action(&format!("https://me:{TOKEN}@corp.example/git/ab"), &json!({})),
            action(&format!("https://cdn.example/ab?token={TOKEN}"), &json!({})),
            json!({ TOKEN: 1 }),
        ] {
            let result = checked(&Scheme::Bearer, TOKEN, &answer);
            assert_eq!(result, Err(ProxyError::UpstreamUnsafe), "{answer}");
        }
    }
}
