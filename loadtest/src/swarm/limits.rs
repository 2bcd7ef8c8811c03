//! The swarm's named limits, units in their names.

use chunk_sync::limits::{
    ACT_WAIT_MS, ACTS_OPEN_MAX, CLIENT_FRAMES_PER_TICK_MAX, ISLAND_EDGE_CHUNKS, QUANTA_PER_M, TICK_MS,
    TILES_PER_CHUNK_EDGE, WALK_SAVED_MS_MAX,
};
use world_node::rules::items::ItemKind;
use world_node::rules::limits::{BAG_SLOTS, HAND_OVER_QUANTA, REACH_QUANTA};

use crate::limits::{CLIENT_SLOT_US, MOVE_PERIOD_MS};

/// Most bots of one swarm: each takes one ephemeral port of its address, and the kernel's default range has 28,232.
pub const SWARM_BOTS_MAX: u32 = 25_000;
/// Most bots that may be started a second.
pub const JOIN_RATE_MAX: u32 = 20_000;
/// Bots started a second, unless told otherwise: a little under what one node admits.
pub const JOIN_RATE: u32 = 400;
/// Bots that decode everything, unless told otherwise.
pub const OBSERVERS: u32 = 32;
/// How long the last bots may take to get in after all were started.
pub const JOIN_MS_MAX: u64 = 60_000;
/// Seconds of the same load between the last entry and the measured window, unless told otherwise.
pub const WARM_UP_S: u32 = 2;
/// A swarm of which nobody got in gives up once the same protocol error ended this many attempts per bot.
pub const SAME_ERRORS_PER_BOT_MAX: u64 = 3;
/// A swarm of which nobody got in gives up when it has met nothing but protocol errors for this long.
pub const ONLY_ERRORS_MS_MAX: u64 = 5_000;
/// How long the first look at the target may take.
pub const TARGET_CONNECT_MS_MAX: u64 = 3_000;
/// How long bots that said goodbye wait for the server to close.
pub const LEAVE_MS_MAX: u64 = 1_000;
/// Different server addresses that a swarm resolves.
pub const ADDRESSES_MAX: usize = 1_024;

/// Steps that a bot remembers, to know when it meant to take the one that an observer sees.
pub const TRAIL_STEPS: usize = 64;
/// A bot whose turn comes later than this leaves the step out: it would only be put back for haste.
pub const STEP_LATE_MS_MAX: u64 = 900;
/// Bytes of one bot that wait for its socket; what is beyond is left out.
pub const SEND_BACKLOG_BYTES_MAX: usize = 4 * 1024;
/// A slot that ends this late means that the swarm itself stood still, not the servers.
pub const STALL_MS: u64 = 1_000;
/// Receive buffer of a socket that is never read, so that the server feels it soon.
pub const UNREAD_BYTES: usize = 16 * 1024;
/// Longest latency that is told apart.
pub const LATENCY_US_MAX: u64 = 60_000_000;

/// Longest time to an act's answer that is told apart: an act outlasts lost sessions.
pub const ACT_ANSWER_US_MAX: u64 = 600_000_000;

/// A swarm whose 99th percentile of lateness passes this was too slow itself: its run is invalid.
pub const LATE_P99_MS_MAX: f64 = 20.0;
/// Texts of protocol errors that are kept.
pub const ERROR_TEXTS_MAX: usize = 5;
/// Different reasons of refusals that are told apart.
pub const REASONS_MAX: usize = 64;
/// Lines of progress that wait for a slow terminal; more are left out.
pub const PROGRESS_LINES_MAX: usize = 8;

