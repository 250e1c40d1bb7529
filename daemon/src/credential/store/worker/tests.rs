//! Tests of the store's thread. The store blocks on a channel, so a test decides when a call ends. No test sleeps to
//! wait for another thread.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::credential::store::memory::MemoryStore;

/// End of a store's call, as a test decides it.
enum Cue {
    Answer,
    Panic,
}

/// A memory store whose calls wait for a cue; the end of the test is a cue for all.
struct CuedStore {
    inner: MemoryStore,
    cues: Arc<Mutex<Receiver<Cue>>>,
}

impl CuedStore {
    fn wait(&self) {
        if let Ok(Cue::Panic) = self.cues.lock().unwrap_or_else(PoisonError::into_inner).recv() {
            panic!("on cue");
        }
    }
}

impl Store for CuedStore {
    fn read(&mut self, item: &Item) -> Result<Option<Secret>, StoreError> {
        self.wait();
        self.inner.read(item)
    }

    fn write(&mut self, item: &Item, secret: &Secret) -> Result<(), StoreError> {
        self.wait();
        self.inner.write(item, secret)
    }

    fn delete(&mut self, item: &Item) -> Result<(), StoreError> {
        self.wait();
        self.inner.delete(item)
    }

    fn unlock(&mut self, _passphrase: Option<&Secret>) -> Result<(), StoreError> {
        self.wait();
        Ok(())
    }

    fn check(&mut self) -> Result<(), StoreError> {
        self.wait();
        Ok(())
    }

    fn protection(&self) -> String {
        "none".to_owned()
    }

    fn exposure(&self) -> &'static str {
        "none"
    }
}

struct Stage {
    store: Arc<StoreThread>,
    opened: Arc<AtomicUsize>,
    /// One for every store that `open` has made, in order.
    cues: Arc<Mutex<Vec<Sender<Cue>>>>,
}

fn stage(deadlines: Deadlines) -> Stage {
    let opened = Arc::new(AtomicUsize::new(0));
    let cues = Arc::new(Mutex::new(Vec::new()));
    let (count, senders) = (opened.clone(), cues.clone());
    let open = move || -> Box<dyn Store> {
        let (cue, waiting) = channel();
        senders.lock().unwrap().push(cue);
        count.fetch_add(1, Ordering::SeqCst);
        Box::new(CuedStore {
            inner: MemoryStore::new(),
            cues: Arc::new(Mutex::new(waiting)),
        })
    };
    Stage {
        store: Arc::new(StoreThread::new(open, deadlines)),
        opened,
        cues,
    }
}

impl Stage {
    fn cue(&self, store: usize, cue: Cue) {
        while self.opened() <= store {
            thread::yield_now();
        }
        self.cues.lock().unwrap()[store].send(cue).unwrap();
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// Calls until that many stores hang. On a busy machine a deadline may pass before a call has begun.
    async fn stuck(&self, stores: usize) {
        while self.opened() < stores {
            assert_eq!(self.store.check().await, Err(StoreError::NoAnswer));
        }
    }

    /// `seal` needs no cue. When it is refused, all calls before it have been answered.
    async fn settled(&self) {
        while self.store.seal(None, &secret("any")).await == Err(StoreError::NoAnswer) {
            tokio::task::yield_now().await;
        }
    }
}

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

fn deadlines(first: Duration, usual: Duration, takeover: Duration) -> Deadlines {
    Deadlines {
        first,
        usual,
        unlock: LONG,
        takeover,
    }
}

fn corp() -> Item {
    Item::Credential("corp".parse().unwrap())
}

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

/// Store that reports when it forgets.
struct ForgetfulStore(Sender<()>);

impl Store for ForgetfulStore {
    fn read(&mut self, _item: &Item) -> Result<Option<Secret>, StoreError> {
        Ok(None)
    }

    fn write(&mut self, _item: &Item, _secret: &Secret) -> Result<(), StoreError> {
        Ok(())
    }

    fn delete(&mut self, _item: &Item) -> Result<(), StoreError> {
        Ok(())
    }

    fn unlock(&mut self, _passphrase: Option<&Secret>) -> Result<(), StoreError> {
        Ok(())
    }

    fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn forget(&mut self) {
        let _ = self.0.send(());
    }

    fn protection(&self) -> String {
        "none".to_owned()
    }

    fn exposure(&self) -> &'static str {
        "none"
    }
}

#[tokio::test]
async fn a_store_forgets_what_it_has_read_once_calls_stop() {
    let (forgot, forgotten) = channel();
    let open = move || -> Box<dyn Store> { Box::new(ForgetfulStore(forgot.clone())) };
    let store = StoreThread::new(open, deadlines(LONG, LONG, LONG));
    for _ in 0..2 {
        assert!(store.read(&corp()).await.unwrap().is_none());
        assert_eq!(forgotten.recv(), Ok(()));
    }
}

#[tokio::test]
async fn passes_calls_to_the_store() {
    let store = StoreThread::new(|| Box::new(MemoryStore::new()), Deadlines::default());
    store.write(&corp(), &secret("one")).await.unwrap();
    assert_eq!(store.read(&corp()).await.unwrap().unwrap().expose(), "one");
    store.delete(&corp()).await.unwrap();
    assert!(store.read(&corp()).await.unwrap().is_none());
    store.check().await.unwrap();
    store.unlock(None).await.unwrap();
    assert!(matches!(
        store.seal(None, &secret("any")).await,
        Err(StoreError::Refused(_))
    ));
}

