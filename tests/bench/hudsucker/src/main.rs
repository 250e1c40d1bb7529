//! Benchmark candidate: a small proxy on top of hudsucker, configured for speed.
//!
//! It intercepts one host, attaches one header to its requests and tunnels everything else. It checks no client, has no
//! policy and counts nothing.
//!
//! `bench-hudsucker HOST HEADER-VALUE TRUSTED.pem ROOT.pem` intercepts HOST, sends `Authorization: HEADER-VALUE`, trusts
//! TRUSTED.pem upstream, writes its own root to ROOT.pem and prints its address.

use std::sync::Arc;

use hudsucker::certificate_authority::RcgenAuthority;
use hudsucker::hyper::header::{AUTHORIZATION, HeaderValue};
use hudsucker::hyper::{Method, Request};
use hudsucker::rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use hudsucker::rustls::crypto::aws_lc_rs::default_provider;
use hudsucker::rustls::pki_types::CertificateDer;
use hudsucker::rustls::pki_types::pem::PemObject;
use hudsucker::rustls::{ClientConfig, RootCertStore};
use hudsucker::{Body, HttpContext, HttpHandler, Proxy, RequestOrResponse};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::net::TcpListener;

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, value, trusted, root] = arguments.as_slice() else {
        return Err("usage: bench-hudsucker HOST HEADER-VALUE TRUSTED.pem ROOT.pem".into());
    };
    let handler = HeaderHandler {
        host: host.clone(),
        value: HeaderValue::from_str(value)?,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let proxy = Proxy::builder()
        .with_listener(listener)
        .with_ca(authority(root)?)
        .with_http_connector(connector(trusted)?)
        .with_http_handler(handler)
        .build()?;
    println!("listening on {address}");
    Ok(proxy.start().await?)
}

#[derive(Clone)]
struct HeaderHandler {
    host: String,
    value: HeaderValue,
}

impl HttpHandler for HeaderHandler {
    async fn handle_request(&mut self, _: &HttpContext, mut request: Request<Body>) -> RequestOrResponse {
        if request.method() != Method::CONNECT && request.uri().host() == Some(&self.host) {
            request.headers_mut().insert(AUTHORIZATION, self.value.clone());
        }
        request.into()
    }

    async fn should_intercept_connect(&mut self, _: &HttpContext, request: &Request<Body>) -> bool {
        request.uri().host() == Some(&self.host)
    }
}

fn authority(root: &str) -> Result<RcgenAuthority, Error> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "hudsucker");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate()?;
    std::fs::write(root, parameters.self_signed(&key)?.pem())?;
    Ok(RcgenAuthority::new(
        Issuer::new(parameters, key),
        1_000,
        default_provider(),
    ))
}

fn connector(trusted: &str) -> Result<HttpsConnector<HttpConnector>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_file_iter(trusted)?.filter_map(Result::ok));
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_all_versions();
    Ok(https.wrap_connector(http))
}
