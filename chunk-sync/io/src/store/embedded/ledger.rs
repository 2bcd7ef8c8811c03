//! How the shards' ledgers lie in the file: one row for each entry, in the order of shards and numbers, and one row
//! for each shard that says from which number to which its ledger goes. That row outlives the entries, so that no
//! number is given twice.

use bytes::{Buf, BufMut, Bytes};
use chunk_sync::store::{
    DamagedLedgerEntry, LedgerCursor, LedgerEntry, LedgerPage, PartitionKey, SHARD_COUNT, Shard, Token,
};
use redb::ReadableTable;

use super::engine::Failure;
use super::partition::Tables;
use super::rows::{Damaged, damaged, open, seal};

/// From which number to which a shard's ledger goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The number of its oldest entry.
    first: u64,
    /// The number of the next entry.
    next: u64,
}

impl Head {
    /// How many entries there are.
    pub(super) fn entries(self) -> u32 {
        u32::try_from(self.next.saturating_sub(self.first)).unwrap_or(u32::MAX)
    }

    fn seal(self, key: &[u8]) -> Vec<u8> {
        seal(key, |value| {
            value.put_u64(self.first);
            value.put_u64(self.next);
        })
    }

    fn open(key: &[u8], sealed: &[u8]) -> Result<Self, Damaged> {
        let mut value = open(key, sealed)?;
        if value.len() != 16 {
            return Err(damaged(key));
        }
        Ok(Self { first: value.get_u64(), next: value.get_u64() })
    }
}

fn head_key(shard: Shard) -> [u8; 2] {
    shard.0.to_be_bytes()
}

fn entry_key(shard: Shard, sequence: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(10);
    key.put_u16(shard.0);
    key.put_u64(sequence);
    key
}

fn seal_entry(key: &[u8], partition: &PartitionKey, token: Token, store_ms: u64, bytes: &Bytes) -> Vec<u8> {
    let named = partition.as_bytes();
    let length = u8::try_from(named.len()).expect("StoreOp::check bounds the key to KEY_MAX_BYTES");
    seal(key, |value| {
        value.reserve_exact(17 + named.len() + bytes.len());
        value.put_u64(token.0);
        value.put_u64(store_ms);
        value.put_u8(length);
        value.put_slice(named);
        value.put_slice(bytes);
    })
}

fn open_entry(key: &[u8], sealed: &[u8]) -> Result<LedgerEntry, Damaged> {
    let mut value = open(key, sealed)?;
    let mut place = key;
    let mut read = || -> Option<LedgerEntry> {
        let (shard, sequence) = (Shard(place.try_get_u16().ok()?), place.try_get_u64().ok()?);
        let (token, store_ms) = (Token(value.try_get_u64().ok()?), value.try_get_u64().ok()?);
        let (named, bytes) = {
            let length = usize::from(value.try_get_u8().ok()?);
            value.split_at_checked(length)?
        };
        let (partition, bytes) = (PartitionKey::read(named)?, Bytes::copy_from_slice(bytes));
        Some(LedgerEntry { shard, sequence, token, partition, store_ms, bytes })
    };
    read().ok_or_else(|| damaged(key))
}

/// Where a shard's ledger begins and ends.
pub(super) fn head(
    heads: &impl ReadableTable<&'static [u8], &'static [u8]>,
    shard: Shard,
) -> Result<Head, Failure> {
    let key = head_key(shard);
    let row = heads.get(key.as_slice())?;
    let known = row.map(|sealed| Head::open(&key, sealed.value())).transpose()?;
    Ok(known.unwrap_or(Head { first: 1, next: 1 }))
}

/// Appends an entry to the ledger of the partition's shard.
pub(super) fn append(
    tables: &mut Tables<'_>,
    partition: &PartitionKey,
    token: Token,
    store_ms: u64,
    bytes: &Bytes,
) -> Result<(), Failure> {
    let shard = partition.shard();
    let mut head = head(&tables.ledger_heads, shard)?;
    let key = entry_key(shard, head.next);
    let sealed = seal_entry(&key, partition, token, store_ms, bytes);
    tables.ledger.insert(key.as_slice(), sealed.as_slice())?;
    head.next += 1;
    put_head(tables, shard, head)
}

