//! The file's records come back as they were; no cut and no flipped bit is taken.

use chunk_sync::store::SHARD_COUNT;

use super::*;

fn about() -> About {
    About { program: "0".to_owned(), taken_ms: 7, live: true }
}

fn partition(bytes: usize) -> RawPartition {
    let act = RememberedAct { id: 3, token: Token(4), result: Bytes::from_static(b"done") };
    let memory = ActorMemory { session_epoch: 1, forgotten: 2, seen_ms: 3, acts: vec![act] };
    RawPartition {
        key: PartitionKey::read(b"w1/player/0040000000000001").unwrap(),
        recent: RecentTokens::from_newest_first([Token(9), Token(8)]),
        docs: BTreeMap::from([
            (Name::from("bag"), Document { cas: Cas(9), value: Bytes::from(vec![5; bytes]) }),
            (Name::from("empty"), Document { cas: Cas(u64::MAX), value: Bytes::new() }),
        ]),
        epochs: BTreeMap::from([(Name::from("session"), u64::MAX)]),
        leases: BTreeMap::from([(Name::from("s1"), Lease { holder: 1, until_ms: 2 })]),
        actors: BTreeMap::from([(1, memory), (2, ActorMemory::default())]),
    }
}

fn pieces() -> Vec<Piece> {
    let shard = Shard(SHARD_COUNT - 1);
    let entry = LedgerEntry {
        shard,
        sequence: 1,
        token: Token(2),
        partition: partition(0).key,
        store_ms: 3,
        bytes: Bytes::from_static(b"entry"),
    };
    let indexed = IndexEntry { shard, key: Bytes::from_static(b"key"), value: Bytes::from_static(b"value") };
    vec![
        Piece::Ledger(entry),
        Piece::Opening(Bytes::from_static(b"opening")),
        Piece::Index(Name::from("pending"), vec![indexed]),
        Piece::Partition(partition(20)),
    ]
}

fn file(pieces: &[Piece]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), about()).unwrap();
    pieces.iter().for_each(|piece| writer.put(piece).unwrap());
    let (bytes, counts, _) = writer.end().unwrap();
    assert_eq!(counts.residents, 1);
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Pieces::begin(bytes)?;
    let mut all = Vec::new();
    while let Some(piece) = pieces.next()? {
        all.push(piece);
    }
    Ok(all)
}

#[test]
fn what_is_written_is_read_back() {
    let bytes = file(&pieces());
    let all = read(&bytes).unwrap();
    assert_eq!(all[0], Piece::About(about()));
    assert_eq!(all[1..all.len() - 1], pieces());
    assert!(
        matches!(&all[all.len() - 1], Piece::End(counts) if counts.partitions == 1 && counts.index_entries == 1)
    );
}

#[test]
fn a_large_partition_goes_over_several_frames() {
    let large = [Piece::Partition(partition(3 * FRAME_MAX_BYTES))];
    assert_eq!(read(&file(&large)).unwrap()[1..2], large);
}

#[test]
fn nothing_that_is_cut_flipped_or_rearranged_is_taken() {
    let bytes = file(&pieces());
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).is_err(), "bit {bit}");
    }
    assert!(read(&[&bytes[..], b"x"].concat()).is_err(), "something behind its end");
    let mut others = pieces();
    others.swap(0, 1);
    let swapped = file(&others);
    let ends = bytes.len() - 120;
    // The frames of one file with the end of another.
    assert!(read(&[&swapped[..ends], &bytes[ends..]].concat()).is_err());
}
