//! How a partition lies in the file: one small row per document, epoch and lease, a head row, and log rows.
//!
//! Writing one document writes its row and the head, however large the partition is. Keys sort by shard, then
//! partition, then kind, so that a partition (and a shard) is one range. Every value begins with a checksum over
//! key and value: a damaged row is found and reported, never served.

use bytes::{Buf, BufMut, Bytes};
use chunk_sync::store::{
    ActorMemory, Cas, Document, Lease, LoggedCommit, Name, PartitionKey, RESEND_COMMITS_MAX, RecentTokens,
    RememberedAct, Shard, Token,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::store::events;

/// What a row of the main table is; the byte stands in its key.
pub(super) const KIND_HEAD: u8 = 0;
pub(super) const KIND_DOCUMENT: u8 = 1;
pub(super) const KIND_EPOCH: u8 = 2;
pub(super) const KIND_LEASE: u8 = 3;
/// Greater than every kind: the end of a partition's range.
pub(super) const KIND_END: u8 = u8::MAX;

const CHECKSUM_BYTES: usize = 8;

/// A row that isn't what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged {
    /// Which row, for the operator.
    pub(super) row: String,
}

/// The first part of all keys of a partition.
pub(super) fn prefix(partition: &PartitionKey) -> Vec<u8> {
    let bytes = partition.as_bytes();
    let length = u8::try_from(bytes.len()).expect("StoreOp::check bounds the key to KEY_MAX_BYTES");
    let mut key = Vec::with_capacity(3 + bytes.len());
    key.put_u16(partition.shard().0);
    key.put_u8(length);
    key.put_slice(bytes);
    key
}

/// The key of one row of the main table.
pub(super) fn key(prefix: &[u8], kind: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 1 + name.len());
    key.put_slice(prefix);
    key.put_u8(kind);
    key.put_slice(name.as_bytes());
    key
}

/// The key of one row of the log table, or of the table of actors.
pub(super) fn numbered_key(prefix: &[u8], number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 8);
    key.put_slice(prefix);
    key.put_u64(number);
    key
}

/// The number that stands in a key of [`numbered_key`].
pub(super) fn number_in(key: &[u8], prefix: &[u8]) -> Result<u64, Damaged> {
    let number = key.get(prefix.len()..).and_then(|number| number.try_into().ok());
    number.map(u64::from_be_bytes).ok_or_else(|| damaged(key))
}

/// The first part of all keys of an index; its entries sort by shard, then key.
pub(super) fn index_prefix(index: &Name) -> Vec<u8> {
    let name = index.as_str().as_bytes();
    let length =
        u8::try_from(name.len()).expect("Commit::check and the ops store bound it to NAME_MAX_BYTES");
    let mut key = Vec::with_capacity(1 + name.len());
    key.put_u8(length);
    key.put_slice(name);
    key
}

/// The index whose name stands in the key of an entry.
pub(super) fn index_name(key: &[u8]) -> Result<Name, Damaged> {
    let name = key.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length)));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    name.map(Name::from).ok_or_else(|| damaged(key))
}

/// The key of an index entry; without an entry's key that of the index's size in the shard.
pub(super) fn index_key(prefix: &[u8], shard: Shard, key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(prefix.len() + 2 + key.len());
    place.put_slice(prefix);
    place.put_u16(shard.0);
    place.put_slice(key);
    place
}

/// The shard and the key that stand in the key of an index entry.
pub(super) fn index_place(key: &[u8], prefix: &[u8]) -> Result<(Shard, Bytes), Damaged> {
    let mut place = key.get(prefix.len()..).ok_or_else(|| damaged(key))?;
    let shard = Shard(place.try_get_u16().map_err(|_| damaged(key))?);
    Ok((shard, Bytes::copy_from_slice(place)))
}

/// Puts the checksum before a value.
pub(super) fn seal(key: &[u8], value: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut sealed = vec![0; CHECKSUM_BYTES];
    value(&mut sealed);
    let checksum = xxh3_64_with_seed(&sealed[CHECKSUM_BYTES..], xxh3_64(key));
    sealed[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
    sealed
}

/// Takes the checksum off a value, if it is right.
pub(super) fn open<'v>(key: &[u8], mut sealed: &'v [u8]) -> Result<&'v [u8], Damaged> {
    let checksum = sealed.try_get_u64().map_err(|_| damaged(key))?;
    if checksum != xxh3_64_with_seed(sealed, xxh3_64(key)) {
        return Err(damaged(key));
    }
    Ok(sealed)
}

pub(super) fn damaged(key: &[u8]) -> Damaged {
    Damaged { row: key.escape_ascii().to_string() }
}

