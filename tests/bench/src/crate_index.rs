//! What the registry has: crates as large, as many-filed and as deeply nested as real ones, but made here, always the same.
//! They are made once and kept from run to run.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;
use regauth_tests::crates;
use serde_json::{Value, json};

use crate::tools;

/// The folder with `index/` and `crates/`, which is filled first when it is not there yet.
pub(crate) fn shelf() -> PathBuf {
    let folder = tools::tools().join("shelf-1");
    if !folder.exists() {
        eprintln!("making {MANY} crates, once");
        let unfinished = folder.with_extension("unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        let mut rng = Rng::with_seed(507);
        for recipe in few().into_iter().chain(many(&mut rng)) {
            put(&unfinished, &recipe, &mut rng);
        }
        fs::rename(&unfinished, &folder).unwrap();
    }
    folder
}

/// What a project depends on, to need all of [`MANY`] crates.
pub(crate) fn roots_of_many() -> Vec<String> {
    (0..FIRST_LAYER).map(name_of).collect()
}

/// A crate to be made.
struct Recipe {
    name: String,
    /// Of its archive, in bytes.
    length: usize,
    dependencies: Vec<String>,
}

/// What `serde` with its macros and `regex` come to, each about as large as it really is.
fn few() -> Vec<Recipe> {
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
        length: kilobytes * 1000,
        dependencies: dependencies.iter().copied().map(str::to_owned).collect(),
    };
    table.into_iter().map(recipe).collect()
}

/// Layers of crates, each needing some of the next: what a lock file of a large program looks like.
fn many(rng: &mut Rng) -> Vec<Recipe> {
    let mut weights: Vec<f64> = (0..MANY).map(|_| weight(rng)).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight *= MANY_LENGTH / sum);
    let mut recipes: Vec<Recipe> = weights
        .iter()
        .enumerate()
        .map(|(number, length)| Recipe {
            name: name_of(number),
            length: *length as usize,
            dependencies: Vec::new(),
        })
        .collect();
    for number in FIRST_LAYER..MANY {
        // Somebody of the layer before needs it, and perhaps somebody else.
        let earlier = number.saturating_sub(LAYER);
        for dependent in [
            rng.usize(earlier..earlier + LAYER.min(number - earlier)),
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

/// Most crates are small and a few are huge: log-normal, as the lengths of real ones are.
fn weight(rng: &mut Rng) -> f64 {
    let normal: f64 = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
    (1.4 * normal).exp().min(60.0)
}

/// Puts a crate on the shelf, with the older versions that an index keeps forever.
fn put(folder: &Path, recipe: &Recipe, rng: &mut Rng) {
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
    let place = folder.join("crates").join(&recipe.name).join(newest);
    write(&place.join("download"), &archive);
}

fn dependency(name: &str) -> Value {
    json!({
        "name": name, "req": "^1", "features": [], "optional": false, "default_features": true, "target": null,
        "kind": "normal", "registry": null, "package": null,
    })
}

/// A `.crate` of about the wanted length: a manifest, and files of some ten kilobytes each.
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
    while archive.get_ref().get_ref().len() < recipe.length {
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

/// Text that compresses about as well as source code does, to a quarter.
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

/// Where the Cargo book puts a crate's file in an index; no name here is shorter than four letters but `syn`.
fn index_path(name: &str) -> String {
    match name.len() {
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    }
}

fn name_of(number: usize) -> String {
    format!("part-{number:03}")
}

/// How many crates a large program needs.
pub(crate) const MANY: usize = 507;

/// Of all their archives, in bytes.
const MANY_LENGTH: f64 = 81e6;

const FIRST_LAYER: usize = 30;
const LAYER: usize = 48;

const WORDS: &[&str] = &[
    "token", "stream", "buffer", "index", "frame", "state", "parser", "value", "entry", "header", "request", "origin",
    "scope", "cursor", "length", "offset",
];
