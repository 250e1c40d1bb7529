//! Lookup of the user behind a loopback connection, from the kernel.
//!
//! On Linux, one sock_diag(7) query for the client's own socket by its four-tuple names the user. It takes about 5 µs and
//! does not block. Other systems have no query that is safe without `unsafe` code. There every client needs a grant. The
//! same holds if the query fails: a sandbox without netlink, or a user namespace that maps other users to ours.
//!
//! [`crate::proxy::downstream::authenticate`] decides what the user may do.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use tokio::sync::SetOnce;

use crate::events::caller::Caller;

/// Owner of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Process of the daemon's own user on this machine, proven by the kernel.
    Owner,
    /// Process of another user on this machine.
    User(u32),
    /// Another machine, or a process that the kernel does not name.
    Address(IpAddr),
}

impl Peer {
    /// The peer as events name it. Without an inode, no program can be found.
    pub(crate) fn caller(self, inode: Option<u32>) -> Caller {
        let (uid, address) = match self {
            Self::Owner => (Some(own_user()), None),
            Self::User(uid) => (Some(uid), None),
            Self::Address(address) => (None, Some(address)),
        };
        Caller {
            uid,
            is_own_user: self == Self::Owner,
            address,
            program: match inode {
                Some(_) => SetOnce::new(),
                None => SetOnce::new_with(Some(None)),
            },
            ..Caller::default()
        }
    }
}

/// Resolver of the [`Peer`] of a connection.
pub struct PeerResolver {
    sock_diag: Result<system::SockDiag, PeerLookupError>,
}

impl fmt::Debug for PeerResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerResolver")
            .field("sock_diag", &self.sock_diag.is_ok())
            .finish()
    }
}

impl PeerResolver {
    /// Opens the kernel interface and tests it on a connection of our own.
    pub fn new() -> Self {
        Self {
            sock_diag: system::SockDiag::open().and_then(|sock_diag| self_test(&sock_diag).map(|()| sock_diag)),
        }
    }

    /// Reason why no client can be identified as the owner; `None` when the lookup works.
    pub fn unavailable(&self) -> Option<PeerLookupError> {
        self.sock_diag.as_ref().err().copied()
    }

    /// Owner of the socket whose own address is `client` and whose peer address is `server`.
    pub fn resolve(&self, client: SocketAddr, server: SocketAddr) -> Peer {
        self.resolve_socket(client, server).0
    }

    /// Owner as [`PeerResolver::resolve`] finds it. For the daemon's own user with the inode of the client's socket.
    pub(crate) fn resolve_socket(&self, client: SocketAddr, server: SocketAddr) -> (Peer, Option<u32>) {
        let [client, server] = [client, server].map(to_canonical);
        let unknown = Peer::Address(client.ip());
        if !client.ip().is_loopback() || !server.ip().is_loopback() {
            return (unknown, None);
        }
        let Ok(sock_diag) = &self.sock_diag else {
            return (unknown, None);
        };
        match sock_diag.owner(client, server) {
            Some((user, inode)) if user == own_user() => (Peer::Owner, Some(inode)),
            Some((user, _)) => (Peer::User(user), None),
            None => (unknown, None),
        }
    }
}

impl Default for PeerResolver {
    fn default() -> Self {
        Self::new()
    }
}

/// Reason why the kernel cannot name the owner of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerLookupError {
    /// The operating system is not Linux.
    #[error("this operating system has no safe way to look up the owner of a connection")]
    UnsupportedSystem,
    /// The netlink socket cannot be opened, or the kernel does not answer on it.
    #[error("the kernel does not report the owner of a connection (a sandbox without netlink's sock_diag)")]
    NoAnswer,
    /// The user namespace maps other users to our own.
    #[error("in this user namespace, connections of other users look like our own")]
    UserNamespace,
}

