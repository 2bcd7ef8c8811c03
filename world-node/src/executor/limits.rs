//! Named limits of the executor, with the relations between them.

use chunk_sync::limits::{ACT_RESENT_MS_MAX, ACT_WAIT_MS, ACTS_OPEN_MAX, TICK_MS};
use chunk_sync::store::{ACTOR_IDLE_MS, INDEX_STEPS_PER_COMMIT_MAX, LOG_COMMITS_MAX};

/// Tokens of a partition that are remembered, so that a commit which comes late is known.
pub const RECENT_TOKENS: usize = 2 * LOG_COMMITS_MAX;
/// Commits of a partition that wait for the one before them.
pub const AHEAD_MAX: usize = 32;
/// How long a missing commit is waited for before the store is asked.
pub const GAP_WAIT_MS: u64 = 2 * TICK_MS;
/// How often a partition that is followed, or that something waits for, is compared with the store.
pub const COMPARE_EVERY_MS: u64 = 4_500;
/// Within this time a commit that nobody told of is known: the comparison, its turn among the others, the answer.
pub const COMPARED_WITHIN_MS: u64 = 5_000;
/// Ticks in which every partition is looked at once: whether it is due to be compared, or can be let go.
pub const COMPARE_ROUND_TICKS: usize = 5;
/// Partitions that are looked at per tick at least.
pub const COMPARES_PER_TICK_MIN: usize = 32;
/// How long a partition that nobody follows is kept after it was last used.
pub const LOOSE_KEPT_MS: u64 = 10_000;
/// How soon something that the store didn't answer is asked again.
pub const RETRY_MS: u64 = 500;
/// How often an act or a step of a transfer is decided anew since something changed meanwhile.
pub const TRIES_MAX: u32 = 12;
/// How long an act waits before its player hears that it does.
pub const SAY_WAITING_MS: u64 = 2_000;
/// How long an act that was resent is gone on with before it is over: its home may forget it some day, and then it could
/// be done a second time.
pub const ACT_AGAIN_MS_MAX: u64 = ACT_RESENT_MS_MAX;
/// How long decisions are gathered before they are forgotten together.
pub const FORGET_AFTER_MS: u64 = 2_000;
/// Decisions that one commit forgets; each takes an index step with it.
pub const FORGETS_TOGETHER_MAX: usize = INDEX_STEPS_PER_COMMIT_MAX;
/// Decisions that wait to be forgotten, over all partitions; the sweep finds what is beyond.
pub const FORGETS_WAITING_MAX: usize = 65_536;
/// Transfers that a node brings to their ends at once; the sweep finds what is beyond.
pub const CARRIES_MAX: usize = 16_384;
/// Acts of one node that are under way.
pub const ACTS_OF_NODE_MAX: usize = 16_384;

const _: () = assert!(GAP_WAIT_MS < RETRY_MS && RETRY_MS < SAY_WAITING_MS && SAY_WAITING_MS < ACT_WAIT_MS);
const _: () = assert!(ACT_RESENT_MS_MAX + ACT_AGAIN_MS_MAX + ACT_WAIT_MS < ACTOR_IDLE_MS);
const _: () = assert!(COMPARE_EVERY_MS + COMPARE_ROUND_TICKS as u64 * TICK_MS <= COMPARED_WITHIN_MS);
const _: () = assert!(ACTS_OF_NODE_MAX >= ACTS_OPEN_MAX * 1_000);
const _: () = assert!(AHEAD_MAX < LOG_COMMITS_MAX);
