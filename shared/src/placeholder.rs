//! The public, worthless token for clients that insist on having one.

/// What `cargo-credential-regauth` gives to cargo, and `regauthctl setup npm` to npm. The daemon removes it from every
/// request before it attaches the credential; a registry that ever sees it knows that the request went past the proxy.
pub const PLACEHOLDER: &str = "regauth-placeholder-not-a-secret";