/// A partition's head: what a commit needs whatever it touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Documents, epochs and leases.
    pub(super) rows: u32,
    /// Number of the oldest log row.
    pub(super) log_first: u64,
    /// Number of the next log row.
    pub(super) log_next: u64,
    /// The newest tokens.
    pub(super) recent: RecentTokens,
}

impl Head {
    pub(super) fn seal(&self, key: &[u8]) -> Vec<u8> {
        seal(key, |value| {
            value.put_u32(self.rows);
            value.put_u64(self.log_first);
            value.put_u64(self.log_next);
            for token in self.recent.newest_first() {
                value.put_u64(token.0);
            }
        })
    }

    pub(super) fn open(key: &[u8], sealed: &[u8]) -> Result<Self, Damaged> {
        let mut value = open(key, sealed)?;
        if value.len() < 20 || !(value.len() - 20).is_multiple_of(8) {
            return Err(damaged(key));
        }
        let (rows, log_first, log_next) = (value.get_u32(), value.get_u64(), value.get_u64());
        let mut tokens = Vec::with_capacity(RESEND_COMMITS_MAX + 1);
        while let Ok(token) = value.try_get_u64() {
            tokens.push(Token(token));
        }
        Ok(Self { rows, log_first, log_next, recent: RecentTokens::from_newest_first(tokens) })
    }
}

pub(super) fn seal_document(key: &[u8], cas: Cas, document: &Bytes) -> Vec<u8> {
    seal(key, |value| {
        value.reserve_exact(8 + document.len());
        value.put_u64(cas.0);
        value.put_slice(document);
    })
}

pub(super) fn open_cas(key: &[u8], sealed: &[u8]) -> Result<Cas, Damaged> {
    let mut value = open(key, sealed)?;
    Ok(Cas(value.try_get_u64().map_err(|_| damaged(key))?))
}

pub(super) fn open_document(key: &[u8], sealed: &[u8]) -> Result<Document, Damaged> {
    let mut value = open(key, sealed)?;
    let cas = Cas(value.try_get_u64().map_err(|_| damaged(key))?);
    Ok(Document { cas, value: Bytes::copy_from_slice(value) })
}

pub(super) fn seal_epoch(key: &[u8], epoch: u64) -> Vec<u8> {
    seal(key, |value| value.put_u64(epoch))
}

pub(super) fn open_epoch(key: &[u8], sealed: &[u8]) -> Result<u64, Damaged> {
    open(key, sealed)?.try_get_u64().map_err(|_| damaged(key))
}

pub(super) fn seal_lease(key: &[u8], lease: Lease) -> Vec<u8> {
    seal(key, |value| {
        value.put_u64(lease.holder);
        value.put_u64(lease.until_ms);
    })
}

pub(super) fn open_lease(key: &[u8], sealed: &[u8]) -> Result<Lease, Damaged> {
    let mut value = open(key, sealed)?;
    if value.len() != 16 {
        return Err(damaged(key));
    }
    Ok(Lease { holder: value.get_u64(), until_ms: value.get_u64() })
}

pub(super) fn seal_logged(key: &[u8], logged: &LoggedCommit) -> Vec<u8> {
    seal(key, |value| {
        value.put_u64(logged.previous.0);
        value.put_u64(logged.token.0);
        value.put_slice(&events::pack(&logged.events));
    })
}

pub(super) fn open_logged(key: &[u8], sealed: &[u8]) -> Result<LoggedCommit, Damaged> {
    let mut value = open(key, sealed)?;
    if value.len() < 16 {
        return Err(damaged(key));
    }
    let (previous, token) = (Token(value.get_u64()), Token(value.get_u64()));
    let events = events::unpack(Bytes::copy_from_slice(value)).ok_or_else(|| damaged(key))?;
    Ok(LoggedCommit { previous, token, events })
}

pub(super) fn seal_actor(key: &[u8], memory: &ActorMemory) -> Vec<u8> {
    seal(key, |value| {
        value.put_u32(memory.session_epoch);
        value.put_u64(memory.forgotten);
        value.put_u64(memory.seen_ms);
        for act in &memory.acts {
            let length = u16::try_from(act.result.len()).expect("Commit::check bounds it to 1 KiB");
            value.put_u64(act.id);
            value.put_u64(act.token.0);
            value.put_u16(length);
            value.put_slice(&act.result);
        }
    })
}

