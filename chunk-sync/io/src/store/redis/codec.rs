//! What goes to Redis and comes back, as typed values: the one door between its bytes and the contract.
//!
//! Pure. Numbers of 64 bits travel as 16 lower-case hex digits; a reply that can't be right is `None`.

use bytes::Bytes;
use chunk_sync::store::{
    ACTORS_FORGOTTEN_TOGETHER_MAX, ACTORS_PER_PARTITION_MAX, ACTS_PER_ACTOR_MAX, Cas, Commit, CommitOutcome,
    Document, EpochStep, INDEX_ENTRIES_PER_SHARD_MAX, IndexEntry, IndexStep, LEDGER_ENTRIES_PER_SHARD_MAX,
    LOG_COMMITS_MAX, Lease, LeaseStep, LoggedCommit, Name, PARTITION_ROWS_MAX, PartitionKey, PartitionView,
    Precondition, RESEND_COMMITS_MAX, RecentTokens, Refusal, Shard, Tail, Token,
};
use redis::{Cmd, Value};

use super::carry;
use crate::store::{StoreOptions, events};

/// The function library. The number is part of its name so that an older node which connects during a rolling
/// upgrade doesn't replace what newer ones call: change it whenever arguments, replies or rows change.
pub(super) const LIBRARY: &str = "atoll_4";
const COMMIT: &str = "atoll_4_commit";
const TAIL: &str = "atoll_4_tail";
const PAGE: &str = "atoll_4_page";
/// The places among KEYS that every commit has: partition, log, the server's time in office, ledger.
const KEYS_ALWAYS: usize = 4;
pub(super) const HEX_BYTES: usize = 16;

/// The library's code, with the contract's limits in it.
pub(super) fn library_code() -> String {
    include_str!("atoll.lua")
        .replace("@LIBRARY@", LIBRARY)
        .replace("@RESEND_MAX@", &RESEND_COMMITS_MAX.to_string())
        .replace("@LOG_MAX@", &LOG_COMMITS_MAX.to_string())
        .replace("@ROWS_MAX@", &PARTITION_ROWS_MAX.to_string())
        .replace("@ACTS_MAX@", &ACTS_PER_ACTOR_MAX.to_string())
        .replace("@ACTORS_MAX@", &ACTORS_PER_PARTITION_MAX.to_string())
        .replace("@FORGOTTEN_TOGETHER_MAX@", &ACTORS_FORGOTTEN_TOGETHER_MAX.to_string())
        .replace("@INDEX_MAX@", &INDEX_ENTRIES_PER_SHARD_MAX.to_string())
        .replace("@LEDGER_MAX@", &LEDGER_ENTRIES_PER_SHARD_MAX.to_string())
}

pub(super) fn partition_key(partition: &PartitionKey) -> Vec<u8> {
    [format!("{{s{}}}:", partition.shard().0).as_bytes(), partition.as_bytes()].concat()
}

/// What lies beside a partition. Keys of partitions begin with `w` and a digit, so this is never one of them.
pub(super) fn beside_key(what: &str, partition: &PartitionKey) -> Vec<u8> {
    [format!("{{s{}}}:{what}:", partition.shard().0).as_bytes(), partition.as_bytes()].concat()
}

fn log_key(partition: &PartitionKey) -> Vec<u8> {
    beside_key("log", partition)
}

/// The ledger of a shard.
pub(super) fn ledger_key(shard: Shard) -> String {
    format!("{{s{}}}:ledger", shard.0)
}

/// The keys and the values of an index in a shard.
pub(super) fn index_keys(shard: Shard, index: &Name) -> [String; 2] {
    [format!("{{s{}}}:index:{index}", shard.0), format!("{{s{}}}:entry:{index}", shard.0)]
}

/// The name that puts all keys of a shard into one slot of a Redis cluster.
pub(super) fn hash_tag(shard: Shard) -> String {
    format!("s{}", shard.0)
}

pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

