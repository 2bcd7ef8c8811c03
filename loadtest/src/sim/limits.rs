//! The simulation's named numbers, units in their names: how its network, store and players behave, how long what
//! it checks may take.

use chunk_sync::limits::{
    CLIENT_BACKLOG_BYTES_MAX, FRAME_AGE_TICKS_MAX, GHOST_HIDE_MS, JOIN_BYTES_PER_TICK_MAX, LINK_SUSPECT_MS,
    NODE_LEASE_MS, NODE_RENEW_MS, SERVER_FRAME_BYTES_MAX, TICK_MS,
};

use world_node::executor::limits::{COMPARE_EVERY_MS, FORGET_AFTER_MS};
use world_node::limits::SWEEP_EVERY_MS;

/// Most nodes of one simulated cluster.
pub const NODES_MAX: usize = 16;
/// Most bots of one simulated cluster.
pub const BOTS_MAX: usize = 500;
/// Longest virtual run.
pub const SECONDS_MAX: u64 = 3_600;
/// Shortest virtual run: faults need room before the last one is over.
pub const SECONDS_MIN: u64 = 10;

/// How long after the last fault everybody must agree again.
pub const SETTLE_MS: u64 = 10_000;
/// The same where players act: a transfer whose node died is found by two sweeps, carried on, and forgotten.
pub const SETTLE_ACTS_MS: u64 = 15_000;
/// How long everybody is watched after that.
pub const WATCH_MS: u64 = 4_000;
/// How long one disagreement may last while everybody is watched (a creature without owner waits up to 2 s).
pub const DISAGREE_MS_MAX: u64 = 3_000;
/// How long bots go on walking after the last fault.
pub const WALK_ON_MS: u64 = 4_000;
/// How long a bot waits between two acts, least and most.
pub const ACT_EVERY_MS: (u64, u64) = (300, 3_000);
/// Virtual time between two looks at who agrees with whom.
pub const LOOK_EVERY_MS: u64 = 500;
/// How long an entity may be listed twice in one epoch.
pub const DOUBLE_MS_MAX: u64 = 1_000;
/// How long an entity may be listed in two epochs: until a dead source's ghosts are hidden, and the way to a client.
pub const SUPERSEDED_MS_MAX: u64 = GHOST_HIDE_MS + 1_500;
/// How long a source may be silent until its ghosts are hidden for sure: the limit, and two ticks to notice.
pub const HIDDEN_MS_MAX: u64 = GHOST_HIDE_MS + 2 * TICK_MS;

/// Bytes of one client connection that are under way at once.
pub const WINDOW_BYTES: usize = 16 * 1024;
/// What may wait for one client at a node.
pub const BACKLOG_BYTES_MAX: usize = CLIENT_BACKLOG_BYTES_MAX + JOIN_BYTES_PER_TICK_MAX;
/// How long a closed connection may take to close its side.
pub const LINGER_MS: u64 = 2_000;
/// How long a fenced or stopped node takes to end, at most.
pub const STOP_MS_MAX: u64 = 3_000;
/// Bytes that wait for a node from one other member; the newest beyond it are dropped.
pub const INBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages that a cut link holds back until it is mended; the newest beyond it are dropped.
pub const HELD_MESSAGES_MAX: usize = 2_000;
/// How often a member that can't be reached is dialled again.
pub const REDIAL_MS: u64 = 250;

/// How long a question to the store may take before its outcome counts as unknown.
pub const STORE_CALL_MS: u64 = 2_000;
/// Longest that the store is away.
pub const STORE_AWAY_MS_MAX: u64 = 10_000;
/// Longest that the store's replica hears nothing before it takes over.
pub const STORE_BEHIND_MS_MAX: u64 = 5_000;
/// How soon after a change of master no node may believe any more what was lost with the old one.
pub const BELIEVED_MS_MAX: u64 = 1_500;
/// How long after its beginning a run has players who act.
pub const ACTS_BY_MS: u64 = 6_000;
/// Questions of one process that the store has yet to answer.
pub const STORE_IN_FLIGHT_MAX: usize = 4_096;
/// How far the clocks of two nodes are apart in most runs.
pub const SKEW_MS_MAX: u64 = 40;
/// How far they are apart in the others.
pub const WIDE_SKEW_MS_MAX: u64 = 900;

/// A pause that is longer may cost a node its lease.
pub const PAUSE_SURE_MS: u64 = NODE_LEASE_MS - NODE_RENEW_MS - 2 * STORE_CALL_MS;
/// Longest pause of a node.
pub const PAUSE_MS_MAX: u64 = 28_000;
/// How long before the last fault a node may go for good: its lease must run out, and its claims be taken over. Where nobody
/// hears it silent for a whole lease, that begins a lease later.
pub const FOR_GOOD_MS: u64 = 40_000;

/// Lines that one run's story keeps.
pub const STORY_LINES_MAX: usize = 20_000;
/// Lines of the story that are printed when a property broke.
pub const STORY_LINES_SHOWN: usize = 150;
/// Disagreements that are named.
pub const NAMED_MAX: usize = 8;

const _: () = {
    assert!(WALK_ON_MS + 2_000 < SETTLE_MS && SETTLE_MS < SETTLE_ACTS_MS);
    assert!(SETTLE_ACTS_MS > LINK_SUSPECT_MS + 2 * SWEEP_EVERY_MS + FORGET_AFTER_MS + 1_000);
    assert!(LOOK_EVERY_MS * 4 < DISAGREE_MS_MAX && DISAGREE_MS_MAX < WATCH_MS);
    assert!(BACKLOG_BYTES_MAX > 2 * SERVER_FRAME_BYTES_MAX);
    assert!(STORE_AWAY_MS_MAX < PAUSE_SURE_MS);
    assert!(FOR_GOOD_MS >= 2 * NODE_LEASE_MS, "it is declared dead however often the others start again");
    assert!(STORE_BEHIND_MS_MAX < STORE_AWAY_MS_MAX && ACTS_BY_MS + 1_000 < SECONDS_MIN * 1_000);
    assert!(BELIEVED_MS_MAX < COMPARE_EVERY_MS, "a comparison would find it all the same");
    assert!(
        WIDE_SKEW_MS_MAX + 500 < FRAME_AGE_TICKS_MAX * TICK_MS,
        "frames of the slowest clock are not too old"
    );
    assert!(STORY_LINES_SHOWN < STORY_LINES_MAX);
};