pub(super) fn open_actor(key: &[u8], sealed: &[u8]) -> Result<ActorMemory, Damaged> {
    let mut value = open(key, sealed)?;
    let mut read = || -> Result<ActorMemory, bytes::TryGetError> {
        let mut memory = ActorMemory {
            session_epoch: value.try_get_u32()?,
            forgotten: value.try_get_u64()?,
            seen_ms: value.try_get_u64()?,
            acts: Vec::new(),
        };
        while value.has_remaining() {
            let (id, token) = (value.try_get_u64()?, Token(value.try_get_u64()?));
            let mut result = vec![0; usize::from(value.try_get_u16()?)];
            value.try_copy_to_slice(&mut result)?;
            memory.acts.push(RememberedAct { id, token, result: result.into() });
        }
        Ok(memory)
    };
    read().map_err(|_| damaged(key))
}

pub(super) fn seal_bytes(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    seal(key, |value| value.put_slice(bytes))
}

pub(super) fn open_bytes(key: &[u8], sealed: &[u8]) -> Result<Bytes, Damaged> {
    Ok(Bytes::copy_from_slice(open(key, sealed)?))
}

pub(super) fn seal_count(key: &[u8], count: u32) -> Vec<u8> {
    seal(key, |value| value.put_u32(count))
}

pub(super) fn open_count(key: &[u8], sealed: &[u8]) -> Result<u32, Damaged> {
    open(key, sealed)?.try_get_u32().map_err(|_| damaged(key))
}

/// The name that stands in the key of a document, an epoch or a lease.
pub(super) fn name_in(key: &[u8], prefix: &[u8]) -> Result<Name, Damaged> {
    let name = key.get(prefix.len() + 1..).and_then(|name| std::str::from_utf8(name).ok());
    name.map(Name::from).ok_or_else(|| damaged(key))
}

#[cfg(test)]
mod tests {
    use chunk_sync::ids::WorldId;

    use super::*;

    #[test]
    fn every_flipped_bit_of_a_row_is_found() {
        let prefix = prefix(&PartitionKey::cluster(WorldId(1), "keys"));
        let row = key(&prefix, KIND_DOCUMENT, "doc");
        let sealed = seal_document(&row, Cas(7), &Bytes::from_static(b"value"));
        let document = Document { cas: Cas(7), value: Bytes::from_static(b"value") };
        assert_eq!(open_document(&row, &sealed), Ok(document));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open_document(&row, &flipped).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open_document(&row, &sealed[..length]).is_err(), "{length} bytes");
        }
        let other = key(&prefix, KIND_DOCUMENT, "dock");
        assert!(open_document(&other, &sealed).is_err(), "a row in another's place");
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let prefix = prefix(&PartitionKey::cluster(WorldId(1), "keys"));
        let row = key(&prefix, KIND_HEAD, "");
        let mut head = Head { rows: 3, log_first: 5, log_next: u64::MAX, ..Head::default() };
        assert_eq!(Head::open(&row, &head.seal(&row)), Ok(head.clone()));
        for token in 1..40 {
            head.recent.push(Token(u64::MAX - token));
        }
        assert_eq!(Head::open(&row, &head.seal(&row)), Ok(head));
        let lease = Lease { holder: u64::MAX, until_ms: 0 };
        assert_eq!(open_lease(&row, &seal_lease(&row, lease)), Ok(lease));
        assert_eq!(open_epoch(&row, &seal_epoch(&row, u64::MAX)), Ok(u64::MAX));
        let logged =
            LoggedCommit { previous: Token(0), token: Token(u64::MAX), events: vec![Bytes::new(); 3] };
        assert_eq!(open_logged(&row, &seal_logged(&row, &logged)), Ok(logged));
        let act = |id, size| RememberedAct { id, token: Token(id + 1), result: vec![7; size].into() };
        let memory = ActorMemory { session_epoch: 3, forgotten: 4, seen_ms: 5, acts: vec![] };
        let busy =
            ActorMemory { acts: vec![act(9, 0), act(u64::MAX - 1, 1024), act(6, 3)], ..memory.clone() };
        for memory in [memory, busy] {
            assert_eq!(open_actor(&row, &seal_actor(&row, &memory)), Ok(memory));
        }
        let cut = seal(&row, |value| value.put_slice(&[0; 30]));
        assert!(open_actor(&row, &cut).is_err(), "an act that is cut off");
        let (index, shard) = (index_prefix(&"lots".into()), Shard(4095));
        let place = index_key(&index, shard, b"key");
        assert_eq!(index_place(&place, &index), Ok((shard, Bytes::from_static(b"key"))));
        assert_eq!(name_in(&key(&prefix, KIND_EPOCH, "ä/1"), &prefix), Ok(Name::from("ä/1")));
    }

    #[test]
    fn no_partition_lies_in_the_range_of_another() {
        let short = prefix(&PartitionKey::node(WorldId(1), "a"));
        let long = prefix(&PartitionKey::node(WorldId(1), "ab"));
        assert!(!long.starts_with(&short));
    }
}
