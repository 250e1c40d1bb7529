//! AWS: STS by moto, behind a check of the identity, and CodeArtifact's GetAuthorizationToken with its signature.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Answer, Received, State};

pub(super) async fn answer(state: &Arc<State>, request: &Received, moto: SocketAddr) -> Answer {
    if request.is(&Method::POST, "/") {
        return assume_role(state, request, moto).await;
    }
    if !request.is(&Method::POST, "/v1/authorization-token") {
        return error(404, "UnknownOperationException", "no such operation");
    }
    if let Err(message) = verify_signature(state, request) {
        return error(403, "InvalidSignatureException", &message);
    }
    // Keys without an end have no session whose end the token could take.
    let duration = match request.header("x-amz-security-token") {
        "" => "43200",
        _ => "0",
    };
    let expected = [
        ("domain", "corp"),
        ("domain-owner", "123456789012"),
        ("duration", duration),
    ];
    let mut query = request.query();
    query.sort();
    if query != expected.map(|(name, value)| (name.to_owned(), value.to_owned())) || !request.text().is_empty() {
        return error(400, "ValidationException", "the domain is unknown");
    }
    let (token, seconds) = state.mint();
    let end = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() + f64::from(u32::try_from(seconds).unwrap());
    Answer::json(200, &json!({ "authorizationToken": token, "expiration": end }))
}

fn error(status: u16, kind: &'static str, message: &str) -> Answer {
    Answer::json(status, &json!({ "message": message })).header("x-amzn-errortype", kind)
}

/// moto does not verify identities, so that is done here.
async fn assume_role(state: &Arc<State>, request: &Received, moto: SocketAddr) -> Answer {
    let refused = |code: &str, message: &str| {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
        );
        Answer::text(400, "text/xml", &body)
    };
    let form = request.form().unwrap_or_default();
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if [field("Action"), field("Version")] != ["AssumeRoleWithWebIdentity", "2011-06-15"] {
        return refused("InvalidAction", "Could not find operation");
    }
    if field("RoleArn") != "arn:aws:iam::123456789012:role/ci" || field("RoleSessionName") != "regauth" {
        return refused(
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        );
    }
    if let Err(reason) = state.verify(field("WebIdentityToken"), &["sts.amazonaws.com"]) {
        return refused("InvalidIdentityToken", &reason);
    }
    let body = ask(moto, &request.text()).await;
    let secret = element(&body, "SecretAccessKey");
    state.note_secret(&secret);
    state.note_secret(&element(&body, "SessionToken"));
    state.sessions.lock().unwrap().insert(
        element(&body, "AccessKeyId"),
        format!("{secret} {}", element(&body, "SessionToken")),
    );
    Answer::text(200, "text/xml", &body)
}

async fn ask(moto: SocketAddr, form: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(moto).await.unwrap();
    let head = format!(
        "POST / HTTP/1.0\r\nHost: sts.amazonaws.com\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn element(text: &str, name: &str) -> String {
    let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
    rest.split_once("</").unwrap().0.to_owned()
}

/// Computes the signature again from the request as it arrived, with exactly the headers that it names.
fn verify_signature(state: &Arc<State>, request: &Received) -> Result<(), String> {
    let authorization = request.header("authorization");
    let fields = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or("the algorithm is wrong")?;
    let fields: Vec<&str> = fields
        .split(", ")
        .filter_map(|field| Some(field.split_once('=')?.1))
        .collect();
    let [credential, signed_headers, signature] = fields[..] else {
        return Err("the header has other fields".to_owned());
    };
    let (key_id, scope) = credential.split_once('/').ok_or("the scope is missing")?;
    let time = request.header("x-amz-date");
    if scope != format!("{}/eu-central-1/codeartifact/aws4_request", &time[..8]) {
        return Err(format!("the scope {scope} is wrong"));
    }
    let sessions = state.sessions.lock().unwrap();
    let session = sessions
        .get(key_id)
        .ok_or("The security token included in the request is invalid.")?;
    let (secret, token) = session.split_once(' ').unwrap();
    if request.header("x-amz-security-token") != token {
        return Err("The security token included in the request is invalid.".to_owned());
    }
    let must_be_signed = ["host", "x-amz-date", "x-amz-security-token"];
    let must_be_signed = must_be_signed.get(..if token.is_empty() { 2 } else { 3 }).unwrap();
    if !must_be_signed
        .iter()
        .all(|name| signed_headers.split(';').any(|signed| signed == *name))
    {
        return Err("a header is not signed".to_owned());
    }
    let canonical = canonical_request(request, signed_headers);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&canonical));
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| mac(&key, part));
    match hex(&mac(&key, &text)) == signature {
        true => Ok(()),
        false => Err("The request signature we calculated does not match the signature you provided.".to_owned()),
    }
}

fn canonical_request(request: &Received, signed_headers: &str) -> String {
    let value = |name: &str| match (name, request.uri.authority()) {
        ("host", Some(authority)) => authority.to_string(),
        (name, _) => request.header(name).to_owned(),
    };
    let headers: String = signed_headers
        .split(';')
        .map(|name| format!("{name}:{}\n", value(name)))
        .collect();
    let mut query: Vec<&str> = request.uri.query().unwrap_or_default().split('&').collect();
    // By names, not by whole pairs: `-` comes before `=`.
    query.sort_unstable_by_key(|pair| pair.split_once('='));
    format!(
        "POST\n{}\n{}\n{headers}\n{signed_headers}\n{}",
        request.path,
        query.join("&"),
        hash("")
    )
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

fn hash(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
