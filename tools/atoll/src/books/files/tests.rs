//! Ledger files on a real disk: each entry once, whatever a crash or a disk leaves.

use chunk_sync::ids::PlayerId;
use chunk_sync::store::{PartitionKey, Token};

use super::*;

/// Takes everything down.
#[derive(Default)]
struct Taken {
    entries: Vec<(u16, u64)>,
    openings: usize,
    damage: Vec<String>,
    restored: Option<Vec<u8>>,
    /// Whether it goes on from snapshots.
    goes_on: bool,
}

impl Reader for Taken {
    fn restore(&mut self, accounts: &[u8]) -> bool {
        self.restored = Some(accounts.to_owned());
        self.goes_on
    }

    fn page(&mut self, page: Page) {
        match page {
            Page::Entry(entry) => self.entries.push((entry.shard.0, entry.sequence)),
            Page::Opening(_) => self.openings += 1,
        }
    }

    fn damage(&mut self, text: String) {
        self.damage.push(text);
    }
}

fn entry(shard: u16, sequence: u64) -> LedgerEntry {
    LedgerEntry {
        shard: Shard(shard),
        sequence,
        token: Token(sequence),
        partition: PartitionKey::player(PlayerId(u64::from(shard))),
        store_ms: 1,
        bytes: Bytes::from(vec![7; 40]),
    }
}

fn numbers(entries: &[LedgerEntry]) -> Vec<(u16, u64)> {
    entries.iter().map(|entry| (entry.shard.0, entry.sequence)).collect()
}

fn open(folder: &Path) -> (LedgerFiles, Taken) {
    let mut taken = Taken::default();
    let files = LedgerFiles::open(folder, &mut taken).unwrap();
    (files, taken)
}

fn all(folder: &Path) -> Taken {
    let mut taken = Taken::default();
    read_all(folder, &mut taken).unwrap();
    taken
}

fn first_segment(folder: &Path) -> PathBuf {
    path_of(folder, 1)
}

#[test]
fn what_comes_again_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, taken) = open(folder.path());
    assert_eq!(taken.entries, []);
    let batch = vec![entry(1, 1), entry(1, 2), entry(9, 1)];
    assert_eq!(numbers(&files.keep(batch.clone()).unwrap()), [(1, 1), (1, 2), (9, 1)]);
    assert_eq!(numbers(&files.keep([batch.clone(), vec![entry(1, 3)]].concat()).unwrap()), [(1, 3)]);
    drop(files);
    let (mut files, taken) = open(folder.path());
    assert_eq!(taken.entries, [(1, 1), (1, 2), (9, 1), (1, 3)]);
    assert_eq!(numbers(&files.keep(batch).unwrap()), []);
    assert_eq!(all(folder.path()).entries.len(), 4);
}

#[test]
fn a_torn_end_is_cut_at_any_byte_and_what_it_held_is_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, _) = open(folder.path());
    files.keep(vec![entry(1, 1), entry(2, 1)]).unwrap();
    let whole = std::fs::read(first_segment(folder.path())).unwrap();
    files.keep(vec![entry(1, 2)]).unwrap();
    drop(files);
    let longer = std::fs::read(first_segment(folder.path())).unwrap();
    for cut in 0..longer.len() {
        std::fs::write(first_segment(folder.path()), &longer[..cut]).unwrap();
        let (mut files, taken) = open(folder.path());
        assert_eq!(taken.damage, Vec::<String>::new(), "cut at {cut}");
        let expected: &[(u16, u64)] = if cut >= whole.len() { &[(1, 1), (2, 1)] } else { &taken.entries };
        assert_eq!(taken.entries, expected, "cut at {cut}");
        files.keep(vec![entry(1, 1), entry(2, 1), entry(1, 2)]).unwrap();
        drop(files);
        let mut kept = all(folder.path());
        kept.entries.sort_unstable();
        assert_eq!(kept.entries, [(1, 1), (1, 2), (2, 1)], "cut at {cut}");
        assert_eq!(kept.damage, Vec::<String>::new(), "cut at {cut}");
    }
}

