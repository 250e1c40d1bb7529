//! Dialogue of macOS, and whether this session has a screen for it.

use std::sync::mpsc;
use std::thread;

use block2::RcBlock;
use objc2::rc::autoreleasepool;
use objc2::runtime::Bool;
use objc2_foundation::{NSError, NSString};
use objc2_local_authentication::{LAContext, LAPolicy};
use regauth_shared::presence::Action;
use tokio::sync::oneshot;

use super::{APP_CANCEL, Meaning, Reply, Unavailable, meaning};
use crate::control::presence::Asker;
use crate::control::presence::asking::Authenticator;
use crate::control::presence::not_confirmed::NotConfirmed;
use crate::control::presence::question::Question;

/// True if the session of this process has a screen.
pub(in crate::control::presence) fn can_ask() -> bool {
    has_screen()
}

/// Prepares the question about one request.
///
/// # Errors
/// [`Unavailable::WithoutScreen`].
pub(in crate::control::presence) async fn prepare(
    _: &Asker,
    _: Action,
    question: Option<Question>,
) -> Result<Inquiry, Unavailable> {
    if !has_screen() {
        return Err(Unavailable::WithoutScreen);
    }
    let purpose = question.map(|question| question.purpose());
    // macOS raises an exception for an empty text.
    Ok(Inquiry(purpose.unwrap_or_else(|| GENERAL_PURPOSE.to_owned())))
}

/// Text about one request, for macOS to show.
#[derive(Debug)]
pub(in crate::control::presence) struct Inquiry(String);

impl Authenticator for Inquiry {
    /// False: macOS has no rules for other programs.
    async fn is_permitted(&self) -> Result<bool, NotConfirmed> {
        Ok(false)
    }

    async fn ask(&self) -> Result<(), NotConfirmed> {
        let mut dialogue = Dialogue::open(&self.0)?;
        match meaning(dialogue.reply().await) {
            Meaning::Yes => Ok(()),
            Meaning::No => Err(NotConfirmed::ByPerson),
            Meaning::Unavailable(reason) => Err(reason.into()),
            Meaning::Interrupted(code) => Err(NotConfirmed::Interrupted(code)),
        }
    }

    /// Nothing is left to do: the end of [`Authenticator::ask`] has closed the dialogue.
    async fn cancel(&self) {}
}

/// Open dialogue. Dropping it closes it.
struct Dialogue {
    events: mpsc::Sender<Event>,
    reply: oneshot::Receiver<Reply>,
}

enum Event {
    Replied(Reply),
    Dropped,
}

impl Dialogue {
    /// Opens the dialogue on a thread of its own, since the context of macOS stays on its thread.
    fn open(purpose: &str) -> Result<Self, Unavailable> {
        let (sender, reply) = oneshot::channel();
        let (events, received) = mpsc::channel();
        let (purpose, from_block) = (purpose.to_owned(), events.clone());
        thread::Builder::new()
            .name("confirmation".to_owned())
            .spawn(move || {
                let _ = sender.send(autoreleasepool(|_| evaluate(&purpose, from_block, &received)));
            })
            .map_err(|_| Unavailable::Thread)?;
        Ok(Self { events, reply })
    }

    async fn reply(&mut self) -> Reply {
        (&mut self.reply).await.unwrap_or(Err(APP_CANCEL))
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // After an answer, the thread has ended already.
        let _ = self.events.send(Event::Dropped);
    }
}

/// Shows the dialogue and waits for its answer or for the end of the [`Dialogue`].
#[expect(unsafe_code, reason = "the bindings of Objective-C mark every method as unsafe")]
fn evaluate(purpose: &str, events: mpsc::Sender<Event>, received: &mpsc::Receiver<Event>) -> Reply {
    let reply = RcBlock::new(move |is_confirmed: Bool, error: *mut NSError| {
        // SAFETY: macOS passes null or an error that lives at least as long as this call.
        let code = unsafe { error.as_ref() }.map_or(APP_CANCEL, |error| error.code());
        let _ = events.send(Event::Replied(if is_confirmed.as_bool() { Ok(()) } else { Err(code) }));
    });
    // SAFETY: `new` has no precondition.
    let context = unsafe { LAContext::new() };
    let purpose = NSString::from_str(purpose);
    // SAFETY: the block may run on any thread, since a `Sender` is `Send`. macOS keeps a copy of the block until it has run.
    unsafe {
        context.evaluatePolicy_localizedReason_reply(LAPolicy::DeviceOwnerAuthentication, &purpose, &reply);
    }
    match received.recv() {
        Ok(Event::Replied(reply)) => reply,
        Ok(Event::Dropped) | Err(_) => {
            // SAFETY: `invalidate` has no precondition. It closes the dialogue.
            unsafe { context.invalidate() };
            Err(APP_CANCEL)
        }
    }
}

#[expect(unsafe_code, reason = "no crate has a safe function for it")]
fn has_screen() -> bool {
    #[link(name = "Security", kind = "framework")]
    unsafe extern "C" {
        /// `Security/AuthSession.h`. It asks the kernel only.
        fn SessionGetInfo(session: u32, id: *mut u32, attributes: *mut u32) -> i32;
    }
    let (mut id, mut attributes) = (0, 0);
    // SAFETY: both pointers are valid for writes during the call.
    let status = unsafe { SessionGetInfo(CALLER_SECURITY_SESSION, &raw mut id, &raw mut attributes) };
    status == 0 && attributes & SESSION_HAS_GRAPHIC_ACCESS != 0
}

const GENERAL_PURPOSE: &str = "make a change that needs your confirmation";

// `Security/AuthSession.h`.
const CALLER_SECURITY_SESSION: u32 = u32::MAX;
const SESSION_HAS_GRAPHIC_ACCESS: u32 = 0x0010;
