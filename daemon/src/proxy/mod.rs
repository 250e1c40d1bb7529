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
//! it; [`limits`] counts what each has open. Bodies pass through [`pace`], and HTTP/2 goes out through a [`cork`]. How it all
//! ends is [`drain`]'s.
//!
//! What the stages decide by is a [`routes::Routes`], replaced whole when a registry is added, rotated or removed.

pub mod downstream;
pub mod exchange;
pub(crate) mod upstream;

pub(crate) mod decide;
pub(crate) mod routes;
mod write_coalescer;