/// Removes a shard's entries up to and including `up_to`; answers whether there were any.
pub(super) fn trim(tables: &mut Tables<'_>, shard: Shard, up_to: u64) -> Result<bool, Failure> {
    let mut head = head(&tables.ledger_heads, shard)?;
    let first = up_to.saturating_add(1).min(head.next);
    if first <= head.first {
        return Ok(false);
    }
    let (from, to) = (entry_key(shard, head.first), entry_key(shard, first));
    tables.ledger.retain_in(from.as_slice()..to.as_slice(), |_, _| false)?;
    head.first = first;
    put_head(tables, shard, head)?;
    Ok(true)
}

fn put_head(tables: &mut Tables<'_>, shard: Shard, head: Head) -> Result<(), Failure> {
    let key = head_key(shard);
    tables.ledger_heads.insert(key.as_slice(), head.seal(&key).as_slice())?;
    Ok(())
}

/// Reads up to `entries_max` entries of all shards after a cursor.
pub(super) fn page(
    ledger: &impl ReadableTable<&'static [u8], &'static [u8]>,
    after: Option<LedgerCursor>,
    entries_max: usize,
) -> Result<LedgerPage, Failure> {
    let first = match after {
        None => entry_key(Shard(0), 0),
        // An entry can't be followed more closely than by itself and a zero byte.
        Some(after) => [&entry_key(after.shard, after.sequence)[..], &[0]].concat(),
    };
    let end = entry_key(Shard(SHARD_COUNT), 0);
    if first >= end {
        return Ok(LedgerPage::default());
    }
    let mut page = LedgerPage::default();
    let mut last = None;
    for row in ledger.range(first.as_slice()..end.as_slice())?.take(entries_max + 1) {
        if page.entries.len() + page.damaged.len() == entries_max {
            page.next = last;
            break;
        }
        let (key, sealed) = row?;
        let (key, sealed) = (key.value(), sealed.value());
        let at = place_of(key)?;
        match open_entry(key, sealed) {
            Ok(entry) => page.entries.push(entry),
            Err(_) => page.damaged.push(DamagedLedgerEntry { at, raw: Bytes::copy_from_slice(sealed) }),
        }
        last = Some(at);
    }
    Ok(page)
}

fn place_of(mut key: &[u8]) -> Result<LedgerCursor, Damaged> {
    let row = key;
    let mut read = || Some((Shard(key.try_get_u16().ok()?), key.try_get_u64().ok()?));
    let (shard, sequence) = read().ok_or_else(|| damaged(row))?;
    Ok(LedgerCursor { shard, sequence })
}

#[cfg(test)]
mod tests {
    use chunk_sync::ids::WorldId;

    use super::*;

    #[test]
    fn entries_come_back_as_they_were_and_damaged_ones_do_not() {
        let partition = PartitionKey::cluster(WorldId(1), "keys");
        let key = entry_key(Shard(4095), u64::MAX);
        let bytes = Bytes::from_static(b"\0entry\xff");
        let sealed = seal_entry(&key, &partition, Token(u64::MAX), 7, &bytes);
        let wanted = LedgerEntry {
            shard: Shard(4095),
            sequence: u64::MAX,
            token: Token(u64::MAX),
            partition,
            store_ms: 7,
            bytes,
        };
        assert_eq!(open_entry(&key, &sealed), Ok(wanted));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open_entry(&key, &flipped).is_err(), "bit {bit}");
        }
        let cut = seal(&key, |value| value.put_slice(&sealed[8..30]));
        assert!(open_entry(&key, &cut).is_err(), "a key that is cut off");
        let head = Head { first: 3, next: u64::MAX };
        assert_eq!(Head::open(&key, &head.seal(&key)), Ok(head));
        assert!(Head::open(&entry_key(Shard(1), 1), &head.seal(&key)).is_err(), "another shard's");
    }
}
