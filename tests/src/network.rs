//! Network namespaces with addresses, links and a DNS server of the test's choice; needs root.

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::exec;
use crate::process::Process;

/// Network namespace with loopback only and 127.0.0.1 as its DNS server.
#[derive(Debug)]
pub struct NetworkNamespace {
    holder: Process,
    _folder: TempDir,
}

impl NetworkNamespace {
    /// Creates a namespace with these addresses on loopback, such as `203.0.113.1/24`.
    pub fn start(addresses: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        for (name, text) in [
            ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut holder = exec::command("unshare", folder.path());
        holder
            .args(["--net", "--mount", "sh", "-euc", SETUP_SCRIPT, "sh"])
            .args(addresses)
            .current_dir(folder.path());
        let log = folder.path().join("log");
        let mut holder = Process::spawn("network namespace", &mut holder, &log);
        let is_ready = || fs::read_to_string(&log).unwrap().contains("ready").then_some(());
        holder.wait_until("its addresses", is_ready);
        Self {
            holder,
            _folder: folder,
        }
    }

    /// Command prefix that runs a program in the namespace, for [`crate::daemon::Builder::wrapped_in`].
    pub fn enter_command(&self) -> [String; 5] {
        let target = self.holder.pid().to_string();
        ["nsenter", "--net", "--mount", "--target", &target].map(str::to_owned)
    }

    /// Links two namespaces. This end gets `address`, such as `203.0.113.1/24`, the other end `other_address`.
    pub fn link_to(&self, address: &str, other: &Self, other_address: &str) {
        let there = other.holder.pid().to_string();
        self.ip(&[
            "link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns", &there,
        ]);
        for (end, address) in [(self, address), (other, other_address)] {
            end.ip(&["address", "add", address, "dev", LINK]);
            end.link_up();
        }
    }

    /// Takes the link down.
    pub fn link_down(&self) {
        self.ip(&["link", "set", LINK, "down"]);
    }

    /// Brings the link up.
    pub fn link_up(&self) {
        self.ip(&["link", "set", LINK, "up"]);
    }

    /// Replaces the address of this end. Packets to the old address are lost without an error.
    pub fn change_address(&self, address: &str) {
        self.ip(&["address", "flush", "dev", LINK]);
        self.ip(&["address", "add", address, "dev", LINK]);
    }

    fn ip(&self, arguments: &[&str]) {
        let mut ip = exec::command("ip", Path::new("/"));
        self.enter(|| exec::run(ip.args(arguments)).succeeds());
    }

    /// Runs `action` in the namespace. Sockets and processes that it creates belong to the namespace.
    pub fn enter<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.holder.pid())).unwrap();
        let enter = || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            action()
        };
        // A thread of its own: it cannot return to the first namespace.
        thread::scope(|scope| match scope.spawn(enter).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// Interface name of both ends of a link.
const LINK: &str = "veth-test";
const SETUP_SCRIPT: &str = "
    ip link set lo up
    for address; do ip address add \"$address\" dev lo; done
    for name in resolv.conf nsswitch.conf; do mount --bind $name /etc/$name; done
    echo ready
    exec sleep infinity";

/// DNS server of a namespace. It answers queries for IPv4 addresses by a function, and all others with no address.
#[derive(Debug)]
pub struct DnsServer {
    queries: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts the server. `addresses` maps a name and the number of earlier queries to addresses.
    pub fn start(
        network: &NetworkNamespace,
        addresses: impl Fn(&str, usize) -> Vec<Ipv4Addr> + Send + 'static,
    ) -> Self {
        let socket = network.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap());
        socket.set_read_timeout(Some(STOP_CHECK_INTERVAL)).unwrap();
        let (queries, stopping) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, ended) = (Arc::clone(&queries), Arc::clone(&stopping));
        let serve = move || {
            let mut packet = [0; 512];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut packet) else {
                    continue;
                };
                let question = Question::read(&packet[..length]);
                let found = if question.wants_v4 {
                    addresses(&question.name, counted.fetch_add(1, Ordering::Relaxed))
                } else {
                    Vec::new()
                };
                socket.send_to(&question.answer(&found), client).unwrap();
            }
        };
        Self {
            queries,
            stopping,
            thread: Some(thread::spawn(serve)),
        }
    }

    /// Number of queries for an IPv4 address.
    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::Relaxed)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// DNS query with one question (RFC 1035, section 4.1).
struct Question {
    id: [u8; 2],
    question: Vec<u8>,
    name: String,
    wants_v4: bool,
}

impl Question {
    fn read(packet: &[u8]) -> Self {
        let mut labels = Vec::new();
        let mut at = HEADER_LENGTH;
        while packet[at] != 0 {
            let end = at + 1 + usize::from(packet[at]);
            labels.push(String::from_utf8_lossy(&packet[at + 1..end]).into_owned());
            at = end;
        }
        Self {
            id: [packet[0], packet[1]],
            question: packet[HEADER_LENGTH..at + 5].to_vec(),
            name: labels.join("."),
            wants_v4: packet[at + 1..at + 3] == [0, 1],
        }
    }

    /// Encodes the response; its time to live is 0, so that it is not cached.
    fn answer(&self, addresses: &[Ipv4Addr]) -> Vec<u8> {
        let count = u8::try_from(addresses.len()).unwrap();
        let mut packet = self.id.to_vec();
        packet.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
        packet.extend(&self.question);
        for address in addresses {
            packet.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            packet.extend(address.octets());
        }
        packet
    }
}

const HEADER_LENGTH: usize = 12;
/// Interval at which the server checks whether to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);
