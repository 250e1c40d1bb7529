//! Search for the program behind a connection: the process that holds the client's socket.
//!
//! The kernel names the inode of the client's socket (see [`peer`](crate::proxy::downstream::peer)). On Linux,
//! `/proc/PID/fd` has a link for each open file, and the process with a link to that inode is the client. A thread of its
//! own searches, and a connection only puts its inode in a bounded queue. Requests to a registry with `programs` wait for it. The thread looks at the
//! processes that it has found lately, then at all processes of our user, the newest first, at most every [`SCAN_INTERVAL`].
//!
//! A process that ends before the search has no name: its events have no program. Arguments and environment are never read,
//! because they may hold secrets.

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread;

use crate::events::caller::{Caller, Program};

/// Queue to the thread that searches.
#[derive(Debug)]
pub(crate) struct ProgramFinder(Option<SyncSender<Search>>);

/// Connection whose program is wanted.
#[derive(Debug)]
struct Search {
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux names the inode of a client's socket")
    )]
    inode: u32,
    caller: Arc<Caller>,
}

impl ProgramFinder {
    /// Starts the thread. Without one, no program is found.
    pub(crate) fn start() -> Self {
        let (sender, searches) = mpsc::sync_channel(MAX_QUEUE);
        let started = thread::Builder::new()
            .name("programs".to_owned())
            .spawn(move || system::run(&searches));
        if let Err(error) = &started {
            tracing::warn!(%error, "could not start the search for programs");
        }
        Self(started.ok().map(|_| sender))
    }

    /// Has the program found that holds the socket `inode`. Never waits.
    pub(crate) fn find(&self, inode: u32, caller: &Arc<Caller>) {
        let search = Search {
            inode,
            caller: Arc::clone(caller),
        };
        let Some(sender) = &self.0 else {
            return search.end(None);
        };
        if let Err(TrySendError::Full(search) | TrySendError::Disconnected(search)) = sender.try_send(search) {
            search.end(None);
        }
    }
}

impl Search {
    fn end(self, program: Option<Program>) {
        // The first answer counts.
        let _ = self.caller.program.set(program);
    }
}

/// Connections that wait for a search. A search of all processes serves all of them.
const MAX_QUEUE: usize = 1024;

#[cfg(target_os = "linux")]
mod system {
    use std::collections::VecDeque;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::Receiver;
    use std::time::{Duration, Instant};

    use super::Search;
    use crate::events::caller::Program;

    /// Serves searches until the queue is closed.
    pub(super) fn run(searches: &Receiver<Search>) {
        let mut finder = Finder::default();
        while let Ok(first) = searches.recv() {
            let mut wanted: Vec<Search> = std::iter::once(first).chain(searches.try_iter()).collect();
            finder.look_at_recent(&mut wanted);
            if wanted.is_empty() {
                continue;
            }
            finder.pause();
            wanted.extend(searches.try_iter());
            finder.look_at_all(&mut wanted);
            wanted.into_iter().for_each(|search| search.end(None));
        }
    }

    #[derive(Default)]
    struct Finder {
        /// Processes found lately, the last first.
        recent: VecDeque<u32>,
        last_scan: Option<Instant>,
    }

    impl Finder {
        /// Ends the searches for sockets of the processes that were found lately: a build opens many connections.
        fn look_at_recent(&mut self, wanted: &mut Vec<Search>) {
            let mut recent = std::mem::take(&mut self.recent);
            recent.retain(|pid| wanted.is_empty() || look_at(*pid, wanted) != Look::Gone);
            self.recent = recent;
        }

        fn look_at_all(&mut self, wanted: &mut Vec<Search>) {
            self.last_scan = Some(Instant::now());
            for pid in own_processes() {
                if wanted.is_empty() {
                    return;
                }
                if look_at(pid, wanted) == Look::Found {
                    self.recent.retain(|known| *known != pid);
                    self.recent.push_front(pid);
                    self.recent.truncate(MAX_RECENT);
                }
            }
        }

