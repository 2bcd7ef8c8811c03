//! Every limit and starting number that the parts must agree on, with the relations between them checked at
//! compile time. Units stand in the names. Changing one needs a decision record.

/// Length of a tick, the step of the simulation.
pub const TICK_MS: u64 = 100;
/// Ticks per second.
pub const TICK_HZ: u64 = 1000 / TICK_MS;

/// Edge of a chunk.
pub const CHUNK_M: u32 = 32;
/// Edge of a cell, the unit of crowd detail and of occupancy.
pub const CELL_M: u32 = 8;
/// Edge of a terrain tile, the unit of "can I stand here".
pub const TILE_M: u32 = 2;
/// Tiles along the edge of a chunk.
pub const TILES_PER_CHUNK_EDGE: usize = (CHUNK_M / TILE_M) as usize;
/// Tiles in a chunk.
pub const TILES_PER_CHUNK: usize = TILES_PER_CHUNK_EDGE * TILES_PER_CHUNK_EDGE;
/// Chunks along the edge of an island.
pub const ISLAND_EDGE_CHUNKS: i16 = 16;
/// Chunks of an island.
pub const ISLAND_CHUNKS: usize = (ISLAND_EDGE_CHUNKS as usize) * (ISLAND_EDGE_CHUNKS as usize);
/// Bits of a position inside its chunk, per axis.
pub const POSITION_BITS: u32 = 12;
/// Position steps along the edge of a chunk.
pub const QUANTA_PER_CHUNK: i32 = 1 << POSITION_BITS;
/// Position steps in a metre (7.8 mm each).
pub const QUANTA_PER_M: i32 = QUANTA_PER_CHUNK / CHUNK_M as i32;

/// Walking speed.
pub const WALK_MM_PER_S: u32 = 5_000;
/// What a client may exceed the walking speed by before it is put back.
pub const WALK_TOLERANCE_PERCENT: u32 = 10;
/// Unused walking time that a client may save up, so that a late packet is no offence.
pub const WALK_SAVED_MS_MAX: u64 = 1_000;

/// Chunks around the centre that are seen at the near rate (1 = 3×3).
pub const NEAR_RING: i16 = 1;
/// Chunks around the centre that are seen at all (2 = 5×5).
pub const FAR_RING: i16 = 2;
/// How far outside the centre chunk a player must be before the view follows.
pub const TETHER_M: u32 = 8;

/// Longest frame a client may send, length prefix not counted.
pub const CLIENT_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Longest frame a server may send, length prefix not counted.
pub const SERVER_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Longest first frame (`Hello`) of a connection.
pub const HELLO_BYTES_MAX: usize = 4 * 1024;
/// How long a new connection may take to send its whole `Hello`.
pub const HELLO_WAIT_MS: u64 = 5_000;
/// Connections of one door that have not said `Hello` yet; when more come, the one silent for longest is closed.
pub const HELLO_PENDING_MAX: usize = 4_096;
/// A client that has nothing to say sends a `Ping` at least this often.
pub const KEEP_ALIVE_MS: u64 = 5_000;
/// A client that has sent nothing for this long is dropped with `silent`.
pub const SILENT_MS_MAX: u64 = 20_000;
/// What may wait for one client before it is skipped to keyframes.
pub const CLIENT_BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// A client that has taken no byte of a waiting backlog for this long is dropped with `too_slow`.
pub const CLIENT_STALLED_MS_MAX: u64 = 120_000;
/// Bytes taken from one client per tick; what is beyond waits in its socket.
pub const CLIENT_READ_BYTES_PER_TICK_MAX: usize = 16 * 1024;
/// Frames handled from one client per tick; a flood beyond it ends the connection with `flood`.
pub const CLIENT_FRAMES_PER_TICK_MAX: usize = 64;
/// Frames that a silent client may have saved up for each tick that it was not heard: a network or a node that stood
/// still for seconds makes no flood of a walk.
pub const CLIENT_FRAMES_SAVED_PER_TICK: usize = 4;
/// Bytes of what a client says of one action.
pub const ACTION_BYTES_MAX: usize = 2 * 1024;
/// Acts of one session that are under way; more are refused until one has ended.
pub const ACTS_OPEN_MAX: usize = 8;
/// Bytes of documents in one frame, but for a single document that is larger.
pub const DOCS_FRAME_BYTES_MAX: usize = 256 * 1024;
/// How long an act may wait for the store before it is refused, or its client hears that nobody knows yet.
pub const ACT_WAIT_MS: u64 = 10_000;
/// How long after it was first asked for a client may resend an act, by the world's clock; then it is over. A node goes on
/// with what was resent for as long again at most. So nobody asks for an act that its home may have forgotten.
pub const ACT_RESENT_MS_MAX: u64 = 10 * 60 * 1000;
/// Sessions that a node lets in per tick.
pub const ADMISSIONS_PER_TICK_MAX: usize = 50;
/// Bytes of snapshots that a node starts to send per tick to joining or skipped clients.
pub const JOIN_BYTES_PER_TICK_MAX: usize = 4 * 1024 * 1024;

