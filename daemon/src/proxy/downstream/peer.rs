//! Whose process is at the other end of a loopback connection: the kernel says so.
//!
//! On Linux sock_diag(7) is asked for the client's own socket by its four-tuple, which costs about 5 µs a connection and
//! never waits: the kernel answers within the request. Other systems have no such question that is safe to ask, and
//! there, as where the question fails (a sandbox without netlink, a user namespace in which strangers look like us), every client
//! needs a grant. Who may do what with the answer is decided in [`crate::proxy::downstream::authenticate`].

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A process of the daemon's own user, on this machine: proven.
    Owner,
    /// A process of another user on this machine.
    User(u32),
    /// Another machine, or nobody knows.
    Address(IpAddr),
}

/// What tells whose a connection is.
pub struct Peers {
    kernel: Result<system::Kernel, NoProof>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("kernel", &self.kernel.is_ok()).finish()
    }
}

impl Peers {
    /// Tries the kernel out on a connection with ourselves, so that what it says later can be relied on.
    pub fn new() -> Self {
        Self {
            kernel: system::Kernel::open().and_then(|kernel| tried(&kernel).map(|()| kernel)),
        }
    }

    /// Why nobody is known to be the owner, where that is so.
    pub fn without_proof(&self) -> Option<NoProof> {
        self.kernel.as_ref().err().copied()
    }

    /// Whose the socket is that is `client` to itself and sees us as `server`.
    pub fn of(&self, client: SocketAddr, server: SocketAddr) -> Peer {
        let [client, server] = [client, server].map(canonical);
        let unknown = Peer::Address(client.ip());
        if !client.ip().is_loopback() || !server.ip().is_loopback() {
            return unknown;
        }
        match self
            .kernel
            .as_ref()
            .ok()
            .and_then(|kernel| kernel.owner(client, server))
        {
            Some(user) if user == ours() => Peer::Owner,
            Some(user) => Peer::User(user),
            None => unknown,
        }
    }
}

impl Default for Peers {
    fn default() -> Self {
        Self::new()
    }
}

/// Why the kernel cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    /// Not on this system.
    #[error("this system has no safe way to tell whose a connection is")]
    System,
    /// No netlink socket, or no answer on it.
    #[error("the kernel does not tell whose a connection is (a sandbox without netlink's sock_diag)")]
    Silent,
    /// Users outside our namespace cannot be told from us.
    #[error("in this user namespace other users' connections look like our own")]
    Namespace,
}

