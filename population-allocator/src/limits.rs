//! Named limits and starting numbers of the allocator, with the relations between them. What nodes and clients
//! must agree on as well stands in `chunk_sync::limits`.

use chunk_sync::limits::{
    CENSUS_EVERY_TICKS, LINK_REMAKE_MS, NODE_LEASE_MS, PEERS_MAX, RESUME_GRACE_MS, TICK_MS, TICKET_MS,
    TICKET_NODES_MAX,
};
use chunk_sync::store::DOCUMENT_MAX_BYTES;

/// Joins that wait for an answer at once; more are refused with `busy`.
pub const PENDING_JOINS_MAX: usize = 4_096;
/// Longest time until a join is answered, by a refusal if need be.
pub const JOIN_WAIT_MS: u64 = 5_000;
/// Names whose player is remembered, so that a rejoin costs no read.
pub const NAMES_REMEMBERED_MAX: usize = 100_000;
/// How often the question for a name, or for where a player is at home, is put to the store before those who wait for it
/// are refused.
pub const JOIN_TRIES_MAX: u32 = 3;
/// Islands for which one player may hold unused tickets at once; the next wish is refused with `busy`.
pub const HOLDS_PER_PLAYER_MAX: usize = 2;

/// How often the registry is read, and the allocator's own lease renewed.
pub const REGISTRY_EVERY_MS: u64 = 1_000;
/// Lease of an allocator.
pub const ALLOCATOR_LEASE_MS: u64 = NODE_LEASE_MS;
/// How long after it sent a renewal that was confirmed an allocator may give tickets.
pub const AUTHORITY_MS: u64 = 3_000;
/// Rows of (incarnation, island) that the record for a successor keeps, the most populated.
pub const PRESENT_ROWS_MAX: usize = 3_500;
/// How far ahead of the clock ticket numbers are reserved in the store, so that no start can repeat one.
pub const TICKETS_AHEAD_MS: u64 = 10_000;
/// Bits of a ticket number below its millisecond.
pub const TICKET_NUMBER_SHIFT: u32 = 10;
/// A question to the store that was not answered in this time counts as lost.
pub const STORE_WAIT_MS: u64 = 10_000;
/// Pause before a question that failed is put to the store again.
pub const STORE_RETRY_MS: u64 = 500;

/// A node that was silent for this long gets nobody sent, and its sessions are in grace.
pub const NODE_SILENT_MS: u64 = 3_000;
/// After a start over an existing plan: longest wait for the first census of every node, before players are
/// seated among people whom nobody counted yet.
pub const FIRST_CENSUS_MS: u64 = 3_000;
/// How long the seat of an expired ticket stays counted, for a node that took it in its last moment: clocks that
/// differ, the commit that takes the session, the next census.
pub const HOLD_SLACK_MS: u64 = 5_000;
/// How often a hold that can't end yet is looked at again.
pub const HOLD_RECHECK_MS: u64 = 1_000;

/// Islands that exist at most, whatever the policy says. Every node serves every island for now, and takes up to three
/// streams of each of an island's chunks.
pub const ISLANDS_MAX: u32 = 20;
/// Islands that are suspended at most: a plan that lists them, and all others, fits a document.
pub const SUSPENDED_MAX: usize = 64;
/// Bytes of the folder that a plan notes of a suspended island.
pub const SUSPENDED_FOLDER_MAX_BYTES: usize = 512;
/// Largest cap of an island.
pub const CAP_MAX: u32 = 100_000;
/// Nodes that the plan lists for one island.
pub const PLAN_NODES_MAX: usize = 32;
/// Islands that one plan opens at most.
pub const OPENED_PER_PLAN_MAX: u32 = 64;
/// Islands that get ready at once, unless operators say otherwise.
pub const WARM_PARALLEL: u32 = 16;
/// How long it takes to open an island, as long as none was opened: a commit, a look of its nodes at the plan, another commit.
pub const OPEN_LEAD_MS: u64 = 2_000;
/// How often is decided at least, and over which time arrivals are counted together.
pub const PLAN_EVERY_MS: u64 = 1_000;
/// Seats up to design that are kept free beyond those that are expected to be taken.
pub const SPARE_SEATS: u64 = 1;
/// Openings that are remembered to say how long one takes.
pub const LEADS_REMEMBERED_MAX: usize = 64;
/// The longest time that an opening is taken to need, however long one took.
pub const LEAD_MS_MAX: u64 = 600_000;
/// A mean session, until sessions are measured: for twice as long no island is closed that was wanted.
pub const MEAN_SESSION_MS: u64 = 3_600_000;
/// Reasons that a plan keeps.
pub const REASONS_MAX: usize = 16;
/// Longest reason.
pub const REASON_BYTES_MAX: usize = 200;
/// `pack` fills a node up to this many sessions before it begins with the next.
pub const PACK_NODE_SESSIONS_MAX: u32 = 2_000;

/// How often the core is ticked.
pub const TICK_EVERY_MS: u64 = 100;
/// How often the state is published for pages and metrics.
pub const STATE_EVERY_MS: u64 = 500;
/// How long a client may take to close its connection once it was answered.
pub const LINGER_MS: u64 = 1_000;
/// How long a client may take to accept its answer.
pub const ANSWER_WRITE_MS: u64 = 2_000;
/// Answered clients that are still being told or may still be closing; beyond it one gets its answer only if its
/// socket takes it at once.
pub const REPLIES_MAX: usize = 4_096;
/// Store answers that wait for the core; more are dropped, and count as lost after `STORE_WAIT_MS`.
pub const STORE_INBOX_MAX: usize = 16_384;
/// How long a clean shutdown may take.
pub const SHUTDOWN_MS: u64 = 3_000;

