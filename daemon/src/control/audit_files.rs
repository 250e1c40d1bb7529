//! `audit-files`: hands the open files of the audit record to a client, which may not open them itself.
//!
//! A guarded daemon's files belong to a user of its own. Its users may look at the record, as at everything else that they
//! watch. The descriptors are open for reading only.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use regauth_shared::ErrorBody;
use regauth_shared::frame::Answer;
use regauth_shared::response::AuditFiles;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::control::controller::Controller;

/// The record's files, and the line that names them.
pub(crate) struct OpenRecord {
    line: String,
    files: Vec<File>,
}

impl OpenRecord {
    /// Opens the files.
    ///
    /// # Errors
    /// `not-found` without a record, `failed` if it cannot be read.
    pub(crate) async fn open(controller: &Controller) -> Result<Self, ErrorBody> {
        let (names, files) = controller.proxy.audit.open_files().await?.into_iter().unzip();
        // Serialization cannot fail: the answer has texts only.
        let line = serde_json::to_string(&Answer::Ok(AuditFiles { files: names })).unwrap_or_default();
        Ok(Self {
            line: line + "\n",
            files,
        })
    }

    /// Sends the line, and the files with its first byte.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) async fn send(&self, stream: &UnixStream) -> io::Result<()> {
        let line = self.line.as_bytes();
        let mut sent = stream
            .async_io(Interest::WRITABLE, || self.send_with_files(stream, line))
            .await?;
        while let Some(rest) = line.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += stream.async_io(Interest::WRITABLE, || stream.try_write(rest)).await?;
        }
        Ok(())
    }

    fn send_with_files(&self, stream: &UnixStream, line: &[u8]) -> io::Result<usize> {
        let descriptors: Vec<BorrowedFd<'_>> = self.files.iter().map(AsFd::as_fd).collect();
        let message = SendAncillaryMessage::ScmRights(&descriptors);
        let mut space = vec![std::mem::MaybeUninit::uninit(); message.size()];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(message) {
            return Err(io::Error::other("no space for the descriptors"));
        }
        Ok(rustix::net::sendmsg(
            stream,
            &[IoSlice::new(line)],
            &mut ancillary,
            SendFlags::empty(),
        )?)
    }
}
