//! Way of a path through folders and links, as path_resolution(7) describes it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

/// Follows a path to its file. `enter` is called with each folder on the way and the name that is looked up in it, before
/// it is. So a change after that call shows in the folder. Returns the path of the file without links, or `None` if the way
/// ends before.
///
/// # Errors
/// Those of `enter` and of a link that cannot be read. A folder that has gone meanwhile is no error: its own folder has been
/// entered before.
pub(super) fn walk(path: &Path, mut enter: impl FnMut(&Path, &OsStr) -> io::Result<()>) -> io::Result<Option<PathBuf>> {
    let mut folder = PathBuf::from("/");
    let mut names = names(&std::path::absolute(path)?);
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        if name == ".." {
            folder.pop();
            continue;
        }
        let step = enter(&folder, &name).and_then(|()| link_target(&folder.join(&name)));
        match step {
            Ok(Some(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other("too many symbolic links"));
                }
                if target.is_absolute() {
                    folder = PathBuf::from("/");
                }
                let mut longer = self::names(&target);
                longer.append(&mut names);
                names = longer;
            }
            Ok(None) => folder.push(&name),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(folder))
}

/// The names of a path. `..` is one of them: behind a link it leads to the parent of the link's target.
fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    names.collect()
}

/// Target of a link; `None` for anything else.
fn link_target(path: &Path) -> io::Result<Option<PathBuf>> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

/// Limit of the Linux kernel.
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The way below `root`, as `folder:name`, and its end.
    fn way(root: &Path, path: &Path) -> (Vec<String>, Option<PathBuf>) {
        let mut steps = Vec::new();
        let end = walk(path, |folder, name| {
            if let Ok(folder) = folder.strip_prefix(root) {
                steps.push(format!("{}:{}", folder.display(), name.display()));
            }
            Ok(())
        });
        let end = end.unwrap();
        (
            steps,
            end.map(|end| end.strip_prefix(root).map(Path::to_owned).unwrap_or(end)),
        )
    }

    #[test]
    fn a_way_passes_every_folder_and_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("v1/deep")).unwrap();
        fs::write(root.join("v1/token"), "one").unwrap();
        symlink("v1", root.join("..data")).unwrap();
        symlink("..data/token", root.join("token")).unwrap();
        symlink(root.join("v1/deep"), root.join("deep")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, steps, end) in [
            ("v1/token", vec![":v1", "v1:token"], Some("v1/token")),
            ("token", vec![":token", ":..data", ":v1", "v1:token"], Some("v1/token")),
            // `..` behind a link is the parent of its target.
            (
                "deep/../token",
                vec![":deep", ":v1", "v1:deep", "v1:token"],
                Some("v1/token"),
            ),
            ("absent/token", vec![":absent"], None),
            ("v1/token/below", vec![":v1", "v1:token", "v1/token:below"], None),
        ] {
            let (found, found_end) = way(&root, &root.join(path));
            assert_eq!(found, steps, "{path}");
            assert_eq!(found_end.as_deref(), end.map(Path::new), "{path}");
        }
        let error = walk(&root.join("loop"), |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("links"), "{error}");
    }
}
