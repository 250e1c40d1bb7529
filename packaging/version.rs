//! Version of the programs, for their build scripts: with the commit and its date where they are known.
//!
//! The commit comes from `REGAUTH_COMMIT`, from `commit.txt` beside this file, which `git archive` fills in, or from git, if
//! this is a clone and git is installed. The date is `SOURCE_DATE_EPOCH` or that of the commit, never that of the build: two
//! builds of one commit are equal. A development build asks nobody, because each commit would compile everything again.

/// Prints the instructions for cargo: the variable `REGAUTH_VERSION`, and what it depends on.
#[allow(clippy::print_stdout, reason = "cargo reads the instructions from stdout")]
pub(crate) fn main() {
    let folder = format!("{}/../packaging", env("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo:rerun-if-env-changed=REGAUTH_COMMIT");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed={folder}/version.rs");
    println!("cargo:rerun-if-changed={folder}/commit.txt");
    let is_release = env("PROFILE").as_deref() == Some("release");
    let given = env("REGAUTH_COMMIT").map(|commit| (commit, None));
    let found = given.or_else(|| {
        is_release
            .then(|| archived(&folder).or_else(|| in_clone(&folder)))
            .flatten()
    });
    let (commit, time) = found.unwrap_or_default();
    let time = env("SOURCE_DATE_EPOCH").and_then(|epoch| epoch.parse().ok()).or(time);
    let version = env("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo:rustc-env=REGAUTH_VERSION={}", text(&version, &commit, time));
}

/// `0.1.0 (1a2b3c4d5e6f 2026-11-28)`, without the parts that are not known.
pub(crate) fn text(version: &str, commit: &str, time: Option<i64>) -> String {
    let is_commit = commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit());
    match (is_commit, time) {
        (true, Some(time)) => format!("{version} ({} {})", short(commit), date(time)),
        (true, None) => format!("{version} ({})", short(commit)),
        (false, _) => version.to_owned(),
    }
}

/// Commit and time of its text in an archive: `%H %ct`. In a clone the placeholder is still there.
pub(crate) fn parse_archived(text: &str) -> Option<(String, Option<i64>)> {
    let (commit, time) = text.trim().split_once(' ')?;
    let is_filled = commit.len() >= 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
    is_filled.then(|| (commit.to_owned(), time.parse().ok()))
}

fn archived(folder: &str) -> Option<(String, Option<i64>)> {
    parse_archived(&std::fs::read_to_string(format!("{folder}/commit.txt")).ok()?)
}

#[allow(clippy::print_stdout, reason = "cargo reads the instructions from stdout")]
fn in_clone(folder: &str) -> Option<(String, Option<i64>)> {
    // Sources that were unpacked below another repository are not that repository's.
    std::fs::metadata(format!("{folder}/../.git")).ok()?;
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout)
            .ok()
            .filter(|_| output.status.success())?;
        Some(text.trim().to_owned())
    };
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let line = git(&["log", "-1", "--format=%H %ct"])?;
    parse_archived(&line)
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// Day in UTC of a time in seconds since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
pub(crate) fn date(time: i64) -> String {
    let days = time.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
