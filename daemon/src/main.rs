//! `regauthd`.
fn main() {}
