//! The client's side of the proxy: from an accepted TCP connection to a decrypted request, a tunnel or an answer.
//!
//! In the order of a request: [`accept`] takes a connection, [`worker`] runs it, [`connect`] reads its CONNECT,
//! [`authenticate`] finds out the client with the help of [`peer`], and [`limits`] counts what that client has open. Then the
//! connection is a [`tunnel`], is [`intercept`]ed or carries [`plain`] HTTP. [`drain`] ends connections, and [`socket`] keeps a
//! TCP connection open until the client has read its last bytes.

pub(crate) mod accept;
pub(crate) mod authenticate;
pub mod connect;
pub(crate) mod drain;
pub(crate) mod intercept;
pub(crate) mod limits;
pub(crate) mod peer;
pub(crate) mod plain;
pub(crate) mod socket;
pub(crate) mod tunnel;
pub(crate) mod worker;
