//! Gives the program its version, with the commit where it is known.

#[path = "../packaging/version.rs"]
mod version;

fn main() {
    version::main();
}
