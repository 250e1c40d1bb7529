//! The data path. Life of a request, one file a stage; each stage takes what the last one made:
//!
//! ```text
//! accept ─ Connection ─▶ connect ─ Target ─▶ decide ─ Route ─┬▶ tunnel     bytes both ways, never read
//!                           │                                ├▶ refuse     an answer of our own
//!                           └─ plain (http://…, forwarded)   └▶ intercept  TLS with a leaf for exactly that host
//!                                                                  │
//!                                                        request ◀─┘  one story, top to bottom:
//!                                  identity ▸ path ▸ scope ▸ operation ▸ one generation ▸ rewrite ▸ upstream
//! ```
//!
//! Who the client is ([`client`]) is asked once a connection, of the kernel ([`peer`]) or of a grant, and goes along with
//! it; [`census`] counts what each has open. Bodies pass through [`pace`], and HTTP/2 goes out through a [`cork`]. How it all
//! ends is [`drain`]'s.
//!
//! What the stages decide by is a [`routes::Routes`], replaced whole when a registry is added, rotated or removed.

pub(crate) mod accept;
pub(crate) mod census;
pub(crate) mod client;
pub mod connect;
#[cfg(not(target_os = "linux"))]
mod copy;
mod cork;
pub(crate) mod decide;
pub(crate) mod dial;
pub(crate) mod drain;
pub(crate) mod intercept;
pub(crate) mod pace;
pub(crate) mod peer;
pub(crate) mod plain;
pub mod refuse;
pub(crate) mod request;
pub mod rewrite;
pub(crate) mod routes;
mod socket;
#[cfg(target_os = "linux")]
mod splice;
pub(crate) mod tunnel;
pub(crate) mod upstream;
pub(crate) mod worker;
