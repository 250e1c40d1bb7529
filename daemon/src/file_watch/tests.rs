//! Tests with real files, which wait for the watcher's own reports. In memory: any other file system may be one that is
//! only looked at.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::*;

/// A watcher that runs, and a folder.
struct Scene {
    watcher: Arc<FileWatcher>,
    folder: TempDir,
    _end: DropGuard,
}

impl Scene {
    fn new() -> Self {
        let end = CancellationToken::new();
        let scene = Self {
            watcher: FileWatcher::new(),
            folder: tempfile::tempdir_in("/dev/shm").unwrap(),
            _end: end.clone().drop_guard(),
        };
        let watcher = Arc::clone(&scene.watcher);
        TaskTracker::new().spawn(async move { watcher.run(end).await });
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that has been looked at, and whose changes are reported.
    async fn watch(&self, name: &str) -> FileWatch<1> {
        let mut watch = FileWatch::new(&self.watcher, [self.path(name)]);
        watch.look().await;
        assert!(watch.is_watched());
        watch
    }
}

impl<const FILES: usize> FileWatch<FILES> {
    /// Waits for reports until the files differ from the last look.
    async fn changed(&mut self) -> [Option<FileStamp>; FILES] {
        let before = self.last;
        loop {
            self.subscriber.signal.raised().await;
            let stamps = self.look().await;
            if Some(stamps) != before {
                return stamps;
            }
        }
    }
}

/// Puts a file, link or folder in the place of another in one step.
fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

fn link(scene: &Scene, target: &str, name: &str) {
    symlink(target, scene.path("beside")).unwrap();
    rename(&scene.path("beside"), &scene.path(name));
}

#[tokio::test]
async fn every_change_of_a_file_is_reported() {
    let scene = Scene::new();
    let path = scene.path("token");
    let mut watch = scene.watch("token").await;
    fs::write(&path, "one").unwrap();
    assert!(watch.changed().await[0].is_some());
    // In place, by a program that does not close it.
    let mut open = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut open, b"more").unwrap();
    watch.changed().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    watch.changed().await;
    fs::write(scene.path("new"), "two").unwrap();
    rename(&scene.path("new"), &path);
    watch.changed().await;
    fs::hard_link(&path, scene.path("other name")).unwrap();
    watch.changed().await;
    fs::write(scene.path("other name"), "three").unwrap();
    watch.changed().await;
    fs::remove_file(&path).unwrap();
    assert_eq!(watch.changed().await, [None]);
    fs::create_dir(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "four").unwrap();
    assert!(watch.changed().await[0].is_some());
    assert!(watch.is_watched());
}

/// Kubernetes links `token` to `..data/token`, and replaces the link `..data` to a folder.
#[tokio::test]
async fn a_link_on_the_way_that_is_replaced_is_reported() {
    let scene = Scene::new();
    for version in ["v1", "v2", "elsewhere/v3"] {
        fs::create_dir_all(scene.path(version)).unwrap();
        fs::write(scene.path(version).join("token"), version).unwrap();
    }
    link(&scene, "v1", "..data");
    link(&scene, "..data/token", "token");
    let mut watch = scene.watch("token").await;
    link(&scene, "v2", "..data");
    watch.changed().await;
    link(&scene, "elsewhere/v3", "..data");
    watch.changed().await;
    fs::write(scene.path("elsewhere/v3/token"), "in place").unwrap();
    watch.changed().await;
    rename(&scene.path("elsewhere"), &scene.path("gone"));
    assert_eq!(watch.changed().await, [None]);
    link(&scene, "v1/token", "token");
    assert!(watch.changed().await[0].is_some());
}