/// How long the servers' page may take to answer.
pub const STATE_MS_MAX: u64 = 5_000;
/// Longest answer of the servers' page.
pub const STATE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Settling bots that share a camp.
pub const CAMP_BOTS: usize = 5;
/// Rings of chunks around the landing in which camps are made, at most.
pub const CAMP_RING_MAX: i16 = 3;
/// How far from its camp a settler goes.
pub const CAMP_QUANTA: i32 = 20 * QUANTA_PER_M;
/// A settler that has not come to its camp by then settles where it is.
pub const CAMP_WALK_MS_MAX: u64 = 40_000;
/// A settler that has not come to where it wanted to act gives that up.
pub const WISH_WALK_MS_MAX: u64 = 8_000;
/// How near a settler goes to what it wants to touch; hands reach further.
pub const NEAR_QUANTA: i32 = 3 * QUANTA_PER_M;
/// How near another bot must be for a settler to think of giving it something; the rules allow more.
pub const NEIGHBOUR_QUANTA: i32 = 6 * QUANTA_PER_M;
/// Acts that a settler has open at once: as many as the protocol allows.
pub const SETTLER_OPEN_MAX: usize = ACTS_OPEN_MAX;
/// One act in so many is followed by another at once.
pub const HASTY_ONE_IN: u32 = 4;
/// Shortest and longest time between two acts of a settler.
pub const ACT_PAUSE_MS: (u64, u64) = (200, 1_500);
/// Stamina that a settler keeps.
pub const STAMINA_KEPT: u32 = 2;
/// What a settler carries at most of each kind, in the order of the table of items: bags never fill up.
pub const CARRIED_MAX: [u32; ItemKind::ALL.len()] = [40, 20, 40, 15, 10, 30, 2, 1];
/// Largest stack that a settler lays down.
pub const STACK_DROPPED_MAX: u32 = 6;
/// Structures that a settler has standing; then it demolishes first.
pub const BUILT_PER_BOT_MAX: usize = 16;
/// One settler in so many saves for a totem.
pub const CLAIMS_ONE_IN: usize = 8;
/// A resource of which nothing was asked for this long is believed to be as it is seen.
pub const RESOURCE_REST_MS: u64 = 20_000;
/// Closed trades that a settler remembers to look after.
pub const CLOSED_DEALS_KEPT: usize = 4;
/// Structures and stacks that the books of a swarm hold.
pub const BOOKED_THINGS_MAX: usize = 200_000;
/// Acts of unknown outcome that touched one bag and are kept; with more, nothing is said of that bag.
pub const UNKNOWN_ACTS_MAX: usize = 64;
/// Acts of unknown outcome up to which every choice of those that were done is tried.
pub const UNKNOWN_ACTS_TRIED_MAX: usize = 12;
/// Acts of unknown outcome that bots share up to which every choice is tried over all their bags.
pub const UNKNOWN_ACTS_SHARED_MAX: usize = 16;
/// Findings that are told in words.
pub const FINDING_TEXTS_MAX: usize = 10;
/// How long a swarm that stopped asking waits for answers.
pub const LAST_ANSWERS_MS_MAX: u64 = 20_000;
/// How long what bots see may take to agree with what they were told.
pub const AGREE_MS_MAX: u64 = 15_000;
/// How often it is looked whether it does.
pub const AGREE_EVERY_MS: u64 = 250;

/// Terrain tiles along the edge of an island.
pub const ISLAND_EDGE_TILES: usize = ISLAND_EDGE_CHUNKS as usize * TILES_PER_CHUNK_EDGE;

const _: () = {
    assert!(MOVE_PERIOD_MS == TICK_MS, "a bot steps once a tick");
    assert!(STEP_LATE_MS_MAX < WALK_SAVED_MS_MAX, "late steps are no offence yet");
    assert!(
        STEP_LATE_MS_MAX / MOVE_PERIOD_MS < CLIENT_FRAMES_PER_TICK_MAX as u64 / 2,
        "late steps are no flood"
    );
    assert!(TRAIL_STEPS as u64 * MOVE_PERIOD_MS > 2 * STEP_LATE_MS_MAX);
    assert!(NEAR_QUANTA < REACH_QUANTA && NEIGHBOUR_QUANTA < HAND_OVER_QUANTA);
    assert!(LAST_ANSWERS_MS_MAX > ACT_WAIT_MS && RESOURCE_REST_MS > ACT_WAIT_MS);
    let (mut kind, mut slots) = (0, 0);
    while kind < ItemKind::ALL.len() {
        slots += CARRIED_MAX[kind].div_ceil(ItemKind::ALL[kind].spec().stack) as u64;
        kind += 1;
    }
    assert!(slots * 2 <= BAG_SLOTS, "also with all that may be under way, a bag isn't full");
    assert!(CLIENT_SLOT_US < 2_000, "a latency is at most a slot too long");
};