pub(super) fn unhex(digits: &[u8]) -> Option<u64> {
    let lower = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != HEX_BYTES || !digits.iter().all(lower) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The command that reads a partition's hash.
pub(super) fn load_command(partition: &PartitionKey) -> Cmd {
    let mut command = redis::cmd("HGETALL");
    command.arg(partition_key(partition));
    command
}

/// The command that asks what came after a token.
pub(super) fn tail_command(partition: &PartitionKey, after: Token) -> Cmd {
    let mut command = redis::cmd("FCALL");
    command.arg(TAIL).arg(2).arg(partition_key(partition)).arg(log_key(partition)).arg(hex(after.0));
    command
}

/// The command that does a commit. `confirm` says that the server will be asked whether it is safe.
pub(super) fn commit_command(commit: &Commit, options: StoreOptions, confirm: bool) -> Cmd {
    let touched = commit.writes.len() + commit.epochs.len() + commit.leases.len();
    let shard = commit.partition.shard();
    let (indexes, first_index) = indexes_of(commit);
    let mut command = redis::cmd("FCALL");
    command.arg(COMMIT).arg(first_index - 1 + 2 * indexes.len());
    command.arg(partition_key(&commit.partition)).arg(log_key(&commit.partition));
    command.arg(format!("{{s{}}}:served", shard.0)).arg(ledger_key(shard));
    if commit.act.is_some() {
        command.arg(beside_key("actors", &commit.partition)).arg(beside_key("seen", &commit.partition));
    }
    for index in &indexes {
        let [keys, values] = index_keys(shard, index);
        command.arg(keys).arg(values);
    }
    command.arg(hex(commit.token.0)).arg(commit.not_after_ms.map_or(String::new(), hex));
    command.arg(options.lease_guard_ms).arg(&events::pack(&commit.events)[..]).arg(touched);
    command.arg(if confirm { "1" } else { "" }).arg(commit.index.len());
    match &commit.act {
        None => command.arg("").arg(""),
        Some(act) => {
            let numbers = [act.actor, u64::from(act.session_epoch), act.id, act.confirmed];
            command.arg(numbers.map(hex).concat()).arg(&act.result[..])
        }
    };
    command.arg(options.actor_idle_ms);
    match &commit.ledger {
        None => command.arg(""),
        Some(entry) => command.arg(carry::pack_ledger_entry(&commit.partition, entry)),
    };
    let place = |index: &Name| {
        let at = indexes.partition_point(|known| *known < index);
        (first_index + 2 * at).to_string()
    };
    for step in &commit.index {
        match step {
            IndexStep::Put { index, key, value } => {
                command.arg("ip").arg(place(index)).arg(&key[..]).arg(&value[..]);
            }
            IndexStep::Remove { index, key } => {
                command.arg("id").arg(place(index)).arg(&key[..]).arg("");
            }
        }
    }
    for precondition in &commit.preconditions {
        match precondition {
            Precondition::Absent { doc } => step(&mut command, "pa", doc, "", ""),
            Precondition::Cas { doc, cas } => step(&mut command, "pc", doc, &hex(cas.0), ""),
        }
    }
    for epoch in &commit.epochs {
        match epoch {
            EpochStep::Require { name, value } => step(&mut command, "eq", name, &hex(*value), ""),
            EpochStep::Raise { name, to } => step(&mut command, "er", name, &hex(*to), ""),
        }
    }
    for lease in &commit.leases {
        lease_step(&mut command, lease);
    }
    for write in &commit.writes {
        match &write.value {
            None => step(&mut command, "wd", &write.doc, "", ""),
            Some(value) => {
                let row = [hex(commit.token.0).as_bytes(), value].concat();
                command.arg("ws").arg(write.doc.as_str()).arg(row).arg("");
            }
        }
    }
    command
}

fn step(command: &mut Cmd, code: &str, name: &Name, value: &str, more: &str) {
    command.arg(code).arg(name.as_str()).arg(value).arg(more);
}

fn lease_step(command: &mut Cmd, lease: &LeaseStep) {
    match lease {
        LeaseStep::Take { name, holder, ttl_ms } => {
            step(command, "lt", name, &hex(*holder), &ttl_ms.to_string());
        }
        LeaseStep::Renew { name, holder, ttl_ms } => {
            step(command, "ln", name, &hex(*holder), &ttl_ms.to_string());
        }
        LeaseStep::Release { name, holder } => step(command, "lr", name, &hex(*holder), ""),
        LeaseStep::RequireHeld { name, holder } => step(command, "lh", name, &hex(*holder), ""),
        LeaseStep::RequireExpired { name } => step(command, "lx", name, "", ""),
    }
}

/// Reads the reply to a pipeline of [`load_command`] and `TIME`.
pub(super) fn read_load(reply: Vec<Value>) -> Option<PartitionView> {
    let [hash, time]: [Value; 2] = reply.try_into().ok()?;
    let store_ms = read_time(time)?;
    let (recent, view) = read_rows(hash)?;
    Some(PartitionView { token: recent.newest(), store_ms, ..view })
}

/// Reads the rows of a partition.
pub(super) fn read_rows(hash: Value) -> Option<(RecentTokens, PartitionView)> {
    let (mut recent, mut view) = (RecentTokens::default(), PartitionView::default());
    let mut fields = texts(hash)?.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        if &field[..] == b"t" {
            let tokens = value.chunks(HEX_BYTES).map(|token| unhex(token).map(Token));
            recent = RecentTokens::from_newest_first(tokens.collect::<Option<Vec<_>>>()?);
            continue;
        }
        let (kind, name) = field.split_at_checked(2)?;
        let name = || std::str::from_utf8(name).ok().map(Name::from);
        match kind {
            b"d:" => {
                let cas = Cas(unhex(value.get(..HEX_BYTES)?)?);
                view.docs.insert(name()?, Document { cas, value: value.slice(HEX_BYTES..) });
            }
            b"e:" => {
                view.epochs.insert(name()?, unhex(&value)?);
            }
            b"l:" => {
                let (holder, until) = value.split_at_checked(HEX_BYTES)?;
                view.leases.insert(name()?, Lease { holder: unhex(holder)?, until_ms: unhex(until)? });
            }
            _ => return None,
        }
    }
    Some((recent, view))
}