#[tokio::test]
async fn folders_may_come_later_and_go() {
    let scene = Scene::new();
    let mut watch = scene.watch("a/b/token").await;
    for text in ["one", "two"] {
        fs::create_dir_all(scene.path("a/b")).unwrap();
        fs::write(scene.path("a/b/token"), text).unwrap();
        assert!(watch.changed().await[0].is_some());
        fs::remove_dir_all(scene.path("a")).unwrap();
        assert_eq!(watch.changed().await, [None]);
    }
    fs::create_dir_all(scene.path("whole/b")).unwrap();
    fs::write(scene.path("whole/b/token"), "three").unwrap();
    rename(&scene.path("whole"), &scene.path("a"));
    assert!(watch.changed().await[0].is_some());
}

#[tokio::test]
async fn a_change_during_a_look_is_reported_after_it() {
    let scene = Scene::new();
    let mut watch = scene.watch("token").await;
    for round in 0..4 {
        let before = watch.look();
        let write = async { fs::write(scene.path("token"), round.to_string()).unwrap() };
        let (_, ()) = tokio::join!(before, write);
        let now = [FileStamp::of(&scene.path("token")).ok()];
        while watch.last != Some(now) {
            watch.subscriber.signal.raised().await;
            watch.look().await;
        }
    }
}

#[tokio::test]
async fn only_readers_of_a_changed_file_are_told() {
    let scene = Scene::new();
    let mut one = scene.watch("one").await;
    let other = scene.watch("other").await;
    fs::write(scene.path("one"), "token").unwrap();
    one.changed().await;
    assert!(!other.subscriber.signal.take());
}

#[tokio::test]
async fn two_files_of_one_reader_are_watched() {
    let scene = Scene::new();
    let mut pair = FileWatch::new(&scene.watcher, [scene.path("certificate"), scene.path("key")]);
    assert_eq!(pair.look().await, [None, None]);
    fs::write(scene.path("key"), "key").unwrap();
    assert!(matches!(pair.changed().await, [None, Some(_)]));
    fs::write(scene.path("certificate"), "certificate").unwrap();
    assert!(matches!(pair.changed().await, [Some(_), Some(_)]));
}

#[tokio::test]
async fn a_reader_that_ends_leaves_no_watch_and_others_keep_theirs() {
    let scene = Scene::new();
    fs::write(scene.path("one"), "token").unwrap();
    let one = scene.watch("one").await;
    let alone = scene.watcher.watches();
    let mut two = scene.watch("two").await;
    assert_eq!(
        scene.watcher.watches(),
        alone,
        "the folders are shared, and `two` is absent"
    );
    fs::write(scene.path("two"), "token").unwrap();
    two.changed().await;
    assert_eq!(scene.watcher.watches(), alone + 1);
    drop(one);
    assert_eq!(scene.watcher.watches(), alone);
    fs::write(scene.path("two"), "another").unwrap();
    two.changed().await;
    drop(two);
    assert_eq!(scene.watcher.watches(), 0);
}

#[tokio::test]
async fn a_folder_that_cannot_be_watched_has_its_files_looked_at() {
    let scene = Scene::new();
    for path in ["/proc/version", "/proc/self/absent"] {
        let mut watch = FileWatch::new(&scene.watcher, [path.into()]);
        watch.look().await;
        assert!(!watch.is_watched(), "{path}");
    }
    let refused = FileWatcher::without_events();
    fs::write(scene.path("token"), "one").unwrap();
    let mut watch = FileWatch::new(&refused, [scene.path("token")]);
    let before = watch.look().await;
    assert!(!watch.is_watched());
    fs::write(scene.path("token"), "longer").unwrap();
    watch.until_look(Duration::from_millis(1)).await;
    assert_ne!(watch.look().await, before);
}

#[tokio::test]
async fn a_flood_of_events_is_read_in_part_and_everything_is_looked_at() {
    let scene = Scene::new();
    let mut watch = scene.watch("token").await;
    for number in 0..6000 {
        let path = scene.path(&number.to_string());
        fs::write(&path, "").unwrap();
        fs::remove_file(path).unwrap();
    }
    fs::write(scene.path("token"), "one").unwrap();
    assert!(watch.changed().await[0].is_some());
}