/// Parties that wait at once; more are refused.
pub const QUEUE_MAX: usize = 2_000_000;
/// Players who are admitted together at most.
pub const PARTY_MAX: usize = 8;
/// Largest share of a lane.
pub const LANE_SHARE_MAX: u32 = 1_000;
/// How long a place is kept after the moment for which its holder was told to return.
pub const QUEUE_GRACE_MS: u64 = 120_000;
/// Places that one step ends at most; the others are kept until the next one.
pub const EXPIRED_PER_CALL_MAX: usize = 10_000;

/// Returns of waiters that allocators are ready for, all waiters together.
pub const RETURNS_PER_SECOND_MAX: u64 = 10_000;
/// Those of them that keep the many who have long to wait.
pub const RETURNS_STEADY_PER_SECOND: u64 = 3_000;
/// Those of them for whoever is near the head, and returns more often.
pub const RETURNS_NEAR_PER_SECOND: u64 = 6_200;
/// Shortest time after which a waiter is told to return.
pub const RETURN_MIN_MS: u64 = 2_000;
/// Longest time after which a waiter is told to return: the first time, twice as long as later.
pub const RETURN_MAX_MS: u64 = 2 * QUEUE_MAX as u64 * 1_000 / RETURNS_STEADY_PER_SECOND;
/// A return is at most this part of its time early (one eighth), so that those who came at once don't return at once.
pub const RETURN_EARLY_PART: u64 = 8;

/// Players who pass a party that doesn't fit before its lane is held for it the first time.
pub const PASSED_MAX: u32 = 32;
/// How often that number, and the hold with it, is doubled when a hold was in vain.
pub const PASSED_DOUBLINGS_MAX: u32 = 5;
/// A lane is held for as long as it took them to pass, but at least this long: a step.
pub const HOLD_MIN_MS: u64 = TICK_EVERY_MS;
/// Longest that a lane is held at once.
pub const HOLD_MAX_MS: u64 = 60_000;

/// Over this long admissions are counted before they become a rate.
pub const RATE_BIN_MS: u64 = 1_000;
/// Weight of the newest bin in a rate is one in so many.
pub const RATE_BINS: u32 = 30;
/// Bins without which there is no ETA.
pub const RATE_BINS_MIN: u32 = 5;
/// Longest ETA that is told; beyond it there is none.
pub const ETA_MAX_MS: u64 = 24 * 3_600 * 1_000;
/// Parties that one delta of the queue brings at most, and as many that are gone.
pub const CHANGES_PER_DELTA_MAX: usize = 400;

/// Most bytes of an island in a plan: keys and numbers, then five bytes a node.
const PLAN_ISLAND_BYTES_MAX: usize = 128 + 5 * PLAN_NODES_MAX;

const _: () = assert!(
    ISLANDS_MAX as usize * chunk_sync::limits::ISLAND_CHUNKS * 3 <= chunk_sync_io::mesh::limits::TOPICS_MAX
);
const _: () = {
    assert!(AUTHORITY_MS >= 2 * REGISTRY_EVERY_MS && AUTHORITY_MS < ALLOCATOR_LEASE_MS);
    assert!(FIRST_CENSUS_MS < JOIN_WAIT_MS);
    assert!(TICKETS_AHEAD_MS > 2 * AUTHORITY_MS);
    assert!(NODE_SILENT_MS >= 4 * CENSUS_EVERY_TICKS * TICK_MS && NODE_SILENT_MS >= LINK_REMAKE_MS);
    assert!(TICKET_MS + HOLD_SLACK_MS < RESUME_GRACE_MS, "a hold is over before a grace is");
    assert!(PLAN_NODES_MAX <= PEERS_MAX && PLAN_NODES_MAX >= TICKET_NODES_MAX);
    assert!(
        REASONS_MAX * (REASON_BYTES_MAX + 3) + 64 + ISLANDS_MAX as usize * PLAN_ISLAND_BYTES_MAX
            <= DOCUMENT_MAX_BYTES
    );
    assert!(PRESENT_ROWS_MAX * 16 + ISLANDS_MAX as usize * 11 + 64 <= DOCUMENT_MAX_BYTES);
    assert!(STORE_INBOX_MAX >= 2 * PENDING_JOINS_MAX);
};
const _: () = {
    assert!(PARTY_MAX <= u8::MAX as usize && QUEUE_MAX * PARTY_MAX <= u32::MAX as usize);
    assert!(PASSED_MAX as usize >= PARTY_MAX && HOLD_MIN_MS < HOLD_MAX_MS);
    // Returns come up to an eighth early, a sixteenth on average.
    assert!(
        (RETURNS_STEADY_PER_SECOND + RETURNS_NEAR_PER_SECOND) * 2 * RETURN_EARLY_PART
            <= RETURNS_PER_SECOND_MAX * (2 * RETURN_EARLY_PART - 1)
    );
    assert!(RETURN_MIN_MS < RETURN_MAX_MS && QUEUE_GRACE_MS > RETURN_MIN_MS);
    assert!(RATE_BINS_MIN < RATE_BINS);
    // Names of fields, numbers, lane and time of a party, its players; a run of those that are gone; turns and rates.
    assert!(CHANGES_PER_DELTA_MAX * (64 + 9 * PARTY_MAX + 20) + 2_048 <= DOCUMENT_MAX_BYTES);
};