#[test]
fn damage_in_the_middle_is_told_and_costs_only_what_it_hit() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, _) = open(folder.path());
    (1..=3).for_each(|n| drop(files.keep(vec![entry(1, n)]).unwrap()));
    drop(files);
    let mut bytes = std::fs::read(first_segment(folder.path())).unwrap();
    let size = (bytes.len() - SEGMENT_HEAD.len()) / 3;
    bytes[SEGMENT_HEAD.len() + size + 30] ^= 1;
    std::fs::write(first_segment(folder.path()), &bytes).unwrap();
    let read = all(folder.path());
    assert_eq!(read.entries, [(1, 1), (1, 3)]);
    assert!(read.damage.len() == 1 && read.damage[0].contains("bytes are damaged"), "{:?}", read.damage);
    // If the store has it still, it is taken again.
    let (mut files, _) = open(folder.path());
    assert_eq!(numbers(&files.keep(vec![entry(1, 2), entry(1, 3), entry(1, 4)]).unwrap()), [(1, 2), (1, 4)]);
}

#[test]
fn a_finished_segment_with_a_torn_end_is_damaged_and_a_missing_one_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, _) = open(folder.path());
    for segment in 1..=3u64 {
        files.keep(vec![entry(1, segment)]).unwrap();
        files.end = Place { segment: segment + 1, offset: 0 };
        files.torn = true;
    }
    drop(files);
    assert_eq!(all(folder.path()).entries, [(1, 1), (1, 2), (1, 3)]);
    let path = path_of(folder.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    std::fs::remove_file(path_of(folder.path(), 2)).unwrap();
    let read = all(folder.path());
    assert_eq!(read.entries, [(1, 3)]);
    assert_eq!(read.damage.len(), 2, "{:?}", read.damage);
    assert!(read.damage[1].ends_with("ledger-00000002.seg is missing"), "{:?}", read.damage);
}

#[test]
fn a_snapshot_saves_reading_and_a_damaged_one_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, _) = open(folder.path());
    files.keep(vec![entry(1, 1)]).unwrap();
    files.keep_snapshot(b"balances").unwrap();
    files.keep(vec![entry(1, 2)]).unwrap();
    drop(files);
    let mut taken = Taken { goes_on: true, ..Taken::default() };
    let mut files = LedgerFiles::open(folder.path(), &mut taken).unwrap();
    assert_eq!((taken.entries, taken.restored.as_deref()), (vec![(1, 2)], Some(&b"balances"[..])));
    assert_eq!(numbers(&files.keep(vec![entry(1, 1), entry(1, 2), entry(1, 3)]).unwrap()), [(1, 3)]);
    drop(files);
    let path = folder.path().join(SNAPSHOT_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut taken = Taken { goes_on: true, ..Taken::default() };
    LedgerFiles::open(folder.path(), &mut taken).unwrap();
    assert_eq!((taken.entries, taken.restored), (vec![(1, 1), (1, 2), (1, 3)], None));
}

#[test]
fn a_write_that_fails_keeps_nothing_and_is_made_good() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, _) = open(folder.path());
    files.keep(vec![entry(1, 1)]).unwrap();
    // A file that can't be written, as on a full disk, after half of a batch got there.
    files.file.write_all(b"half of a fra").unwrap();
    files.file = File::open(first_segment(folder.path())).unwrap();
    let failed = files.keep(vec![entry(1, 2)]).unwrap_err();
    assert!(failed.0.contains("can't write"), "{failed}");
    assert_eq!(numbers(&files.keep(vec![entry(1, 2)]).unwrap()), [(1, 2)]);
    let read = all(folder.path());
    assert_eq!((read.entries, read.damage), (vec![(1, 1), (1, 2)], vec![]));
}

#[test]
fn a_folder_has_one_keeper() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = open(folder.path());
    let refused = LedgerFiles::open(folder.path(), &mut Taken::default()).unwrap_err();
    assert!(refused.0.ends_with("another process is using it"), "{refused}");
    drop(files);
    let (mut files, _) = open(folder.path());
    files.open_books(&[Bytes::from_static(b"one"), Bytes::from_static(b"two")]).unwrap();
    assert_eq!(all(folder.path()).openings, 2);
}