/// Live entities of one source in one chunk.
pub const SLOTS_PER_CHUNK_MAX: usize = 10_000;
/// Longest name of a player, in bytes of `[A-Za-z0-9_-]`.
pub const NAME_BYTES_MAX: usize = 24;
/// A motion stream with an audience repeats a keyframe at least this often.
pub const KEYFRAME_EVERY_TICKS: u64 = 20;
/// A freed slot rests this long, so that a keyframe without it went out at every rate before it is used again.
pub const SLOT_REST_TICKS: u64 = 30;

/// Lease of a node incarnation.
pub const NODE_LEASE_MS: u64 = 20_000;
/// How often a node renews its lease.
pub const NODE_RENEW_MS: u64 = 4_000;
/// Longest time that a failover of the store may take.
pub const STORE_FAILOVER_MS_MAX: u64 = 10_000;
/// A tick that starts this much later than it should makes the node ask the store who it is before it publishes.
pub const PAUSE_MS_MAX: u64 = 2_000;

/// Ticks between two heartbeats on a link (4 Hz, rounded up to whole ticks).
pub const HEARTBEAT_EVERY_TICKS: u64 = 2;
/// A link that was silent for this long is suspect.
pub const LINK_SUSPECT_MS: u64 = 1_000;
/// Ghosts of a source that was silent for this long are hidden.
pub const GHOST_HIDE_MS: u64 = 1_500;
/// A link that was silent for this long is torn down and made anew.
pub const LINK_REMAKE_MS: u64 = 3_000;
/// A frame whose tick is further behind than this is dropped.
pub const FRAME_AGE_TICKS_MAX: u64 = 20;
/// A frame whose tick is further ahead than this (clocks differ) is dropped.
pub const FRAME_AHEAD_TICKS_MAX: u64 = 50;
/// Ticks that a follower waits for a missing keyframe before it asks (again).
pub const REPAIR_WAIT_TICKS: u64 = 3;
/// Bytes of one message on a channel.
pub const MESH_MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a channel topic; all topics have this length, so none is another's prefix.
pub const MESH_TOPIC_BYTES: usize = 10;
/// Nodes that can serve one island.
pub const PEERS_MAX: usize = 64;

/// Chunks this far around a player's are claimed ahead of it.
pub const CLAIM_AHEAD_RING: i16 = 1;
/// How long a claim outlives the last need of it.
pub const CLAIM_LINGER_MS: u64 = 30_000;
/// Claim and release commits that a node has under way at once.
pub const CLAIM_COMMITS_MAX: usize = 32;
/// Nodes that may claim one chunk.
pub const CLAIMANTS_MAX: usize = 64;
/// Creatures born with each chunk.
pub const CREATURES_PER_CHUNK: usize = 2;
/// Creatures that a source releases to others per tick.
pub const RELEASES_PER_TICK_MAX: usize = 16;

/// Life of a ticket.
pub const TICKET_MS: u64 = 30_000;
/// Most nodes that a ticket lists.
pub const TICKET_NODES_MAX: usize = 8;
/// How long the seat of a lost session stays held.
pub const RESUME_GRACE_MS: u64 = 120_000;
/// How often a node tells its census.
pub const CENSUS_EVERY_TICKS: u64 = 5;

