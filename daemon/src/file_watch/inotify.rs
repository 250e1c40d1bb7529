//! inotify(7): watches of folders and files, and the queue of their events.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::mounts::{MountChanges, MountTable};
use super::subscriptions::Descriptor;

/// Queue of events, and the mount table. Events of a folder have the name of its entry, and events of a file have none.
#[derive(Debug)]
pub(super) struct EventQueue {
    inotify: OwnedFd,
    mounts: MountTable,
}

/// Cause of the end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// The queue has events.
    Events,
    /// Any path may lead elsewhere.
    MountTable,
}

/// Event of a watch.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// An entry of a folder was made, replaced, removed or changed its permissions, or a file (empty name) was written.
    Changed(Descriptor, &'a OsStr),
    /// The folder or file has gone, and its watch with it.
    Gone(Descriptor),
    /// Events were lost: there were too many.
    Lost,
}

impl EventQueue {
    /// # Errors
    /// The user has too many queues, the process has too many files, or /proc is not available.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            mounts: MountTable::open()?,
        })
    }

    /// Watches the entries of a folder, whose path has no links.
    ///
    /// # Errors
    /// The folder cannot be read, or the user has too many watches.
    pub(super) fn watch_folder(&self, folder: &Path) -> io::Result<Descriptor> {
        let events = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ATTRIB;
        self.watch(folder, events | WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK)
    }

    /// Watches what is written to a file, under any of its names.
    ///
    /// # Errors
    /// As [`EventQueue::watch_folder`].
    pub(super) fn watch_file(&self, file: &Path) -> io::Result<Descriptor> {
        self.watch(file, WatchFlags::MODIFY | WatchFlags::ATTRIB)
    }

    fn watch(&self, path: &Path, flags: WatchFlags) -> io::Result<Descriptor> {
        let flags = flags | WatchFlags::DONT_FOLLOW | WatchFlags::MASK_ADD;
        Ok(inotify::add_watch(&self.inotify, path, flags)?)
    }

    /// Ends a watch.
    pub(super) fn end_watch(&self, watch: Descriptor) {
        // It has ended by itself if the folder has gone.
        let _ = inotify::remove_watch(&self.inotify, watch);
    }

    /// Changes of the mount table, for [`EventQueue::ready`].
    ///
    /// # Errors
    /// The runtime cannot wait for the mount table.
    pub(super) fn mounts(&self) -> io::Result<MountChanges<'_>> {
        self.mounts.follow()
    }

    /// Waits for an event or a mount. Events wake the runtime only during this call, so a flood of them costs little.
    ///
    /// # Errors
    /// The runtime cannot wait for the queue.
    pub(super) async fn ready(&self, mounts: &MountChanges<'_>) -> io::Result<Ready> {
        let queue = registered(self.inotify.as_fd(), Interest::READABLE)?;
        tokio::select! {
            // First: a report of the mount table is made once, and the queue is drained in either case.
            biased;
            changed = mounts.next() => changed.map(|()| Ready::MountTable),
            ready = queue.readable() => ready.map(|_| Ready::Events),
        }
    }

    /// Takes the events out of the queue. Events are lost beyond [`MAX_READS`]: that many a time cost less than a look at
    /// every file.
    pub(super) fn drain(&self, mut take: impl FnMut(Event<'_>)) {
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        for _ in 0..MAX_READS {
            loop {
                match reader.next() {
                    Ok(event) => take(Event::from(&event)),
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => return,
                    Err(_) => return take(Event::Lost),
                }
                if reader.is_buffer_empty() {
                    break;
                }
            }
        }
        take(Event::Lost);
    }
}

/// Has the runtime report that a file is ready, until the returned value is dropped.
#[expect(unsafe_code, reason = "no safe function does it")]
pub(super) fn registered(file: BorrowedFd<'_>, interest: Interest) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: a `BorrowedFd` is open, and always the same file, as long as the returned value has it.
    unsafe { AsyncFd::register_with_interest(file, interest) }.map_err(io::Error::from)
}

impl<'a> From<&'a inotify::Event<'_>> for Event<'a> {
    fn from(event: &'a inotify::Event<'_>) -> Self {
        let name = event.file_name().map(std::ffi::CStr::to_bytes).unwrap_or_default();
        match event.events() {
            flags if flags.contains(ReadFlags::QUEUE_OVERFLOW) => Self::Lost,
            flags if flags.contains(ReadFlags::IGNORED) => Self::Gone(event.wd()),
            _ => Self::Changed(event.wd(), OsStr::from_bytes(name)),
        }
    }
}

const READ_BYTES: usize = 4096;
const MAX_READS: usize = 16;
