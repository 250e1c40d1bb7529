//! The data path: life of a request.
//!
//! ```text
//! client ─▶ downstream/ accept ─▶ connect ─┬─▶ tunnel       no registry on the host: bytes both ways, never read
//!                        authenticate,     ├─▶ error        an error response
//!                        Routes::decide    ├─▶ plain        http:// in absolute form: forwarded without a credential
//!                                          └─▶ intercept    a registry on the host: TLS ends here
//!                                                 │
//!           exchange/   request ◀─────────────────┘
//!                          │ authority ▸ method ▸ path ▸ scope ▸ operation ▸ authorization
//!                          │ one generation of the credential ▸ rewrite
//!                          ▼
//!           upstream/   Upstream ─▶ pool ─▶ connector ─▶ registry
//!                          │
//! client ◀── exchange/  body ◀────── response
//! ```
//!
//! The walk of an intercepted CONNECT, file by file:
//!
//! 1. [`downstream::accept`] accepts the connection and hands it to a worker thread, where it stays to its end.
//! 2. [`downstream::connect`] reads the CONNECT and not a byte further.
//! 3. [`downstream::authenticate`] finds the client's user or grant, and later authorizes its requests.
//! 4. [`routes`] decides: tunnel, intercept, or refuse. Later it matches a request's path to the scope of a registry.
//! 5. [`downstream::intercept`] terminates TLS with a leaf for exactly that host, and serves HTTP/1.1 or HTTP/2.
//! 6. [`exchange::request`] handles each request, from its checks to its response.
//! 7. [`crate::policy::path`] makes sure that the path has one reading, and [`crate::policy::operation`] classifies the
//!    request as read or write.
//! 8. [`crate::credential`] provides one generation of the registry's credential (invariant 11).
//! 9. [`exchange::rewrite`] strips hop-by-hop headers and the placeholder. The credential's header replaces the client's.
//! 10. [`upstream`] picks the worker's [pool](upstream::pool). It takes an open connection, or the
//!     [`connector`](upstream::connector) opens one.
//! 11. [`exchange::denial`] reviews an answer that denies the request: the token or only the path may be the reason.
//! 12. [`exchange::body`] streams both bodies and cuts one that stalls.
//!
//! Errors anywhere become the response in [`exchange::error`].
//!
//! # Shared state
//!
//! Workers share a [`state::ProxyState`]. Two things in it change, and each is swapped atomically:
//!
//! - [`routes::Routes`], whole, when a registry is added, changed or removed.
//! - Grants, when one is created or revoked.
//!
//! A rotation replaces neither: the new token goes into the registry's credential, which is swapped on its own. Requests
//! read all three without a lock. Short locks remain for the peer lookup and the limits of a new connection, and for the
//! worker's pools at each request, and for the circuit breaker after a denial.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the walk leads through private modules; its readers have the source or the private documentation"
)]

pub mod downstream;
pub mod exchange;
pub(crate) mod upstream;

mod descriptors;
pub(crate) mod routes;
pub(crate) mod state;
mod write_coalescer;
