//! The data path: life of a request.
//!
//! ```text
//! client ─▶ downstream/ accept ─▶ connect ─┬─▶ tunnel       no registry on the host: bytes both ways, never read
//!                        authenticate,     ├─▶ error        an error response
//!                        Routes::decide    ├─▶ plain        http:// in absolute form: forwarded without a credential
//!                                          └─▶ intercept    a registry on the host: TLS ends here
//!                                                 │
//!           exchange/   request ◀─────────────────┘
//!                          │ framing ▸ authority ▸ method ▸ path ▸ scope ▸ rewrite
//!                          │ operation ▸ authorization ▸ lease of the credential ▸ send
//!                          ▼
//!           read_ahead/ index entries that cargo asks for next, in part
//!                          ▼
//!           upstream/   Upstream ─▶ pool ─▶ connector ─▶ registry
//!                          │         └ carried attaches the header before each attempt
//! client ◀── exchange/  body ◀── denial_review ◀── response
//! ```
//!
//! ARCHITECTURE.md walks through an intercepted CONNECT, file by file. Errors anywhere become the response in
//! [`exchange::error`].
//!
//! # Shared state
//!
//! Workers share a [`state::ProxyState`]. Two things in it change, and each is swapped atomically:
//!
//! - [`routes::Routes`], whole, when a registry is added, changed or removed.
//! - Grants, when one is created or revoked.
//!
//! A rotation replaces neither: the new token goes into the registry's credential, which is swapped on its own. Requests
//! read all three without a lock. A new connection takes short locks for the peer lookup and the limits. A normal request
//! takes only that of its pool. A failed, denied or refused request takes others, such as the circuit breaker's.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the walk leads through private modules; its readers have the source or the private documentation"
)]

pub mod downstream;
pub mod exchange;
pub mod read_ahead;
pub(crate) mod upstream;

mod descriptors;
pub(crate) mod routes;
pub(crate) mod state;
mod tcp_or_tls;
pub mod trouble;
pub(crate) mod usage;
mod write_coalescer;