/// Wanted population of an island.
pub const DESIGN_POPULATION: u32 = 200;
/// Most that an island ever holds.
pub const CAP_POPULATION: u32 = 300;
/// Population under which an island feels dead.
pub const MINIMUM_POPULATION: u32 = 60;

const _: () = {
    assert!(CHUNK_M.is_multiple_of(CELL_M) && CHUNK_M.is_multiple_of(TILE_M));
    assert!((QUANTA_PER_CHUNK as u32).is_multiple_of(CHUNK_M));
    assert!(POSITION_BITS * 2 + 8 == 32, "a packed pose is 32 bits");
    assert!(NEAR_RING < FAR_RING && FAR_RING < ISLAND_EDGE_CHUNKS / 2);
    assert!(TETHER_M < CHUNK_M);
    assert!(
        SLOTS_PER_CHUNK_MAX * crate::blocks::MOVE_BYTES <= u16::MAX as usize,
        "a motion payload's length is u16"
    );
    assert!(SLOTS_PER_CHUNK_MAX * crate::blocks::ENTER_BYTES_MAX <= SERVER_FRAME_BYTES_MAX - 1024);
    assert!(NODE_RENEW_MS * 3 <= NODE_LEASE_MS);
    assert!(NODE_LEASE_MS >= 2 * STORE_FAILOVER_MS_MAX);
    assert!(PAUSE_MS_MAX < NODE_LEASE_MS);
    assert!(LINK_SUSPECT_MS < GHOST_HIDE_MS && GHOST_HIDE_MS < LINK_REMAKE_MS);
    assert!(HEARTBEAT_EVERY_TICKS * TICK_MS * 3 < LINK_SUSPECT_MS);
    assert!(
        SLOT_REST_TICKS >= KEYFRAME_EVERY_TICKS + 8,
        "every rate shows a keyframe before a slot comes back"
    );
    assert!(KEYFRAME_EVERY_TICKS * TICK_MS <= 2_000);
    assert!(HELLO_BYTES_MAX <= CLIENT_FRAME_BYTES_MAX && CLIENT_FRAME_BYTES_MAX <= SERVER_FRAME_BYTES_MAX);
    assert!(
        CLIENT_BACKLOG_BYTES_MAX < SERVER_FRAME_BYTES_MAX,
        "one snapshot may exceed the backlog, never two"
    );
    assert!(KEEP_ALIVE_MS * 3 <= SILENT_MS_MAX);
    assert!(ACTION_BYTES_MAX < CLIENT_FRAME_BYTES_MAX / 2);
    assert!(DOCS_FRAME_BYTES_MAX + crate::store::DOCUMENT_MAX_BYTES < SERVER_FRAME_BYTES_MAX);
    assert!(ACTS_OPEN_MAX <= crate::store::ACTS_PER_ACTOR_MAX, "every open act can be remembered");
    assert!(ACT_WAIT_MS < NODE_LEASE_MS);
    assert!(
        2 * ACT_RESENT_MS_MAX + ACT_WAIT_MS + STORE_FAILOVER_MS_MAX < crate::store::ACTOR_IDLE_MS,
        "what may still be resent, or is being done for who resent it, is remembered"
    );
    assert!(ACT_RESENT_MS_MAX > RESUME_GRACE_MS, "who resumes may resend");
    assert!(MINIMUM_POPULATION < DESIGN_POPULATION && DESIGN_POPULATION <= CAP_POPULATION);
    assert!(CLAIM_LINGER_MS >= 30_000);
    assert!(
        FRAME_AGE_TICKS_MAX + FRAME_AHEAD_TICKS_MAX < u16::MAX as u64 / 4,
        "ticks on the wire are 16 bits"
    );
    // The streams of the largest island: one roster and four rates a chunk. A link carries the watched part only.
    assert!(ISLAND_CHUNKS * 2 <= 1_000, "roster and one rate of every chunk fit the topics of one link");
};