#[tokio::test]
async fn replaces_and_deletes_only_an_expected_secret() {
    let store = StoreThread::new(|| Box::new(MemoryStore::new()), Deadlines::default());
    let [one, two] = ["one", "two"].map(secret);
    let present = async || {
        store
            .read(&corp())
            .await
            .unwrap()
            .map(|secret| secret.expose().to_owned())
    };
    assert_eq!(
        store.replace(&corp(), std::slice::from_ref(&one), Some(&two)).await,
        Ok(false)
    );
    assert_eq!(present().await, None, "an item that is gone stays gone");
    store.write(&corp(), &one).await.unwrap();
    assert_eq!(
        store.replace(&corp(), std::slice::from_ref(&two), None).await,
        Ok(false)
    );
    assert_eq!(store.replace(&corp(), &[two.clone(), one], Some(&two)).await, Ok(true));
    assert_eq!(present().await.as_deref(), Some("two"));
    assert_eq!(store.replace(&corp(), &[two], None).await, Ok(true));
    assert_eq!(present().await, None);
}

#[tokio::test]
async fn runs_on_its_own_thread_outside_the_runtime() {
    let open = || -> Box<dyn Store> {
        assert_eq!(thread::current().name(), Some("store"));
        assert!(tokio::runtime::Handle::try_current().is_err());
        Box::new(MemoryStore::new())
    };
    StoreThread::new(open, Deadlines::default()).check().await.unwrap();
}

#[tokio::test]
async fn calls_fail_at_once_while_one_hangs_and_work_after_it_ends() {
    let stage = stage(deadlines(SHORT, LONG, LONG));
    stage.stuck(1).await;
    let asked = Instant::now();
    for _ in 0..1000 {
        assert_eq!(stage.store.check().await, Err(StoreError::NoAnswer));
    }
    assert!(asked.elapsed() < LONG / 2);
    stage.cue(0, Cue::Answer);
    stage.settled().await;
    stage.cue(0, Cue::Answer);
    stage.store.check().await.unwrap();
    assert_eq!(stage.opened(), 1);
}

#[tokio::test]
async fn the_first_deadline_applies_until_the_store_has_answered_once() {
    let stage = stage(deadlines(LONG, SHORT, LONG));
    stage.settled().await;
    assert_eq!(stage.store.check().await, Err(StoreError::NoAnswer));
}

#[tokio::test]
async fn an_unlock_has_a_longer_deadline() {
    let stage = Arc::new(stage(deadlines(SHORT, SHORT, Duration::ZERO)));
    let store = stage.store.clone();
    let unlock = async { store.unlock(None).await };
    let others = async {
        // Queued behind the unlock, whose deadline is far: no takeover.
        assert_eq!(stage.store.check().await, Err(StoreError::NoAnswer));
        assert_eq!(stage.store.check().await, Err(StoreError::NoAnswer));
        stage.cue(0, Cue::Answer);
    };
    let (unlocked, ()) = tokio::join!(unlock, others);
    unlocked.unwrap();
    assert_eq!(stage.opened(), 1);
}

#[tokio::test]
async fn a_call_whose_caller_has_gone_does_not_begin() {
    let stage = stage(deadlines(LONG, LONG, LONG));
    let store = stage.store.clone();
    let (item, late) = (corp(), secret("late"));
    let (unlock, write) = tokio::join!(
        async {
            let unlock = store.unlock(None);
            tokio::pin!(unlock);
            // Blocks the thread until the write's caller has gone.
            let _ = tokio::time::timeout(SHORT * 2, &mut unlock).await;
            stage.cue(0, Cue::Answer);
            unlock.await
        },
        tokio::time::timeout(SHORT, stage.store.write(&item, &late)),
    );
    unlock.unwrap();
    assert!(write.is_err());
    stage.cue(0, Cue::Answer);
    assert!(stage.store.read(&corp()).await.unwrap().is_none());
}

#[tokio::test]
async fn fresh_threads_take_over_up_to_a_limit() {
    let stage = stage(deadlines(SHORT, SHORT, Duration::ZERO));
    stage.stuck(MAX_THREADS).await;
    for _ in 0..10 {
        assert_eq!(stage.store.check().await, Err(StoreError::NoAnswer));
    }
    assert_eq!(stage.opened(), MAX_THREADS);

    // The first thread ends and makes room for another.
    stage.cue(0, Cue::Answer);
    stage.settled().await;
    assert_eq!(stage.opened(), MAX_THREADS + 1);
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_next_call_opens_the_store_again() {
    let stage = stage(deadlines(LONG, LONG, LONG));
    stage.settled().await;
    stage.cue(0, Cue::Panic);
    let error = stage.store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)), "{error}");
    assert!(!error.to_string().contains("on cue"), "{error}");
    stage.settled().await;
    assert_eq!(stage.opened(), 2);
    stage.cue(1, Cue::Answer);
    stage.store.check().await.unwrap();
}

#[tokio::test]
async fn a_store_that_panics_while_opening_is_opened_again() {
    let opened = AtomicUsize::new(0);
    let open = move || -> Box<dyn Store> {
        assert!(opened.fetch_add(1, Ordering::SeqCst) > 0, "not yet");
        Box::new(MemoryStore::new())
    };
    let store = StoreThread::new(open, Deadlines::default());
    assert!(matches!(store.check().await, Err(StoreError::Failed(_))));
    store.check().await.unwrap();
}

#[test]
fn neither_the_runtime_nor_a_drop_waits_for_a_store_that_hangs() {
    let stage = stage(deadlines(SHORT, SHORT, LONG));
    let began = Instant::now();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(stage.store.check()), Err(StoreError::NoAnswer));
    let cues = stage.cues.clone();
    drop((stage, runtime));
    assert!(began.elapsed() < LONG / 2);
    drop(cues);
}
