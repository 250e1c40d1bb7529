//! `regauthctl`.
fn main() {}
