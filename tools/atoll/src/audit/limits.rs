//! Named limits of the auditor.

use std::time::Duration;

/// Most holders, each with what it holds, that the auditor follows while a cluster runs; with more it stops following
/// and says so. The complete audit has no such limit.
pub(crate) const HOLDERS_MAX: usize = 1_000_000;
/// Acts and ended transfers that are remembered, each: one that is done a second time after that many others is found
/// by the complete audit only.
pub(crate) const REMEMBERED_MAX: usize = 262_144;
/// Gaps in the shards' numbers that are remembered: an entry of one that comes late is still applied.
pub(crate) const GAPS_MAX: usize = 4_096;
/// Findings that are kept as texts; all are counted.
pub(crate) const FINDINGS_KEPT_MAX: usize = 100;
/// Findings of a complete audit that are kept as texts.
pub(crate) const FINDINGS_TOLD_MAX: usize = 1_000;
/// How long a transfer may be open before that is worth a warning, by the store's clock.
pub(crate) const OPEN_MS_MAX: u64 = 60_000;
/// Partitions that are compared with the ledger at once while a cluster runs.
pub(crate) const COMPARED_TOGETHER: usize = 8;
/// How often the walk through all partitions begins again at most: listing them may cost the store a look at every key.
pub(crate) const WALK_EVERY: Duration = Duration::from_secs(10);
/// Readings of an unchanged partition that must all disagree with the ledger before that counts.
pub(crate) const READINGS: u32 = 3;
/// How often a complete audit begins again while what it reads changes, or to see whether a finding stays.
pub(crate) const ROUNDS: u32 = 3;
/// Pause between those.
pub(crate) const ROUND_PAUSE: Duration = Duration::from_millis(300);
/// Entries of one page of anything that an audit reads.
pub(crate) const PAGE: usize = 500;

const _: () = assert!(READINGS > 1 && ROUNDS > 1 && FINDINGS_KEPT_MAX <= FINDINGS_TOLD_MAX);
