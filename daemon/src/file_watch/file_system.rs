//! Kinds of file systems: whether a look at a file waits, and whether inotify reports all changes.

use std::path::Path;

/// Is the file on a file system whose metadata are in this machine's memory? Others, such as NFS and FUSE, may hang.
#[cfg(target_os = "linux")]
pub(super) fn is_local(path: &Path) -> bool {
    kind(path).is_some_and(|kind| LOCAL_FILE_SYSTEMS.contains(&kind))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_local(_: &Path) -> bool {
    false
}

/// Does inotify report every entry that is made, replaced or removed in this folder? An overlay qualifies for folders,
/// which often lead to a mounted volume of a container. Its lower layer must not change while it is mounted.
#[cfg(target_os = "linux")]
pub(super) fn reports_entries(folder: &Path) -> bool {
    kind(folder).is_some_and(|kind| kind == OVERLAY || LOCAL_FILE_SYSTEMS.contains(&kind))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reports_entries(_: &Path) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn kind(path: &Path) -> Option<u64> {
    u64::try_from(rustix::fs::statfs(path).ok()?.f_type).ok()
}

/// statfs(2): btrfs, ext4, f2fs, ramfs, tmpfs, xfs.
#[cfg(target_os = "linux")]
const LOCAL_FILE_SYSTEMS: [u64; 6] = [0x9123_683e, 0xef53, 0xf2f5_2010, 0x8584_58f6, 0x0102_1994, 0x5846_5342];
#[cfg(target_os = "linux")]
const OVERLAY: u64 = 0x794c_7630;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_memory_is_local_and_one_of_the_kernel_is_not() {
        assert!(is_local(Path::new("/dev/shm")));
        assert!(!is_local(Path::new("/proc/version")));
        assert!(!is_local(Path::new("/absent")));
        assert!(reports_entries(Path::new("/dev/shm")));
        assert!(!reports_entries(Path::new("/proc")));
    }
}
