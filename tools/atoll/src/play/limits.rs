//! Named limits of the terminal client, with the relations between them.

use std::time::Duration;

use chunk_sync::limits::{CLIENT_FRAMES_PER_TICK_MAX, QUANTA_PER_M, TICK_MS, TILE_M};

/// Time between two steps of a walk: one a tick.
pub(super) const STEP_EVERY_MS: u64 = TICK_MS;
/// How long one press of a key walks: one tile at walking speed. Terminals don't tell when a key is let go.
pub(super) const TAP_MS: u64 = 400;
/// How long a walk goes on after the last repeat of its key.
pub(super) const HOLD_MS: u64 = 300;
/// Longest step, whatever speed a server names: less than the edge of a tile, so that no tile is jumped over.
pub(super) const STEP_QUANTA_MAX: u64 = (TILE_M as i32 * QUANTA_PER_M - 1) as u64;
/// Time between two measurements of the round trip.
pub(super) const PING_EVERY_MS: u64 = 1_000;
/// Without news for this long the server is called silent.
pub(super) const SILENT_AFTER_MS: u64 = 1_500;

/// How long a connection may take to be made, per address.
pub(super) const CONNECT_WAIT: Duration = Duration::from_secs(4);
/// Addresses that are tried of all that a name has.
pub(super) const ADDRESSES_MAX: usize = 4;
/// How long a closing connection is read, so that the other side gets what was sent last.
pub(super) const FAREWELL_WAIT: Duration = Duration::from_millis(400);
/// Bytes that wait for the socket; more means that the server takes nothing.
pub(super) const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one read.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// Reads before the keys are looked at again.
pub(super) const READS_PER_LOOK_MAX: usize = 16;
/// Key events before the server is heard again.
pub(super) const KEYS_PER_LOOK_MAX: usize = 256;
/// How long keys are waited for before the socket is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(15);
/// Shortest time between two drawings.
pub(super) const DRAW_EVERY_MS: u64 = 33;
/// A drawing is repeated after this long, for what changes without news: the silence of the server.
pub(super) const DRAW_AGAIN_MS: u64 = 500;

/// Players whose names stand on the map.
pub(super) const LABELS_MAX: usize = 12;
/// Least columns for map and panel side by side.
pub(super) const WIDE_COLUMNS_MIN: u16 = 64;
/// Columns of the panel.
pub(super) const PANEL_COLUMNS: u16 = 30;
/// Least columns and rows to draw anything.
pub(super) const SCREEN_MIN: (u16, u16) = (24, 6);

const _: () = {
    assert!(STEP_EVERY_MS < HOLD_MS && HOLD_MS <= TAP_MS);
    assert!(2 * STEP_EVERY_MS / TICK_MS < CLIENT_FRAMES_PER_TICK_MAX as u64, "walking is no flood");
    assert!(PANEL_COLUMNS < WIDE_COLUMNS_MIN && SCREEN_MIN.0 < WIDE_COLUMNS_MIN);
    assert!((LOOK_EVERY.as_millis() as u64) < DRAW_EVERY_MS && DRAW_EVERY_MS < STEP_EVERY_MS);
    assert!(SILENT_AFTER_MS > 2 * DRAW_AGAIN_MS);
};
