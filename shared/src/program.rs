//! Names of programs, as filters and registries list them.

/// Returns true if `name` stands for the executable at `path`.
///
/// A name with a `/` is a whole path. Any other is the executable's file name, which may end in a version: `python3` stands
/// for `/usr/bin/python3.11`. `git` stands for its helpers too, which are the ones that connect.
///
/// ```
/// use regauth_shared::program::matches;
///
/// assert!(matches("cargo", "/home/me/.rustup/toolchains/stable/bin/cargo"));
/// assert!(matches("git", "/usr/lib/git-core/git-remote-http"));
/// assert!(!matches("cargo", "/tmp/cargo-evil"));
/// ```
pub fn matches(name: &str, path: &str) -> bool {
    if name.contains('/') {
        return name == path;
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    let is_version = |rest: &str| rest.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    let is_named = |name: &str| file.strip_prefix(name).is_some_and(is_version);
    !name.is_empty() && (is_named(name) || (name == "git" && GIT_HELPERS.contains(&file)))
}

/// Programs that git starts for requests.
const GIT_HELPERS: [&str; 5] = [
    "git-remote-http",
    "git-remote-https",
    "git-http-fetch",
    "git-http-push",
    "git-lfs",
];

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_name_stands_for_a_file_name_or_a_whole_path() {
        for (name, path, expected) in [
            ("cargo", "/usr/bin/cargo", true),
            ("cargo", "cargo", true),
            ("cargo", "/usr/bin/cargo-evil", false),
            ("cargo", "/cargo/curl", false),
            ("cargo", "/usr/bin/cargo (deleted)", false),
            ("/usr/bin/cargo", "/usr/bin/cargo", true),
            ("/usr/bin/cargo", "/home/me/usr/bin/cargo", false),
            ("bin/cargo", "/usr/bin/cargo", false),
            ("python3", "/usr/bin/python3.11", true),
            ("python", "/usr/bin/python3.11", true),
            ("python3.1", "/usr/bin/python3.11", true),
            ("python3", "/usr/bin/python3-config", false),
            ("git", "/usr/bin/git", true),
            ("git", "/usr/lib/git-core/git-remote-https", true),
            ("git", "/tmp/git-evil", false),
            ("", "/usr/bin/cargo", false),
            ("", "/usr/bin/7", false),
        ] {
            assert_eq!(matches(name, path), expected, "{name} {path}");
        }
    }
}