/// A v4 client of a v6 listener is a v4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn ours() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn tried(kernel: &system::Kernel) -> Result<(), NoProof> {
    let ours_is_told = || -> std::io::Result<bool> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        Ok(kernel.owner(client.local_addr()?, client.peer_addr()?) == Some(ours()))
    };
    match ours_is_told() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(NoProof::Silent),
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

    use super::{NoProof, ours};

    /// A netlink socket that talks to the kernel and to nobody else.
    pub(super) struct Kernel(Mutex<Conversation>);

    struct Conversation {
        socket: OwnedFd,
        sequence: u32,
    }

    impl Kernel {
        pub(super) fn open() -> Result<Self, NoProof> {
            if ours() == OVERFLOW && !users_are_all_known() {
                return Err(NoProof::Namespace);
            }
            let socket = || {
                let flags = SocketFlags::CLOEXEC;
                let socket =
                    rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
                // Connected to the kernel (port 0): nobody else's messages are taken.
                rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
                Ok::<_, rustix::io::Errno>(socket)
            };
            let socket = socket().map_err(|_| NoProof::Silent)?;
            Ok(Self(Mutex::new(Conversation { socket, sequence: 0 })))
        }

        /// The user whose socket it is, if a process holds it: an orphan's user is reported as root.
        pub(super) fn owner(&self, client: SocketAddr, server: SocketAddr) -> Option<u32> {
            let mut conversation = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let socket = conversation.ask(client, server)?;
            let alive = [TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2].contains(&socket.state) && socket.inode != 0;
            let id = &socket.socket_id;
            // A v6 socket that talks v4 has the mapped addresses.
            let same = (id.source_address.to_canonical(), id.destination_address.to_canonical())
                == (client.ip(), server.ip())
                && (id.source_port, id.destination_port) == (client.port(), server.port());
            (alive && same).then_some(socket.uid)
        }
    }

    impl Conversation {
        fn ask(&mut self, client: SocketAddr, server: SocketAddr) -> Option<InetResponseHeader> {
            self.sequence = self.sequence.wrapping_add(1);
            let question = question(self.sequence, client, server);
            rustix::net::send(&self.socket, &question, SendFlags::DONTWAIT).ok()?;
            loop {
                let mut buffer = [0; ANSWER];
                let (answer, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT).ok()?;
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(buffer.get(..answer)?).ok()?;
                match message.payload {
                    // What an interrupted question left behind.
                    _ if message.header.sequence_number != self.sequence => {}
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        return Some(response.header);
                    }
                    _ => return None,
                }
            }
        }
    }

    /// `inet_diag_req_v2` for exactly one socket (sock_diag(7)).
    fn question(sequence: u32, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
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

    /// Whether every user has a number of its own here: not so in a namespace that maps only some.
    fn users_are_all_known() -> bool {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        map.split_whitespace().eq(["0", "0", "4294967295"])
    }

    /// `/proc/sys/kernel/overflowuid`: what users without a number here are shown as.
    const OVERFLOW: u32 = 65534;
    const ANSWER: usize = 1024;
}

/// macOS tells the owner of a socket through `sysctl net.inet.tcp.pcblist_n` and libproc, in structures that change
/// with its releases and take `unsafe` to read: not worth a wrong answer.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::net::SocketAddr;

    use super::NoProof;

    pub(super) struct Kernel;

    impl Kernel {
        pub(super) fn open() -> Result<Self, NoProof> {
            Err(NoProof::System)
        }

        pub(super) fn owner(&self, _client: SocketAddr, _server: SocketAddr) -> Option<u32> {
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

    fn of(peers: &Peers, server: &TcpStream) -> Peer {
        peers.of(server.peer_addr().unwrap(), server.local_addr().unwrap())
    }

    #[test]
    fn our_own_connections_are_the_owners_over_every_family() {
        let peers = Peers::new();
        assert_eq!(peers.without_proof(), None);
        for (listen, connect) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
            ("127.0.0.1:0", "::ffff:127.0.0.1"),
            ("[::]:0", "::ffff:127.0.0.1"),
        ] {
            let (_client, server) = pair(listen, connect);
            assert_eq!(of(&peers, &server), Peer::Owner, "{listen} {connect}");
        }
    }

    #[test]
    fn a_socket_that_no_process_holds_is_nobodys() {
        let peers = Peers::new();
        let (client, server) = pair("127.0.0.1:0", "127.0.0.1");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(of(&peers, &server), Peer::Owner, "half closed, and still held");
        let address = client.local_addr().unwrap();
        drop(client);
        assert_eq!(
            of(&peers, &server),
            Peer::Address(address.ip()),
            "an orphan is reported as root's"
        );
    }

    #[test]
    fn another_machine_is_not_asked_about() {
        let elsewhere: SocketAddr = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into();
        let here: SocketAddr = "[::1]:9001".parse().unwrap();
        assert_eq!(Peers::new().of(elsewhere, here), Peer::Address(elsewhere.ip()));
    }

    /// What a question costs, for whoever changes it: `cargo test -- --nocapture`.
    #[test]
    fn a_thousand_questions_are_quick() {
        let peers = Peers::new();
        let (_client, server) = pair("127.0.0.1:0", "127.0.0.1");
        let begin = std::time::Instant::now();
        for _ in 0..1000 {
            assert_eq!(of(&peers, &server), Peer::Owner);
        }
        println!("{:?} a question", begin.elapsed() / 1000);
    }
}
