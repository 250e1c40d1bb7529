use std::fs;

use regauth_shared::audit::Verifier;

use super::*;

const LIMITS: Limits = Limits {
    file: 1 << 20,
    total: 8 << 20,
    age: Duration::from_secs(86_400),
};

fn event(number: usize) -> String {
    format!("{{\"number\":{number}}}")
}

fn append(record: &mut RecordFile, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| record.append(&[&event(number)]).unwrap());
}

/// Text of all files, in order.
fn read(folder: &Path) -> String {
    let mut files = rotated_files(folder).unwrap();
    files.push(folder.join(CURRENT_FILE));
    files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

fn faults(folder: &Path) -> Vec<String> {
    let mut verifier = Verifier::default();
    read(folder).lines().for_each(|line| verifier.line(line.as_bytes()));
    verifier.finish().iter().map(ToString::to_string).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("audit");
    (state, folder)
}

#[test]
fn the_chain_goes_on_after_a_restart_and_a_rotation() {
    let (_state, folder) = folder();
    let limits = Limits { file: 1000, ..LIMITS };
    for run in 0..3 {
        append(&mut RecordFile::new(&folder, limits), run * 10..run * 10 + 10);
    }
    assert!(rotated_files(&folder).unwrap().len() >= 3);
    assert_eq!(read(&folder).lines().count(), 30);
    assert_eq!(faults(&folder), Vec::<String>::new());
    assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(folder.join(CURRENT_FILE).metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_line_cut_at_any_byte_is_repaired_without_a_break_in_the_chain() {
    let (_state, folder) = folder();
    append(&mut RecordFile::new(&folder, LIMITS), 0..2);
    let whole = read(&folder);
    let second = whole.find('\n').unwrap() + 1;
    for length in 0..whole.len() {
        fs::write(folder.join(CURRENT_FILE), &whole[..length]).unwrap();
        append(&mut RecordFile::new(&folder, LIMITS), 2..3);
        assert_eq!(faults(&folder), Vec::<String>::new(), "cut at {length}");
        let is_torn = length != 0 && length != second;
        assert_eq!(
            read(&folder).contains("\"note\":{\"kind\":\"repaired\""),
            is_torn,
            "cut at {length}"
        );
    }
}

#[test]
fn a_last_line_that_cannot_be_read_stays_as_evidence() {
    let (_state, folder) = folder();
    append(&mut RecordFile::new(&folder, LIMITS), 0..3);
    let mut text = read(&folder);
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    text.replace_range(last.., "{\"line\":three}\n");
    fs::write(folder.join(CURRENT_FILE), &text).unwrap();
    append(&mut RecordFile::new(&folder, LIMITS), 3..5);
    assert!(read(&folder).starts_with(&text));
    assert_eq!(faults(&folder), ["in place of line 3 is a line that cannot be read"]);
}

#[test]
fn two_daemons_append_to_one_chain() {
    let (_state, folder) = folder();
    let limits = Limits { file: 2000, ..LIMITS };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| append(&mut RecordFile::new(&folder, limits), 0..100));
        }
    });
    assert_eq!(read(&folder).lines().count(), 200);
    assert_eq!(faults(&folder), Vec::<String>::new());
}

#[test]
fn old_files_are_deleted_by_size_and_by_age_with_a_note() {
    let (_state, folder) = folder();
    let limits = Limits {
        file: 1000,
        total: 4000,
        ..LIMITS
    };
    let mut record = RecordFile::new(&folder, limits);
    append(&mut record, 0..100);
    assert!(read(&folder).len() <= 5000);
    assert!(read(&folder).contains("\"note\":{\"kind\":\"pruned\""));
    assert_eq!(faults(&folder), Vec::<String>::new());

    let long_ago = SystemTime::now() - 2 * LIMITS.age;
    for file in rotated_files(&folder).unwrap() {
        File::options()
            .append(true)
            .open(file)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    record.tidy().unwrap();
    assert_eq!(rotated_files(&folder).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(faults(&folder), Vec::<String>::new());
}

#[test]
fn a_deleted_folder_is_made_again_and_shows_in_the_chain() {
    let (_state, folder) = folder();
    let mut record = RecordFile::new(&folder, LIMITS);
    append(&mut record, 0..3);
    fs::remove_dir_all(&folder).unwrap();
    append(&mut record, 3..4);
    assert_eq!(faults(&folder), ["lines 1 to 3 are missing"]);
}

#[test]
fn a_failed_write_leaves_the_record_as_it_was() {
    let (_state, folder) = folder();
    let mut record = RecordFile::new(&folder, LIMITS);
    append(&mut record, 0..1);
    let before = record.link();
    record.current.as_mut().unwrap().file = File::open("/dev/full").unwrap();
    record.append(&["{}"]).unwrap_err();
    assert_eq!(record.link(), before);
    record.current = None;
    append(&mut record, 1..2);
    assert_eq!(faults(&folder), Vec::<String>::new());
}
