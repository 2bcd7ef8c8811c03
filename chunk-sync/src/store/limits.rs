//! Named limits of the store contract, with the relations between them; nothing else of the store invents one.

/// How many shards there are; fixed for ever, since a partition's place is its hash modulo this.
pub const SHARD_COUNT: u16 = 4096;

/// Longest partition key.
pub const KEY_MAX_BYTES: usize = 128;
/// Longest name of a document, an epoch or a lease.
pub const NAME_MAX_BYTES: usize = 64;
/// Largest value of one document.
pub const DOCUMENT_MAX_BYTES: usize = 64 * 1024;
/// Most documents that one commit may write.
pub const WRITES_PER_COMMIT_MAX: usize = 64;
/// Most document preconditions of one commit.
pub const PRECONDITIONS_PER_COMMIT_MAX: usize = 128;
/// Most epoch steps of one commit.
pub const EPOCH_STEPS_PER_COMMIT_MAX: usize = 16;
/// Most lease steps of one commit.
pub const LEASE_STEPS_PER_COMMIT_MAX: usize = 16;
/// Most events that one commit announces.
pub const EVENTS_PER_COMMIT_MAX: usize = 64;
/// Most event bytes of one commit, all events together.
pub const EVENTS_PER_COMMIT_MAX_BYTES: usize = 64 * 1024;
/// Most document bytes of one commit, all written values together.
pub const WRITES_PER_COMMIT_MAX_BYTES: usize = 1024 * 1024;
/// Most documents, epochs and leases of one partition together.
pub const PARTITION_ROWS_MAX: u32 = 32_768;

/// Largest result that a partition remembers of an act.
pub const ACT_RESULT_MAX_BYTES: usize = 1024;
/// Most acts that a partition remembers of one actor; one more is refused until the actor confirms some.
pub const ACTS_PER_ACTOR_MAX: usize = 16;
/// Most actors of which a partition remembers acts.
pub const ACTORS_PER_PARTITION_MAX: u32 = 4096;
/// How long after an actor's last act, by the store's clock, a full partition may forget it altogether.
pub const ACTOR_IDLE_MS: u64 = 30 * 60 * 1000;
/// How many idle actors a full partition forgets at once, the longest idle first.
pub const ACTORS_FORGOTTEN_TOGETHER_MAX: usize = 64;

/// Most index steps of one commit.
pub const INDEX_STEPS_PER_COMMIT_MAX: usize = 16;
/// Longest key of an index entry.
pub const INDEX_KEY_MAX_BYTES: usize = 128;
/// Largest value of an index entry.
pub const INDEX_VALUE_MAX_BYTES: usize = 1024;
/// Most entries of one index in one shard.
pub const INDEX_ENTRIES_PER_SHARD_MAX: u32 = 65_536;
/// Most entries of one page of an index.
pub const INDEX_PAGE_ENTRIES_MAX: usize = 1000;

/// Largest entry of the ledger.
pub const LEDGER_ENTRY_MAX_BYTES: usize = 4096;
/// Most entries of a shard's ledger that nobody has drained; commits that carry one more are refused.
pub const LEDGER_ENTRIES_PER_SHARD_MAX: u32 = 65_536;
/// Most entries of one page of the ledger.
pub const LEDGER_PAGE_ENTRIES_MAX: usize = 1000;

/// Most partitions of one page of whole partitions.
pub const PARTITIONS_PAGE_MAX: usize = 1000;
/// A page of whole partitions ends with the one that brings it to this many bytes.
pub const PARTITIONS_PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Most names of indexes that a store lists.
pub const INDEX_NAMES_MAX: usize = 1024;

/// How many commits with events a partition's log keeps; who is further behind reloads.
pub const LOG_COMMITS_MAX: usize = 64;
/// How many of a partition's newest commits are recognised when they are sent again.
pub const RESEND_COMMITS_MAX: usize = 8;

/// How long a store must have served since its start before anybody's expired lease may be taken over: a holder
/// that could not renew while the store was away gets one full lease to come back.
pub const LEASE_GUARD_MS: u64 = crate::limits::NODE_LEASE_MS;
/// Longest lease that may be asked for.
pub const LEASE_TTL_MAX_MS: u64 = 10 * 60 * 1000;

const _: () = assert!(WRITES_PER_COMMIT_MAX_BYTES >= DOCUMENT_MAX_BYTES);
const _: () = assert!(NAME_MAX_BYTES <= KEY_MAX_BYTES && KEY_MAX_BYTES <= u8::MAX as usize);
const _: () = assert!(LEASE_GUARD_MS <= LEASE_TTL_MAX_MS);
const _: () = assert!(PARTITION_ROWS_MAX as usize > WRITES_PER_COMMIT_MAX * 2);
const _: () = assert!(RESEND_COMMITS_MAX < LOG_COMMITS_MAX);
const _: () = assert!(ACTOR_IDLE_MS >= 4 * crate::limits::RESUME_GRACE_MS, "who resumes finds its answers");
const _: () = assert!(ACTORS_FORGOTTEN_TOGETHER_MAX < ACTORS_PER_PARTITION_MAX as usize);
const _: () = assert!(INDEX_KEY_MAX_BYTES >= KEY_MAX_BYTES, "a partition's key is a key of an index");
