//! Microbenchmarks: scope matching, request rewriting and certificate creation. Run `cargo bench --package regauth-bench`.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may panic; criterion generates functions without documentation"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Request;
use http::uri::{Authority as UriAuthority, Scheme as UriScheme};
use regauth_shared::Secret;
use regauthd::authority::Authority;
use regauthd::credential::header::CredentialHeader;
use regauthd::host::Host;
use regauthd::policy::{Operation, path};
use regauthd::proxy::exchange::rewrite;
use regauthd::registry::{Kind, Scheme, Scope};

/// Reads a path, finds its scope among eight, and determines the operation.
fn match_scope(criterion: &mut Criterion) {
    let scopes: Vec<Scope> = (0..8)
        .map(|number| {
            format!("https://corp.example/team-{number}/api/cargo/")
                .parse()
                .unwrap()
        })
        .collect();
    let requested = "/team-7/api/cargo/index/se/rd/serde";
    criterion.bench_function("match a path among 8 scopes", |bencher| {
        bencher.iter(|| {
            let readings = path::readings(black_box(requested)).unwrap();
            let scope = scopes.iter().find(|scope| scope.covers_path(readings.literal()));
            let operation = Operation::of(Kind::Cargo, &http::Method::GET, requested, None, None);
            black_box((scope, operation));
        });
    });
}

/// Rewrites a request as cargo sends it, and attaches the credential.
fn rewrite_request(criterion: &mut Criterion) {
    let token = Secret::parse("a-t0ken-of-the-usual-length-0123456789abcdef").unwrap();
    let header = CredentialHeader::new(&Scheme::Bearer, &token);
    let authority = UriAuthority::from_static("corp.example");
    let request = Request::get("https://corp.example/api/cargo/index/se/rd/serde")
        .header("host", "corp.example")
        .header("accept-encoding", "gzip")
        .header("user-agent", "cargo/1.95.0")
        .header("cargo-protocol", "version=1")
        .header("accept", "text/plain")
        .body(())
        .unwrap();
    let (parts, ()) = request.into_parts();
    criterion.bench_function("rewrite a request", |bencher| {
        bencher.iter(|| {
            let mut parts = parts.clone();
            rewrite::request(&mut parts, &UriScheme::HTTPS, &authority);
            header.attach(&mut parts.headers);
            black_box(parts)
        });
    });
}

/// Creates an authority for a new host; restores an existing one with its leaf certificate.
fn create_certificates(criterion: &mut Criterion) {
    let host: Host = "corp.example".parse().unwrap();
    criterion.bench_function("create an authority", |bencher| {
        bencher.iter(|| black_box(Authority::create(&host).unwrap()));
    });
    let (authority, key) = Authority::create(&host).unwrap();
    let certificates = authority.certificates().clone();
    criterion.bench_function("restore an authority and issue its leaf", |bencher| {
        bencher.iter(|| black_box(Authority::restore(&host, certificates.clone(), &key).unwrap()));
    });
}

criterion_group!(micro, match_scope, rewrite_request, create_certificates);
criterion_main!(micro);
