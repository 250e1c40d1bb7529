//! Tests of the exchanges of stored secrets.

use regauth_shared::paths::Folders;
use tokio::sync::oneshot;

use super::*;

fn secrets(kind: StoreKind, home: &std::path::Path) -> Arc<StoredSecrets> {
    let folders = Folders::resolve(Some(home), |_| None).unwrap();
    let store = OpenStore::new(&folders, kind);
    Arc::new(StoredSecrets::new(Arc::new(ArcSwap::from_pointee(store))))
}

fn corp(secrets: &Arc<StoredSecrets>) -> StoredSecret {
    secrets.secret("corp".parse().unwrap())
}

/// An exchange that has begun, whose caller was dropped, and that ends when the sender sends.
async fn begin_and_drop(secret: &StoredSecret) -> oneshot::Sender<()> {
    let (release, released) = oneshot::channel::<()>();
    let (begin, begun) = oneshot::channel();
    let exchange = async {
        begin.send(()).unwrap();
        let _ = released.await;
    };
    let running = secret.take_turn().await.finish(exchange);
    tokio::select! {
        _ = running => panic!("it ended by itself"),
        begun = begun => begun.unwrap(),
    }
    release
}

#[tokio::test]
async fn an_exchange_outlives_its_caller_and_the_next_one_and_the_end_wait_for_it() {
    let home = tempfile::TempDir::new().unwrap();
    let secrets = secrets(StoreKind::Vault, home.path());
    let secret = corp(&secrets);
    let release = begin_and_drop(&secret).await;
    let (next, end) = (secret.take_turn(), secrets.end());
    tokio::pin!(next, end);
    tokio::select! {
        biased;
        _ = &mut next => panic!("two exchanges of one secret"),
        () = &mut end => panic!("the end did not wait"),
        () = tokio::task::yield_now() => {}
    }
    release.send(()).unwrap();
    end.await;
    assert_eq!(next.await.finish(async {}).await, None, "none begins after the end");
}

#[tokio::test(start_paused = true)]
async fn the_end_abandons_an_exchange_after_its_longest_time_and_at_once_if_nothing_is_kept() {
    let home = tempfile::TempDir::new().unwrap();
    for (kind, longest) in [
        (StoreKind::Vault, EXCHANGE_TIMEOUT),
        (StoreKind::Memory, Duration::ZERO),
    ] {
        let secrets = secrets(kind, home.path());
        let mut release = begin_and_drop(&corp(&secrets)).await;
        let before = tokio::time::Instant::now();
        secrets.end().await;
        let took = before.elapsed();
        assert!(took >= longest && took < longest + Duration::from_secs(1), "{took:?}");
        release.closed().await;
    }
}

#[tokio::test]
async fn a_migration_sees_a_write_and_holds_back_the_next() {
    let home = tempfile::TempDir::new().unwrap();
    let secrets = secrets(StoreKind::Memory, home.path());
    let secret = corp(&secrets);
    let [old, new] = ["old", "new"].map(|text| Secret::parse(text).unwrap());
    let item = Item::Credential("corp".parse().unwrap());
    secrets.store.load().thread.write(&item, &old).await.unwrap();
    let before = secrets.writes();
    let paused = secrets.pause_writes().await;
    let expected = [old];
    let write = secret.replace(&expected, &new);
    tokio::pin!(write);
    let early = tokio::time::timeout(Duration::from_millis(20), &mut write).await;
    assert!(early.is_err() && secrets.writes() == before, "{early:?}");
    drop(paused);
    assert_eq!(write.await, Ok(true));
    assert!(secrets.writes() > before);
    assert!(secret.read().await.unwrap().unwrap().is_same(&new));
}