fn read_time(time: Value) -> Option<u64> {
    let [seconds, micros]: [Bytes; 2] = texts(time)?.try_into().ok()?;
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    Some(number(&seconds)? * 1000 + number(&micros)? / 1000)
}

/// Reads the reply to [`tail_command`].
pub(super) fn read_tail(reply: Value) -> Option<Tail> {
    let mut parts = texts(reply)?.into_iter();
    match &parts.next()?[..] {
        b"reload" => Some(Tail::Reload),
        b"events" => parts.map(read_logged).collect::<Option<Vec<_>>>().map(Tail::Events),
        _ => None,
    }
}

fn read_logged(entry: Bytes) -> Option<LoggedCommit> {
    Some(LoggedCommit {
        previous: Token(unhex(entry.get(..HEX_BYTES)?)?),
        token: Token(unhex(entry.get(HEX_BYTES..2 * HEX_BYTES)?)?),
        events: events::unpack(entry.slice(2 * HEX_BYTES..))?,
    })
}

/// The command that counts the entries of an index in a shard.
pub(super) fn index_entries_command(shard: Shard, index: &Name) -> Cmd {
    let [keys, _] = index_keys(shard, index);
    let mut command = redis::cmd("ZCARD");
    command.arg(keys);
    command
}

/// The command that reads up to `entries_max` entries of an index in a shard, also on a replica.
pub(super) fn index_page_command(
    shard: Shard,
    index: &Name,
    after: Option<&Bytes>,
    entries_max: usize,
) -> Cmd {
    let [keys, values] = index_keys(shard, index);
    let mut command = redis::cmd("FCALL_RO");
    command.arg(PAGE).arg(2).arg(keys).arg(values);
    command.arg(after.map_or(&[][..], |after| &after[..])).arg(entries_max);
    command
}

/// Reads the reply to [`index_page_command`].
pub(super) fn read_index_page(shard: Shard, reply: Value) -> Option<Vec<IndexEntry>> {
    let mut parts = texts(reply)?.into_iter();
    let mut entries = Vec::with_capacity(parts.len() / 2);
    while let Some(key) = parts.next() {
        entries.push(IndexEntry { shard, key, value: parts.next()? });
    }
    Some(entries)
}

