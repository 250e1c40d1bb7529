//! Public, worthless token for clients that insist on having one.

/// Token that `cargo-credential-regauth` gives to cargo, and `regauthctl setup npm` to npm.
///
/// The daemon removes it from every request before it attaches the credential. A registry that receives it was reached
/// without the proxy.
pub const PLACEHOLDER: &str = "regauth-placeholder-not-a-secret";
