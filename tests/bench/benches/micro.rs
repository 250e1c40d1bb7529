//! The pure steps of a request, and what a registry's first client waits for. `cargo bench --package regauth-bench`.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark fails loudly; criterion makes the functions"
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

/// Which of a site's scopes covers a path, whether it has one reading, and what the request does there.
fn matching(criterion: &mut Criterion) {
    let scopes: Vec<Scope> = (0..8)
        .map(|number| {
            format!("https://corp.example/team-{number}/api/cargo/")
                .parse()
                .unwrap()
        })
        .collect();
    let asked = "/team-7/api/cargo/index/se/rd/serde";
    criterion.bench_function("match a path among 8 scopes", |bencher| {
        bencher.iter(|| {
            let canonical = path::canonical(black_box(asked)).unwrap();
            let scope = scopes.iter().find(|scope| scope.covers_path(&canonical));
            let operation = Operation::of(Kind::Cargo, &http::Method::GET, asked, None, None);
            black_box((scope, operation));
        });
    });
}

/// A request as cargo sends it, made ours.
fn rewriting(criterion: &mut Criterion) {
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

/// An authority for a new host; and one that is there already, with the leaf that it serves.
fn minting(criterion: &mut Criterion) {
    let host: Host = "corp.example".parse().unwrap();
    criterion.bench_function("make an authority", |bencher| {
        bencher.iter(|| black_box(Authority::create(&host).unwrap()));
    });
    let (authority, key) = Authority::create(&host).unwrap();
    let certificates = authority.certificates().clone();
    criterion.bench_function("take up an authority and mint its leaf", |bencher| {
        bencher.iter(|| black_box(Authority::restore(&host, certificates.clone(), &key).unwrap()));
    });
}

criterion_group!(micro, matching, rewriting, minting);
criterion_main!(micro);
