//! The named limits of `loadtest`, units in their names. Every module takes its bounds from here.

/// Most bots of one `null` run: each takes one ephemeral port of 127.0.0.1, and the kernel's default
/// range has 28,232.
pub const NULL_BOTS_MAX: u32 = 25_000;
/// Smallest write of the null server per client and tick: room for the personal header and a body.
pub const NULL_FRAME_BYTES_MIN: u32 = 16;
/// Largest write of the null server per client and tick: a server's largest client frame.
pub const NULL_FRAME_BYTES_MAX: u32 = 1 << 20;
/// Most ticks a second of the null server.
pub const NULL_TICK_HZ_MAX: u32 = 1_000;
/// Longest measured window.
pub const MEASURE_S_MAX: u32 = 86_400;
/// Longest warm-up that may be asked for.
pub const WARM_UP_S_MAX: u32 = 600;

/// Time between two moves of one bot.
pub const MOVE_PERIOD_MS: u64 = 100;
/// Size of one move, its length field included.
pub const MOVE_BYTES: usize = 15;
/// A load generator wakes once per slot, sends what is due and reads what has come. A wake-up per frame
/// instead would cost both sides more than the frame.
pub const CLIENT_SLOT_US: u64 = 1_000;
/// A generator whose 99th percentile of lateness passes this was too slow itself: the run is marked late.
pub const LATE_P99_MAX_MS: f64 = 10.0;
/// Share of the machine's cores that a run may use (1.8 of 2) before its figures are marked saturated.
pub const SATURATED_SHARE: f64 = 0.9;

/// How long the null server waits for its clients to connect.
pub const NULL_CONNECT_MS_MAX: u64 = 30_000;
/// Connects that may wait for the null server to accept them; the kernel cuts it to its own `somaxconn`. A
/// connect that finds the queue full is tried again only a second later.
pub const NULL_ACCEPT_QUEUE: i32 = 4_096;
/// How long the null server, told to stop, waits for clients to read the rest.
pub const NULL_FINISH_MS_MAX: u64 = 5_000;
/// How long the parent waits for an answer of the null server beyond what that may itself take.
pub const NULL_ANSWER_MS_MAX: u64 = 10_000;
/// Longest wait before an interrupt or a dead child is looked for again.
pub const CHECK_MS: u64 = 20;
/// Longest line that the null server says to its parent.
pub const NULL_LINE_BYTES_MAX: u64 = 4_096;
/// Lines and commands in flight between the null server and its parent.
pub const NULL_LINES_MAX: usize = 8;
/// Receive buffer of the null server, shared by its connections: many moves of one client.
pub const SERVER_READ_BYTES: usize = 4 * 1024;
/// Receive buffer of the clients, shared by all of them.
pub const CLIENT_READ_BYTES: usize = 256 * 1024;
/// Events taken from epoll at once.
pub const EVENTS_PER_POLL: usize = 1_024;
/// Files that a process needs besides one per connection: standard streams, epoll, listener, pipes.
pub const OPEN_FILES_SPARE: u64 = 64;

const _: () = assert!(NULL_FRAME_BYTES_MIN <= NULL_FRAME_BYTES_MAX);
const _: () = assert!(CLIENT_SLOT_US * 10 <= MOVE_PERIOD_MS * 1_000, "a slot is a small part of a period");
const _: () = assert!(SERVER_READ_BYTES >= 64 * MOVE_BYTES, "a late tick still takes one receive per client");
const _: () = assert!(CHECK_MS < NULL_ANSWER_MS_MAX && CHECK_MS < NULL_FINISH_MS_MAX);
