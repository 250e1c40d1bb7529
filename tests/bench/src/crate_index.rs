//! Generator of the registry's content: a sparse index and crates with realistic sizes, file counts and dependency depth.
//!
//! The content is the same on every machine. It is generated once and kept in the target folder.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;
use regauth_tests::crates;
use serde_json::{Value, json};

use crate::tools;

/// Folder with `index/` and `crates/`. The first call generates it.
pub(crate) fn folder() -> PathBuf {
    let folder = tools::cache_folder().join("crate-index-1");
    if !folder.exists() {
        eprintln!("generating {LARGE_PROJECT_CRATES} crates for this and later runs");
        let unfinished = folder.with_extension("unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        let mut rng = Rng::with_seed(507);
        for recipe in small_project().into_iter().chain(large_project(&mut rng)) {
            write_crate(&unfinished, &recipe, &mut rng);
        }
        fs::rename(&unfinished, &folder).unwrap();
    }
    folder
}

/// Direct dependencies of a project that needs all [`LARGE_PROJECT_CRATES`] crates.
pub(crate) fn large_project_dependencies() -> Vec<String> {
    (0..FIRST_LAYER_SIZE).map(name_of).collect()
}

/// Description of a crate to generate.
struct Recipe {
    name: String,
    /// Approximate size of the archive in bytes.
    size: usize,
    dependencies: Vec<String>,
}

/// `serde` with its macros, `regex` and their dependencies, with about their real sizes.
fn small_project() -> Vec<Recipe> {
    let table: [(&str, usize, &[&str]); 12] = [
        ("serde", 80, &["serde_core", "serde_derive"]),
        ("serde_core", 63, &[]),
        ("serde_derive", 59, &["proc-macro2", "quote", "syn"]),
        ("proc-macro2", 60, &["unicode-ident"]),
        ("quote", 31, &["proc-macro2"]),
        ("syn", 300, &["proc-macro2", "quote", "unicode-ident"]),
        ("unicode-ident", 47, &[]),
        (
            "regex",
            166,
            &["aho-corasick", "memchr", "regex-automata", "regex-syntax"],
        ),
        ("regex-automata", 620, &["aho-corasick", "memchr", "regex-syntax"]),
        ("regex-syntax", 360, &[]),
        ("aho-corasick", 183, &["memchr"]),
        ("memchr", 97, &[]),
    ];
    let recipe = |(name, kilobytes, dependencies): (&str, usize, &[&str])| Recipe {
        name: name.to_owned(),
        size: kilobytes * 1000,
        dependencies: dependencies.iter().copied().map(str::to_owned).collect(),
    };
    table.into_iter().map(recipe).collect()
}

/// Layers of crates that depend on the next layer, as in the lock file of a large program.
fn large_project(rng: &mut Rng) -> Vec<Recipe> {
    let mut weights: Vec<f64> = (0..LARGE_PROJECT_CRATES).map(|_| weight(rng)).collect();
    let sum: f64 = weights.iter().sum();
    weights
        .iter_mut()
        .for_each(|weight| *weight *= LARGE_PROJECT_SIZE / sum);
    let mut recipes: Vec<Recipe> = weights
        .iter()
        .enumerate()
        .map(|(number, size)| Recipe {
            name: name_of(number),
            size: *size as usize,
            dependencies: Vec::new(),
        })
        .collect();
    for number in FIRST_LAYER_SIZE..LARGE_PROJECT_CRATES {
        // One crate of the layer before depends on it, and one random earlier crate.
        let earlier = number.saturating_sub(LAYER_SIZE);
        for dependent in [
            rng.usize(earlier..earlier + LAYER_SIZE.min(number - earlier)),
            rng.usize(0..number),
        ] {
            let name = name_of(number);
            if !recipes[dependent].dependencies.contains(&name) {
                recipes[dependent].dependencies.push(name);
            }
        }
    }
    recipes
}

/// Random weight of a crate size: log-normal, as real crate sizes are, with few large ones.
fn weight(rng: &mut Rng) -> f64 {
    let normal: f64 = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
    (1.4 * normal).exp().min(60.0)
}

/// Writes the archive of the newest version, and an index file with all versions, as real indexes keep them.
fn write_crate(folder: &Path, recipe: &Recipe, rng: &mut Rng) {
    let versions = rng.usize(1..60);
    let newest = format!("1.{versions}.0");
    let archive = archive(recipe, &newest, rng);
    let dependencies: Vec<Value> = recipe.dependencies.iter().map(|name| dependency(name)).collect();
    let lines: String = (0..=versions)
        .map(|minor| {
            let version = format!("1.{minor}.0");
            let entry = crates::entry(
                &recipe.name,
                &version,
                &dependencies,
                &json!({ "default": [] }),
                &archive,
            );
            format!("{entry}\n")
        })
        .collect();
    write(&folder.join("index").join(index_path(&recipe.name)), lines.as_bytes());
    let download = folder.join("crates").join(&recipe.name).join(newest);
    write(&download.join("download"), &archive);
}

fn dependency(name: &str) -> Value {
    json!({
        "name": name, "req": "^1", "features": [], "optional": false, "default_features": true, "target": null,
        "kind": "normal", "registry": null, "package": null,
    })
}

/// Archive of about the wanted size: a manifest, and source files of some ten kilobytes each.
fn archive(recipe: &Recipe, version: &str, rng: &mut Rng) -> Vec<u8> {
    let root = format!("{}-{version}", recipe.name);
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let manifest = format!(
        "[package]\nname = \"{}\"\nversion = \"{version}\"\nedition = \"2021\"\nlicense = \"MIT\"\n",
        recipe.name
    );
    append(&mut archive, &format!("{root}/Cargo.toml"), manifest.as_bytes());
    append(&mut archive, &format!("{root}/src/lib.rs"), b"#![no_std]\n");
    let mut number = 0;
    while archive.get_ref().get_ref().len() < recipe.size {
        append(
            &mut archive,
            &format!("{root}/src/part_{number}.rs"),
            source(rng).as_bytes(),
        );
        number += 1;
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn append(archive: &mut tar::Builder<GzEncoder<Vec<u8>>>, path: &str, contents: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, contents).unwrap();
}

/// Random text that compresses to about a quarter, as source code does.
fn source(rng: &mut Rng) -> String {
    let mut text = String::new();
    for _ in 0..rng.usize(100..500) {
        let (verb, noun) = (WORDS[rng.usize(..WORDS.len())], WORDS[rng.usize(..WORDS.len())]);
        let (name, value) = (rng.u32(..), rng.u16(..));
        text += &format!("    let {verb}_{noun} = self.{noun}_of_{name:x}({value});\n");
    }
    text
}

fn write(path: &Path, contents: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// Path of a crate in the index (The Cargo Book, "Index Format"). Only `syn` has fewer than four letters.
fn index_path(name: &str) -> String {
    match name.len() {
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    }
}

fn name_of(number: usize) -> String {
    format!("part-{number:03}")
}

/// Number of crates of the large project.
const LARGE_PROJECT_CRATES: usize = 507;

/// Size of all their archives in bytes.
const LARGE_PROJECT_SIZE: f64 = 81e6;

const FIRST_LAYER_SIZE: usize = 30;
const LAYER_SIZE: usize = 48;

const WORDS: &[&str] = &[
    "token", "stream", "buffer", "index", "frame", "state", "parser", "value", "entry", "header", "request", "origin",
    "scope", "cursor", "length", "offset",
];
