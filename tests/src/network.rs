//! A network of its own, with addresses and a name server as a test wants them; it takes root.

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

/// A network namespace in which nothing is but loopback, and a resolver that asks 127.0.0.1.
#[derive(Debug)]
pub struct NetworkNamespace {
    holder: Process,
    _folder: TempDir,
}

impl NetworkNamespace {
    /// A network with these addresses besides loopback's, such as `203.0.113.1/24`.
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
            .args(["--net", "--mount", "sh", "-euc", SET_UP, "sh"])
            .args(addresses)
            .current_dir(folder.path());
        let log = folder.path().join("log");
        let mut holder = Process::spawn("a network", &mut holder, &log);
        let said_so = || fs::read_to_string(&log).unwrap().contains("ready").then_some(());
        holder.wait_until("its addresses", said_so);
        Self {
            holder,
            _folder: folder,
        }
    }

    /// What runs a program in it: for [`crate::daemon::Builder::under`].
    pub fn enter_command(&self) -> [String; 5] {
        let target = self.holder.pid().to_string();
        ["nsenter", "--net", "--mount", "--target", &target].map(str::to_owned)
    }

    /// Lays a cable to another network. This end has the first address, such as `203.0.113.1/24`, the other one the second.
    pub fn link_to(&self, address: &str, other: &Self, others: &str) {
        let there = other.holder.pid().to_string();
        self.ip(&[
            "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", &there,
        ]);
        for (end, address) in [(self, address), (other, others)] {
            end.ip(&["address", "add", address, "dev", CABLE]);
            end.link_up();
        }
    }

    /// Pulls this end of the cable out: nothing beyond can be reached.
    pub fn link_down(&self) {
        self.ip(&["link", "set", CABLE, "down"]);
    }

    /// Puts it in again.
    pub fn link_up(&self) {
        self.ip(&["link", "set", CABLE, "up"]);
    }

    /// Gives this end another address. What is sent to the old one is lost from now on, and nobody is told.
    pub fn change_address(&self, address: &str) {
        self.ip(&["address", "flush", "dev", CABLE]);
        self.ip(&["address", "add", address, "dev", CABLE]);
    }

    fn ip(&self, arguments: &[&str]) {
        let mut ip = exec::command("ip", Path::new("/"));
        self.enter(|| exec::run(ip.args(arguments)).succeeds());
    }

    /// Does something in it: sockets that are made and programs that are started there belong to it.
    pub fn enter<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.holder.pid())).unwrap();
        let enter = || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            what()
        };
        // A thread of its own, since there is no way back.
        thread::scope(|scope| match scope.spawn(enter).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// The name of both ends.
const CABLE: &str = "cable";
const SET_UP: &str = "
    ip link set lo up
    for address; do ip address add \"$address\" dev lo; done
    for name in resolv.conf nsswitch.conf; do mount --bind $name /etc/$name; done
    echo ready
    exec sleep infinity";

/// The name server of a network: it answers each question for an IPv4 address as it is told, given how many there have
/// been for that name, and has no other addresses.
#[derive(Debug)]
pub struct DnsServer {
    queries: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DnsServer {
    /// Starts it. `addresses` says what the name has at its first, second, … question.
    pub fn start(
        network: &NetworkNamespace,
        addresses: impl Fn(&str, usize) -> Vec<Ipv4Addr> + Send + 'static,
    ) -> Self {
        let socket = network.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap());
        socket.set_read_timeout(Some(LOOK_UP)).unwrap();
        let (queries, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, ended) = (Arc::clone(&queries), Arc::clone(&over));
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
            over,
            thread: Some(thread::spawn(serve)),
        }
    }

    /// How often it was asked for an IPv4 address.
    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::Relaxed)
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A query with one question (RFC 1035, section 4.1).
struct Question {
    id: [u8; 2],
    question: Vec<u8>,
    name: String,
    wants_v4: bool,
}

impl Question {
    fn read(packet: &[u8]) -> Self {
        let mut labels = Vec::new();
        let mut at = HEADER;
        while packet[at] != 0 {
            let end = at + 1 + usize::from(packet[at]);
            labels.push(String::from_utf8_lossy(&packet[at + 1..end]).into_owned());
            at = end;
        }
        Self {
            id: [packet[0], packet[1]],
            question: packet[HEADER..at + 5].to_vec(),
            name: labels.join("."),
            wants_v4: packet[at + 1..at + 3] == [0, 1],
        }
    }

    /// Nobody may keep it: its time to live is 0.
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

const HEADER: usize = 12;
/// How soon it notices that it is over.
const LOOK_UP: Duration = Duration::from_millis(50);