        /// Keeps a flood of connections from becoming a flood of scans.
        fn pause(&self) {
            let since = self.last_scan.map(|last| last.elapsed());
            let left = since.map_or(Duration::ZERO, |since| SCAN_INTERVAL.saturating_sub(since));
            std::thread::sleep(left);
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Look {
        /// It holds a socket that was wanted.
        Found,
        /// It holds none of them.
        NotFound,
        /// The process has ended, or its files cannot be read.
        Gone,
    }

    /// Ends the searches for sockets that the process holds.
    fn look_at(pid: u32, wanted: &mut Vec<Search>) -> Look {
        let Ok(files) = fs::read_dir(process(pid).join("fd")) else {
            return Look::Gone;
        };
        let mut program = None;
        for file in files.flatten() {
            let Some(inode) = fs::read_link(file.path()).ok().as_deref().and_then(socket_inode) else {
                continue;
            };
            if !wanted.iter().any(|search| search.inode == inode) {
                continue;
            }
            let program = program.get_or_insert_with(|| describe(pid));
            for search in wanted.extract_if(.., |search| search.inode == inode) {
                search.end(program.clone());
            }
        }
        if program.is_some() { Look::Found } else { Look::NotFound }
    }

    /// Inode in a link such as `socket:[12345]`.
    fn socket_inode(link: &Path) -> Option<u32> {
        let link = link.to_str()?;
        link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }

    fn describe(pid: u32) -> Option<Program> {
        Some(Program {
            pid,
            path: link(&process(pid).join("exe"))?,
            parent: parent(pid).and_then(|parent| link(&process(parent).join("exe"))),
            folder: link(&process(pid).join("cwd")),
        })
    }

    /// Parent of a process: the second field after the name in `/proc/PID/stat` (proc(5)). The name may hold anything but
    /// is followed by the last parenthesis.
    fn parent(pid: u32) -> Option<u32> {
        let stat = fs::read_to_string(process(pid).join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse().ok()
    }

    /// Processes of our user, the newest first: numbers rise, and the client has just started.
    fn own_processes() -> Vec<u32> {
        let own = rustix::process::geteuid().as_raw();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut processes: Vec<u32> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| fs::metadata(process(*pid)).is_ok_and(|metadata| metadata.uid() == own))
            .collect();
        processes.sort_unstable_by(|one, other| other.cmp(one));
        processes
    }

    fn link(path: &Path) -> Option<String> {
        let target = fs::read_link(path).ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    fn process(pid: u32) -> PathBuf {
        Path::new("/proc").join(pid.to_string())
    }

    const SCAN_INTERVAL: Duration = Duration::from_millis(20);
    const MAX_RECENT: usize = 16;

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn reads_the_inode_of_a_socket_only() {
            for (link, inode) in [
                ("socket:[4242]", Some(4242)),
                ("pipe:[4242]", None),
                ("/tmp/socket:[4242]", None),
                ("socket:[]", None),
            ] {
                assert_eq!(socket_inode(Path::new(link)), inode, "{link}");
            }
        }
    }
}

/// Other systems name no inode, so nothing is searched.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::sync::mpsc::Receiver;

    use super::Search;

    pub(super) fn run(searches: &Receiver<Search>) {
        searches.iter().for_each(|search| search.end(None));
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::proxy::downstream::peer::PeerResolver;

    fn caller_of(client: &TcpStream, finder: &ProgramFinder) -> Arc<Caller> {
        let addresses = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let (peer, inode) = PeerResolver::new().resolve_socket(addresses.0, addresses.1);
        let caller = Arc::new(peer.caller(inode));
        finder.find(inode.unwrap(), &caller);
        caller
    }

    #[tokio::test]
    async fn finds_the_program_its_parent_and_its_folder() {
        let finder = ProgramFinder::start();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Twice: all processes are searched, then the process that was found.
        for _ in 0..2 {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let caller = caller_of(&client, &finder);
            let found = tokio::time::timeout(Duration::from_secs(20), caller.program.wait()).await;
            let program = found.unwrap().clone().unwrap();
            assert_eq!(program.pid, std::process::id());
            assert_eq!(program.path, std::env::current_exe().unwrap().display().to_string());
            let folder = std::env::current_dir().unwrap().display().to_string();
            assert_eq!(program.folder, Some(folder));
            assert!(program.parent.is_some());
        }
    }

    #[tokio::test]
    async fn a_socket_that_nobody_holds_has_no_program() {
        let finder = ProgramFinder::start();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let addresses = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let (peer, inode) = PeerResolver::new().resolve_socket(addresses.0, addresses.1);
        drop(client);
        let caller = Arc::new(peer.caller(inode));
        finder.find(inode.unwrap(), &caller);
        let found = tokio::time::timeout(Duration::from_secs(20), caller.program.wait()).await;
        assert_eq!(found.unwrap(), &None);
    }
}
