//! Client side of the proxy: from an accepted TCP connection to a decrypted request, a tunnel or an error response.
//!
//! The walk: [`accept`] hands a connection to a worker, [`entrance`] reads a load
//! balancer's header (`proxy_protocol`) and terminates the TLS of `listen-tls`, [`connect`] reads
//! the CONNECT, and [`authenticate`] identifies the client. Then the connection is [`intercept`]ed, becomes a [`tunnel`],
//! or carries [`plain`] HTTP.
//!
//! Off the walk:
//!
//! - [`peer`] looks up the user behind a connection.
//! - [`program`] finds the process behind a connection.
//! - [`limits`] bounds the connections and requests of a client, and [`refusal_pace`] slows clients down that get 407.
//! - [`http1`] serves the requests of an HTTP/1.1 connection, and frees memory while there is none.
//! - [`drain`] gives open connections time to end.
//! - [`unread`] ends responses that a client does not read.
//! - [`socket`] closes a connection without losing its last bytes.

pub(crate) mod accept;
pub(crate) mod entrance;
mod proxy_protocol;

pub(crate) mod client_stream;
pub mod connect;

pub(crate) mod authenticate;
pub(crate) mod limits;
pub(crate) mod peer;
pub(crate) mod program;
pub(crate) mod refusal_pace;

pub(crate) mod intercept;
pub(crate) mod plain;
pub(crate) mod tunnel;

pub(crate) mod drain;
mod http1;
pub(crate) mod socket;
mod unread;
