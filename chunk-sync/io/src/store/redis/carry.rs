//! What ops calls carry to Redis and back, as typed values: entries of the ledger, whole partitions, names of keys.
//!
//! Pure, as `codec` is; a reply that can't be right is `None`.

use bytes::{Buf, Bytes};
use chunk_sync::store::{
    ActorMemory, DamagedLedgerEntry, IndexEntry, LedgerCursor, LedgerEntry, Name, PartitionCursor,
    PartitionKey, RawPartition, RememberedAct, Shard, Token,
};
use redis::{Cmd, Value};

use super::codec::{
    HEX_BYTES, LIBRARY, beside_key, hex, index_keys, ledger_key, partition_key, read_rows, texts, unhex,
};

/// What a key of any partition looks like, and what one of the keys of any index.
pub(super) const PARTITIONS_PATTERN: &str = "{s*}:w*";
pub(super) const INDEXES_PATTERN: &str = "{s*}:index:*";

/// What a ledger entry says beside its token and its time, which the function adds before it.
pub(super) fn pack_ledger_entry(partition: &PartitionKey, entry: &Bytes) -> Vec<u8> {
    let named = partition.as_bytes();
    [format!("{:02x}", named.len()).as_bytes(), named, entry].concat()
}

/// The command that counts the entries of a shard's ledger.
pub(super) fn ledger_entries_command(shard: Shard) -> Cmd {
    let mut command = redis::cmd("XLEN");
    command.arg(ledger_key(shard));
    command
}

/// The command that reads up to `entries_max` entries of a shard's ledger after a number.
pub(super) fn ledger_page_command(shard: Shard, after: u64, entries_max: usize) -> Cmd {
    let mut command = redis::cmd("XRANGE");
    command.arg(ledger_key(shard)).arg(format!("(0-{after}")).arg("+").arg("COUNT").arg(entries_max);
    command
}

/// The command that removes a shard's ledger entries up to and including a number.
pub(super) fn ledger_trim_command(shard: Shard, up_to: u64) -> Cmd {
    let first = match up_to.checked_add(1) {
        Some(first) => format!("0-{first}"),
        None => "1-0".to_owned(),
    };
    let mut command = redis::cmd("XTRIM");
    command.arg(ledger_key(shard)).arg("MINID").arg("=").arg(first);
    command
}

/// Reads the reply to [`ledger_page_command`].
pub(super) fn read_ledger(
    shard: Shard,
    reply: Value,
) -> Option<Vec<Result<LedgerEntry, DamagedLedgerEntry>>> {
    let Value::Array(entries) = reply else { return None };
    entries.into_iter().map(|entry| read_ledger_entry(shard, entry)).collect()
}

/// An entry that has its number, and is not as it was written, is damaged; one without is nothing of ours.
fn read_ledger_entry(shard: Shard, entry: Value) -> Option<Result<LedgerEntry, DamagedLedgerEntry>> {
    let Value::Array(parts) = entry else { return None };
    let [id, fields]: [Value; 2] = parts.try_into().ok()?;
    let id: String = redis::from_redis_value(id).ok()?;
    let at = LedgerCursor { shard, sequence: id.strip_prefix("0-")?.parse().ok()? };
    let raw = texts(fields)?.into_iter().next_back().unwrap_or_default();
    Some(unpack_ledger_entry(at, raw.clone()).ok_or(DamagedLedgerEntry { at, raw }))
}

fn unpack_ledger_entry(at: LedgerCursor, mut packed: Bytes) -> Option<LedgerEntry> {
    let (token, store_ms) = (unhex(packed.get(..HEX_BYTES)?)?, unhex(packed.get(HEX_BYTES..2 * HEX_BYTES)?)?);
    packed.advance(2 * HEX_BYTES);
    let length = std::str::from_utf8(packed.get(..2)?).ok()?;
    let length = usize::from(u8::from_str_radix(length, 16).ok()?);
    packed.advance(2);
    let partition = PartitionKey::read(packed.get(..length)?)?;
    packed.advance(length);
    let LedgerCursor { shard, sequence } = at;
    Some(LedgerEntry { shard, sequence, token: Token(token), partition, store_ms, bytes: packed })
}

/// The partition whose key in Redis this is, if it is one's.
pub(super) fn read_partition_key(name: &[u8]) -> Option<PartitionCursor> {
    let (shard, key) = split_tag(name)?;
    let place = PartitionCursor::of(PartitionKey::read(key)?);
    (place.shard == shard).then_some(place)
}

/// The index one of whose keys in Redis this is, if it is one's.
pub(super) fn read_index_key(name: &[u8]) -> Option<Name> {
    let (_, rest) = split_tag(name)?;
    std::str::from_utf8(rest.strip_prefix(b"index:")?).ok().map(Name::from)
}

fn split_tag(name: &[u8]) -> Option<(Shard, &[u8])> {
    let rest = name.strip_prefix(b"{s")?;
    let end = rest.iter().position(|byte| *byte == b'}')?;
    let shard = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    Some((Shard(shard), rest[end + 1..].strip_prefix(b":")?))
}

