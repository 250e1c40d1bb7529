//! Kinds of registries, by their names in flags, files and messages.

/// All kinds. The first is the default.
pub const KINDS: [&str; 12] = [
    "cargo", "git", "pypi", "npm", "oci", "maven", "go", "rubygems", "composer", "nuget", "apt", "generic",
];