/// Reads the reply to [`commit_command`] for `commit`.
pub(super) fn read_commit(commit: &Commit, reply: Value) -> Option<CommitOutcome> {
    let token = commit.token;
    let parts = texts(reply)?;
    let name = || Some(Name::from(std::str::from_utf8(parts.get(1)?).ok()?));
    let number = |at: usize| unhex(parts.get(at)?);
    let refusal = match &parts.first()?[..] {
        b"done" => {
            let (previous, store_ms) = (Token(number(1)?), number(2)?);
            return Some(CommitOutcome::Done { token, previous, store_ms });
        }
        b"conflict" => {
            let current = match parts.get(2)? {
                absent if absent.is_empty() => None,
                _ => Some(Cas(number(2)?)),
            };
            Refusal::Conflict { doc: name()?, current }
        }
        b"epoch" => Refusal::EpochMismatch { name: name()?, current: number(2)? },
        b"held" => Refusal::LeaseHeld { name: name()?, holder: number(2)?, until_ms: number(3)? },
        b"lost" => Refusal::LeaseLost { name: name()? },
        b"unexpired" => Refusal::NotExpired { name: name()?, until_ms: number(2)? },
        b"young" => Refusal::StoreYoung,
        b"late" => Refusal::TooLate { store_ms: number(1)? },
        b"full" => Refusal::PartitionFull,
        b"repeated" => Refusal::Repeated { token: Token(number(1)?), result: parts.get(2)?.clone() },
        b"forgotten" => Refusal::ActForgotten { forgotten: number(1)? },
        b"fenced" => Refusal::ActFenced { newest: u32::try_from(number(1)?).ok()? },
        b"acts" => Refusal::ActsFull,
        b"ledger" => Refusal::LedgerFull,
        b"index" => Refusal::IndexFull { index: index_at(commit, parts.get(1)?)? },
        _ => return None,
    };
    Some(CommitOutcome::Refused(refusal))
}

/// The indexes that a commit changes, in order, and the place of the first one among the keys of its command.
fn indexes_of(commit: &Commit) -> (Vec<&Name>, usize) {
    let mut indexes: Vec<&Name> = commit.index.iter().map(IndexStep::index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    let act_keys = if commit.act.is_some() { 2 } else { 0 };
    (indexes, 1 + KEYS_ALWAYS + act_keys)
}

fn index_at(commit: &Commit, place: &[u8]) -> Option<Name> {
    let place: usize = std::str::from_utf8(place).ok()?.parse().ok()?;
    let (indexes, first) = indexes_of(commit);
    indexes.get(place.checked_sub(first)? / 2).map(|index| (*index).clone())
}

/// An array of strings, also when it came as a map.
pub(super) fn texts(value: Value) -> Option<Vec<Bytes>> {
    let text = |value| match value {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        Value::SimpleString(text) => Some(Bytes::from(text)),
        _ => None,
    };
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).map(text).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_sixteen_lower_case_digits_and_nothing_else() {
        for number in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(unhex(hex(number).as_bytes()), Some(number));
        }
        for wrong in
            ["", "1", "+00000000000000f", "000000000000000G", "00000000000000000", "FFFFFFFFFFFFFFFF"]
        {
            assert_eq!(unhex(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn names_of_functions_carry_the_name_of_the_library() {
        assert!([COMMIT, TAIL, PAGE].iter().all(|name| name.starts_with(LIBRARY)));
        assert!(!library_code().contains('@'), "a placeholder is left");
    }

    #[test]
    fn replies_that_cannot_be_right_are_not_read() {
        let text = |text: &str| Value::BulkString(text.into());
        let commit = Commit::new(PartitionKey::cluster(chunk_sync::ids::WorldId(1), "keys"), Token(1));
        for reply in [
            Value::Array(vec![text("index"), text("4")]),
            Value::Array(vec![text("fenced"), text("0000000100000000")]),
            Value::Array(vec![text("repeated"), text("0000000000000001")]),
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![text("done")]),
            Value::Array(vec![text("done"), text("12"), text("0000000000000001")]),
            Value::Array(vec![text("maybe")]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![text("conflict"), text("doc"), text("xyz")]),
        ] {
            assert_eq!(read_commit(&commit, reply.clone()), None, "{reply:?}");
        }
        for reply in [Value::Okay, Value::Array(vec![text("events"), text("short")])] {
            assert_eq!(read_tail(reply.clone()), None, "{reply:?}");
        }
        let time = Value::Array(vec![text("1"), text("2000")]);
        assert_eq!(read_load(vec![Value::Array(vec![]), time.clone()]).map(|view| view.store_ms), Some(1002));
        for (field, value) in
            [("d:x", "short"), ("e:x", "1"), ("l:x", "0000000000000001"), ("?", ""), ("x:y", "")]
        {
            let hash = Value::Array(vec![text(field), text(value)]);
            assert_eq!(read_load(vec![hash, time.clone()]), None, "{field}");
        }
    }
}