fn whole_keys(command: &mut Cmd, partition: &PartitionKey) {
    command.arg(partition_key(partition));
    command.arg(beside_key("actors", partition)).arg(beside_key("seen", partition));
}

/// The command that reads a partition with all that it remembers.
pub(super) fn whole_command(partition: &PartitionKey) -> Cmd {
    let mut command = redis::cmd("FCALL_RO");
    command.arg(format!("{LIBRARY}_whole")).arg(3);
    whole_keys(&mut command, partition);
    command
}

/// Reads the reply to [`whole_command`]; the inner `None` is a partition that is not there.
pub(super) fn read_whole(key: &PartitionKey, reply: Value) -> Option<Option<RawPartition>> {
    let Value::Array(parts) = reply else { return None };
    let [rows, actors, seen]: [Value; 3] = parts.try_into().ok()?;
    let (recent, view) = read_rows(rows)?;
    if recent.newest() == Token::NONE {
        return Some(None);
    }
    let mut raw = RawPartition {
        key: key.clone(),
        recent,
        docs: view.docs,
        epochs: view.epochs,
        leases: view.leases,
        actors: pairs(actors)?
            .map(|pair| {
                let (actor, memory) = pair?;
                Some((unhex(&actor)?, read_actor(memory)?))
            })
            .collect::<Option<_>>()?,
    };
    let mut moments = 0;
    for pair in pairs(seen)? {
        let (actor, seen_ms) = pair?;
        let seen_ms: f64 = std::str::from_utf8(&seen_ms).ok()?.parse().ok()?;
        raw.actors.get_mut(&unhex(&actor)?)?.seen_ms = seen_ms as u64;
        moments += 1;
    }
    (moments == raw.actors.len()).then_some(Some(raw))
}

fn pairs(value: Value) -> Option<impl Iterator<Item = Option<(Bytes, Bytes)>>> {
    let mut parts = texts(value)?.into_iter();
    Some(std::iter::from_fn(move || {
        let first = parts.next()?;
        Some(parts.next().map(|second| (first, second)))
    }))
}

/// What a partition remembers of an actor; when it was seen lies elsewhere.
fn read_actor(mut memory: Bytes) -> Option<ActorMemory> {
    let session_epoch = u32::try_from(unhex(memory.get(..HEX_BYTES)?)?).ok()?;
    let forgotten = unhex(memory.get(HEX_BYTES..2 * HEX_BYTES)?)?;
    memory.advance(2 * HEX_BYTES);
    let mut acts = Vec::new();
    while !memory.is_empty() {
        let (id, token) = (unhex(memory.get(..HEX_BYTES)?)?, unhex(memory.get(HEX_BYTES..2 * HEX_BYTES)?)?);
        let length = std::str::from_utf8(memory.get(2 * HEX_BYTES..2 * HEX_BYTES + 4)?).ok()?;
        let length = usize::from_str_radix(length, 16).ok()?;
        memory.advance(2 * HEX_BYTES + 4);
        if memory.len() < length {
            return None;
        }
        acts.push(RememberedAct { id, token: Token(token), result: memory.split_to(length) });
    }
    Some(ActorMemory { session_epoch, forgotten, seen_ms: 0, acts })
}

fn pack_actor(memory: &ActorMemory) -> Vec<u8> {
    let mut packed = [hex(u64::from(memory.session_epoch)), hex(memory.forgotten)].concat().into_bytes();
    for act in &memory.acts {
        packed.extend_from_slice(hex(act.id).as_bytes());
        packed.extend_from_slice(hex(act.token.0).as_bytes());
        packed.extend_from_slice(format!("{:04x}", act.result.len()).as_bytes());
        packed.extend_from_slice(&act.result);
    }
    packed
}

/// The command that writes a partition where none is; its reply is `done` or `present`.
pub(super) fn restore_command(raw: &RawPartition) -> Cmd {
    let mut command = redis::cmd("FCALL");
    command.arg(format!("{LIBRARY}_restore")).arg(3);
    whole_keys(&mut command, &raw.key);
    whole_arguments(&mut command, raw);
    command
}

/// The command that writes a partition over the one whose newest token is `over`; its reply is `done`, or the newest
/// token that is there.
pub(super) fn replace_command(raw: &RawPartition, over: Token) -> Cmd {
    let mut command = redis::cmd("FCALL");
    command.arg(format!("{LIBRARY}_replace")).arg(4);
    whole_keys(&mut command, &raw.key);
    command.arg(beside_key("log", &raw.key)).arg(hex(over.0)).arg(hex(raw.token().0));
    whole_arguments(&mut command, raw);
    command
}

/// Reads the token in a reply to [`replace_command`].
pub(super) fn read_newest(reply: &str) -> Option<Token> {
    unhex(reply.as_bytes()).map(Token)
}

