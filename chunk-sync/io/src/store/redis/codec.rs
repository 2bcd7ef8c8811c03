//! What goes to Redis and comes back, as typed values: the one door between its bytes and the contract.
//!
//! Pure. Numbers of 64 bits travel as 16 lower-case hex digits; a reply that can't be right is `None`.

use bytes::Bytes;
use chunk_sync::store::{
    Cas, Commit, CommitOutcome, Document, EpochStep, LOG_COMMITS_MAX, Lease, LeaseStep, LoggedCommit, Name,
    PARTITION_ROWS_MAX, PartitionKey, PartitionView, Precondition, RESEND_COMMITS_MAX, Refusal, Tail, Token,
};
use redis::{Cmd, Value};

use crate::store::events;

/// The function library. The number is part of its name so that an older node which connects during a rolling
/// upgrade doesn't replace what newer ones call: change it whenever arguments, replies or rows change.
pub(super) const LIBRARY: &str = "atoll_1";
const COMMIT: &str = "atoll_1_commit";
const TAIL: &str = "atoll_1_tail";
const HEX_BYTES: usize = 16;

/// The library's code, with the contract's limits in it.
pub(super) fn library_code() -> String {
    include_str!("atoll.lua")
        .replace("@LIBRARY@", LIBRARY)
        .replace("@RESEND_MAX@", &RESEND_COMMITS_MAX.to_string())
        .replace("@LOG_MAX@", &LOG_COMMITS_MAX.to_string())
        .replace("@ROWS_MAX@", &PARTITION_ROWS_MAX.to_string())
}

fn partition_key(partition: &PartitionKey) -> Vec<u8> {
    [format!("{{s{}}}:", partition.shard().0).as_bytes(), partition.as_bytes()].concat()
}

/// Keys of partitions begin with `w` and a digit, so this is never one of them.
fn log_key(partition: &PartitionKey) -> Vec<u8> {
    [format!("{{s{}}}:log:", partition.shard().0).as_bytes(), partition.as_bytes()].concat()
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn unhex(digits: &[u8]) -> Option<u64> {
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

/// The command that does a commit.
pub(super) fn commit_command(commit: &Commit, lease_guard_ms: u64) -> Cmd {
    let touched = commit.writes.len() + commit.epochs.len() + commit.leases.len();
    let mut command = redis::cmd("FCALL");
    command.arg(COMMIT).arg(2).arg(partition_key(&commit.partition)).arg(log_key(&commit.partition));
    command.arg(hex(commit.token.0)).arg(commit.not_after_ms.map_or(String::new(), hex));
    command.arg(lease_guard_ms).arg(&events::pack(&commit.events)[..]).arg(touched);
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
    let mut view = PartitionView { store_ms: read_time(time)?, ..PartitionView::default() };
    let mut fields = texts(hash)?.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        if &field[..] == b"t" {
            view.token = Token(unhex(value.get(..HEX_BYTES)?)?);
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
    Some(view)
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

/// Reads the reply to [`commit_command`] for the commit with `token`.
pub(super) fn read_commit(token: Token, reply: Value) -> Option<CommitOutcome> {
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
        _ => return None,
    };
    Some(CommitOutcome::Refused(refusal))
}

/// An array of strings, also when it came as a map.
fn texts(value: Value) -> Option<Vec<Bytes>> {
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
        assert!(COMMIT.starts_with(LIBRARY) && TAIL.starts_with(LIBRARY));
        assert!(!library_code().contains('@'), "a placeholder is left");
    }

    #[test]
    fn replies_that_cannot_be_right_are_not_read() {
        let text = |text: &str| Value::BulkString(text.into());
        for reply in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![text("done")]),
            Value::Array(vec![text("done"), text("12"), text("0000000000000001")]),
            Value::Array(vec![text("maybe")]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![text("conflict"), text("doc"), text("xyz")]),
        ] {
            assert_eq!(read_commit(Token(1), reply.clone()), None, "{reply:?}");
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