/// Unmaps IPv4-mapped addresses: an IPv4 client of an IPv6 listener has one.
fn to_canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn self_test(sock_diag: &system::SockDiag) -> Result<(), PeerLookupError> {
    let finds_own_user = || -> std::io::Result<bool> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let owner = sock_diag.owner(client.local_addr()?, client.peer_addr()?);
        Ok(owner.is_some_and(|(user, _)| user == own_user()))
    };
    match finds_own_user() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(PeerLookupError::NoAnswer),
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::net::SocketAddr;
    use std::os::fd::OwnedFd;
    use std::sync::{Mutex, PoisonError};

    use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
    use netlink_packet_sock_diag::SockDiagMessage;
    use netlink_packet_sock_diag::constants::{
        AF_INET, AF_INET6, IPPROTO_TCP, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
    };
    use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
    use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

    use super::{PeerLookupError, own_user};

    /// Netlink socket that is connected to the kernel.
    pub(super) struct SockDiag(Mutex<NetlinkSocket>);

    struct NetlinkSocket {
        socket: OwnedFd,
        sequence: u32,
    }

    impl SockDiag {
        pub(super) fn open() -> Result<Self, PeerLookupError> {
            if own_user() == OVERFLOW_USER && !maps_every_user() {
                return Err(PeerLookupError::UserNamespace);
            }
            let socket = || {
                let flags = SocketFlags::CLOEXEC;
                let socket =
                    rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
                // Connected to the kernel (port 0): the socket rejects messages of other processes.
                rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
                Ok::<_, rustix::io::Errno>(socket)
            };
            let socket = socket().map_err(|_| PeerLookupError::NoAnswer)?;
            Ok(Self(Mutex::new(NetlinkSocket { socket, sequence: 0 })))
        }

        /// User and inode of the client's socket, if a process holds it. The kernel reports root for an orphaned socket.
        pub(super) fn owner(&self, client: SocketAddr, server: SocketAddr) -> Option<(u32, u32)> {
            let mut netlink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let socket = netlink.query(client, server)?;
            let is_held = [TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2].contains(&socket.state) && socket.inode != 0;
            let id = &socket.socket_id;
            // An IPv6 socket with an IPv4 connection has IPv4-mapped addresses.
            let is_same = (id.source_address.to_canonical(), id.destination_address.to_canonical())
                == (client.ip(), server.ip())
                && (id.source_port, id.destination_port) == (client.port(), server.port());
            (is_held && is_same).then_some((socket.uid, socket.inode))
        }
    }

    impl NetlinkSocket {
        fn query(&mut self, client: SocketAddr, server: SocketAddr) -> Option<InetResponseHeader> {
            self.sequence = self.sequence.wrapping_add(1);
            let request = encode_request(self.sequence, client, server);
            rustix::net::send(&self.socket, &request, SendFlags::DONTWAIT).ok()?;
            loop {
                let mut buffer = [0; RESPONSE_BYTES];
                let (length, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT).ok()?;
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(buffer.get(..length)?).ok()?;
                match message.payload {
                    // Response to an earlier query that failed halfway.
                    _ if message.header.sequence_number != self.sequence => {}
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        return Some(response.header);
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Encodes an `inet_diag_req_v2` for exactly one socket (sock_diag(7)).
    fn encode_request(sequence: u32, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
        let socket_id = SocketId {
            source_port: client.port(),
            destination_port: server.port(),
            source_address: client.ip(),
            destination_address: server.ip(),
            interface_id: 0,
            // INET_DIAG_NOCOOKIE
            cookie: [0xff; 8],
        };
        let request = InetRequest {
            family: if client.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id,
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    /// Returns true if the user namespace maps every user to a number of its own.
    fn maps_every_user() -> bool {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.split_whitespace().eq(["0", "0", "4294967295"])
    }

    /// `/proc/sys/kernel/overflowuid`: the number that stands for all unmapped users.
    const OVERFLOW_USER: u32 = 65534;
    const RESPONSE_BYTES: usize = 1024;
}

/// macOS reports socket owners through `sysctl net.inet.tcp.pcblist_n` and libproc. Their structures change with releases
/// and need `unsafe` code, so a wrong answer is too likely.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::net::SocketAddr;

    use super::PeerLookupError;

    pub(super) struct SockDiag;

    impl SockDiag {
        pub(super) fn open() -> Result<Self, PeerLookupError> {
            Err(PeerLookupError::UnsupportedSystem)
        }

        pub(super) fn owner(&self, _client: SocketAddr, _server: SocketAddr) -> Option<(u32, u32)> {
            None
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::{Ipv6Addr, Shutdown};

    use super::*;

    fn pair(listen: &str, connect: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(listen).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((connect, port)).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn resolve(peers: &PeerResolver, server: &TcpStream) -> Peer {
        peers.resolve(server.peer_addr().unwrap(), server.local_addr().unwrap())
    }

    #[test]
    fn identifies_own_connections_over_every_address_family() {
        let peers = PeerResolver::new();
        assert_eq!(peers.unavailable(), None);
        for (listen, connect) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
            ("127.0.0.1:0", "::ffff:127.0.0.1"),
            ("[::]:0", "::ffff:127.0.0.1"),
        ] {
            let (_client, server) = pair(listen, connect);
            assert_eq!(resolve(&peers, &server), Peer::Owner, "{listen} {connect}");
        }
    }

    #[test]
    fn an_orphaned_socket_has_no_owner() {
        let peers = PeerResolver::new();
        let (client, server) = pair("127.0.0.1:0", "127.0.0.1");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(
            resolve(&peers, &server),
            Peer::Owner,
            "half closed, but a process holds it"
        );
        let address = client.local_addr().unwrap();
        drop(client);
        assert_eq!(
            resolve(&peers, &server),
            Peer::Address(address.ip()),
            "the kernel reports an orphan as root's"
        );
    }

    #[test]
    fn skips_the_lookup_for_another_machine() {
        let elsewhere: SocketAddr = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into();
        let here: SocketAddr = "[::1]:9001".parse().unwrap();
        assert_eq!(
            PeerResolver::new().resolve(elsewhere, here),
            Peer::Address(elsewhere.ip())
        );
    }

    #[test]
    fn a_thousand_lookups_in_a_row_find_the_owner() {
        let peers = PeerResolver::new();
        let (_client, server) = pair("127.0.0.1:0", "127.0.0.1");
        for _ in 0..1000 {
            assert_eq!(resolve(&peers, &server), Peer::Owner);
        }
    }
}