fn whole_arguments(command: &mut Cmd, raw: &RawPartition) {
    command.arg(1 + raw.docs.len() + raw.epochs.len() + raw.leases.len()).arg(raw.actors.len());
    let recent: String = raw.recent.newest_first().iter().map(|token| hex(token.0)).collect();
    command.arg("t").arg(recent);
    for (name, document) in &raw.docs {
        command.arg(format!("d:{name}")).arg([hex(document.cas.0).as_bytes(), &document.value].concat());
    }
    for (name, epoch) in &raw.epochs {
        command.arg(format!("e:{name}")).arg(hex(*epoch));
    }
    for (name, lease) in &raw.leases {
        command.arg(format!("l:{name}")).arg([hex(lease.holder), hex(lease.until_ms)].concat());
    }
    for (actor, memory) in &raw.actors {
        command.arg(hex(*actor)).arg(pack_actor(memory));
    }
    for (actor, memory) in &raw.actors {
        command.arg(memory.seen_ms).arg(hex(*actor));
    }
}

/// The commands that write entries of an index, which are all of one shard.
pub(super) fn restore_index_commands(index: &Name, shard: Shard, entries: &[IndexEntry]) -> [Cmd; 2] {
    let [keys, values] = index_keys(shard, index);
    let (mut add, mut put) = (redis::cmd("ZADD"), redis::cmd("HSET"));
    add.arg(keys);
    put.arg(values);
    for entry in entries {
        add.arg(0).arg(&entry.key[..]);
        put.arg(&entry.key[..]).arg(&entry.value[..]);
    }
    [add, put]
}

/// The command that writes something of no meaning, after which the server's replicas and disk can be waited for.
pub(super) fn mark_command(shard: Shard) -> Cmd {
    let mut command = redis::cmd("FCALL");
    command.arg(format!("{LIBRARY}_mark")).arg(1).arg(format!("{{s{}}}:mark", shard.0));
    command
}

#[cfg(test)]
mod tests {
    use chunk_sync::ids::WorldId;

    use super::*;

    #[test]
    fn names_of_keys_are_read_and_others_are_not() {
        let key = PartitionKey::cluster(WorldId(1), "minter");
        let name = partition_key(&key);
        assert_eq!(read_partition_key(&name), Some(PartitionCursor::of(key.clone())));
        let tag = format!("{{s{}}}", key.shard().0);
        for other in [
            beside_key("log", &key),
            format!("{{s1}}:{key}").into_bytes(),
            format!("{tag}{key}").into_bytes(),
            format!("{{s}}:{key}").into_bytes(),
            key.as_bytes().to_vec(),
            b"{s70000}:w1/a".to_vec(),
        ] {
            assert_eq!(read_partition_key(&other), None, "{}", other.escape_ascii());
        }
        let [keys, values] = index_keys(Shard(7), &"a:b".into());
        assert_eq!(read_index_key(keys.as_bytes()), Some("a:b".into()));
        assert_eq!(read_index_key(values.as_bytes()), None);
    }

    #[test]
    fn memories_of_actors_come_back_as_they_were() {
        let act = |id, size| RememberedAct { id, token: Token(id + 1), result: vec![7; size].into() };
        let memory = ActorMemory {
            session_epoch: u32::MAX,
            forgotten: 4,
            seen_ms: 0,
            acts: vec![act(9, 0), act(5, 1024)],
        };
        let packed = pack_actor(&memory);
        assert_eq!(read_actor(packed.clone().into()), Some(memory));
        for cut in [0, 5, 31, 33, 67, packed.len() - 1] {
            assert_eq!(read_actor(packed[..cut].to_vec().into()), None, "{cut} bytes");
        }
    }

    #[test]
    fn entries_that_cannot_be_right_are_not_read() {
        let text = |text: &str| Value::BulkString(text.into());
        let numbers = [hex(1), hex(2)].concat();
        let entry = |id: &str, packed: &str| {
            let fields = Value::Array(vec![text("e"), text(packed)]);
            read_ledger(Shard(3), Value::Array(vec![Value::Array(vec![text(id), fields])]))
        };
        let read = entry("0-7", &format!("{numbers}06w1/a/bsaid")).expect("is right");
        let Ok(sound) = &read[0] else { panic!("{read:?}") };
        assert_eq!((sound.sequence, &sound.bytes[..]), (7, &b"said"[..]));
        for packed in [
            numbers.clone(),
            format!("{numbers}ffw1/a/bsaid"),
            format!("{numbers}06x1/a/bsaid"),
            String::new(),
        ] {
            let at = LedgerCursor { shard: Shard(3), sequence: 7 };
            let damaged = DamagedLedgerEntry { at, raw: packed.clone().into() };
            assert_eq!(entry("0-7", &packed), Some(vec![Err(damaged)]), "{packed}");
        }
        assert_eq!(entry("1-7", &format!("{numbers}06w1/a/bsaid")), None, "no number of ours");
        assert_eq!(read_ledger(Shard(3), Value::Okay), None);
    }
}
