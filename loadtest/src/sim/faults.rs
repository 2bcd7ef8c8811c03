//! What goes wrong in a run, drawn from its seed before the run begins. The cluster carries it out.

use super::arbiter::StoreWeather;
use super::events::Process;
use super::limits::{FOR_GOOD_MS, PAUSE_MS_MAX, STORE_AWAY_MS_MAX};
use super::mesh::{Cut, CutMode, Weather};
use chunk_sync::random::{RngExt, Stream, stream};
use std::collections::BTreeSet;

/// Something that goes wrong.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Fault {
    /// The network between members is bad.
    Weather(Weather),
    /// Members are cut off from each other.
    Cut(Cut),
    /// A node dies, and starts again when the fault ends.
    Crash(usize),
    /// A node dies and stays away.
    CrashForGood(usize),
    /// A node is told to stop, and starts again when the fault ends.
    Stop(usize),
    /// A node stands still.
    Pause(usize),
    /// The store is bad for everybody.
    Store(StoreWeather),
    /// One process can't reach the store.
    StoreCut(Process),
    /// A client's connection is cut.
    WireCut(usize),
    /// Nothing gets through to and from a client.
    WireStall(usize),
    /// The allocator dies, and starts again when the fault ends.
    AllocatorCrash,
}

impl Fault {
    /// The kind, for counting.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Fault::Weather(_) => "bad network",
            Fault::Cut(_) => "partition",
            Fault::Crash(_) => "crash",
            Fault::CrashForGood(_) => "crash for good",
            Fault::Stop(_) => "stop",
            Fault::Pause(_) => "pause",
            Fault::Store(_) => "store",
            Fault::StoreCut(_) => "store cut off",
            Fault::WireCut(_) => "client cut",
            Fault::WireStall(_) => "client stalled",
            Fault::AllocatorCrash => "allocator crash",
        }
    }

    /// Whether messages between members, or their sending, suffer.
    pub(super) fn disturbs_members(&self) -> bool {
        !matches!(self, Fault::WireCut(_) | Fault::WireStall(_) | Fault::AllocatorCrash)
    }
}

/// A fault and its time.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Planned {
    pub from_ms: u64,
    pub until_ms: u64,
    pub fault: Fault,
}

impl Planned {
    /// How much of the time from `from_ms` to `until_ms` it takes.
    pub(super) fn overlap_ms(&self, from_ms: u64, until_ms: u64) -> u64 {
        self.until_ms.min(until_ms).saturating_sub(self.from_ms.max(from_ms))
    }
}

/// Draws the faults of a run that has `nodes` nodes and `bots` bots, between the two times.
pub(super) fn draw(seed: u64, nodes: usize, bots: usize, from_ms: u64, end_ms: u64) -> Vec<Planned> {
    let mut random = stream(seed, "faults");
    let mut all: Vec<Planned> = Vec::new();
    let mut at_ms = from_ms + random.random_range(5_000..9_000);
    while at_ms + 1_000 < end_ms {
        let (fault, length_ms) = draw_one(&mut random, all.len(), nodes, bots);
        let until_ms = (at_ms + length_ms).min(end_ms);
        // A client gives up a silent server after half a minute; two reasons for silence at once would be none.
        let silences = |f: &Fault| matches!(f, Fault::Pause(_) | Fault::WireStall(_));
        let twice = silences(&fault)
            && all.iter().any(|f| silences(&f.fault) && f.overlap_ms(at_ms, until_ms + 1) > 0);
        let fault = match fault {
            // Somebody must be left, and there must be time to inherit what it had.
            Fault::CrashForGood(node) if at_ms + FOR_GOOD_MS > end_ms || is_gone(&all, None) || nodes < 3 => {
                Fault::Crash(node)
            }
            fault => fault,
        };
        let target_gone = match &fault {
            Fault::Crash(node) | Fault::Stop(node) | Fault::Pause(node) => is_gone(&all, Some(*node)),
            _ => false,
        };
        if !twice && !target_gone {
            all.push(Planned { from_ms: at_ms, until_ms, fault });
        }
        // Some overlap, most have the cluster to themselves.
        let next_ms = if random.random_bool(0.35) {
            random.random_range(300..3_000)
        } else {
            length_ms + random.random_range(500..6_000)
        };
        at_ms += next_ms;
    }
    all
}

fn is_gone(all: &[Planned], node: Option<usize>) -> bool {
    all.iter().any(|f| matches!(f.fault, Fault::CrashForGood(gone) if node.is_none_or(|node| node == gone)))
}

fn draw_one(random: &mut Stream, number: usize, nodes: usize, bots: usize) -> (Fault, u64) {
    let node = random.random_range(0..nodes);
    let bot = random.random_range(0..bots);
    match random.random_range(0..100) {
        0..16 => (Fault::Weather(draw_weather(random)), random.random_range(1_000..12_000)),
        16..32 => (Fault::Cut(draw_cut(random, number, nodes)), random.random_range(500..25_000)),
        32..42 => (Fault::Crash(node), random.random_range(300..8_000)),
        42..45 => (Fault::CrashForGood(node), 1_000),
        45..51 => (Fault::Stop(node), random.random_range(3_500..7_000)),
        51..58 => (Fault::Pause(node), random.random_range(200..2_500)),
        58..68 => (Fault::Pause(node), random.random_range(2_500..PAUSE_MS_MAX)),
        68..74 => (Fault::Store(StoreWeather::Away), random.random_range(500..STORE_AWAY_MS_MAX)),
        74..79 => (Fault::Store(StoreWeather::LosesAnswers), random.random_range(1_000..8_000)),
        79..82 => (Fault::Store(StoreWeather::Slow), random.random_range(1_000..8_000)),
        82..83 => (Fault::Store(StoreWeather::Full), random.random_range(1_000..8_000)),
        83..88 => {
            let who = random.random_range(0..=nodes);
            let process = if who == nodes { Process::Allocator } else { Process::Node(who) };
            (Fault::StoreCut(process), random.random_range(500..STORE_AWAY_MS_MAX))
        }
        88..92 => (Fault::WireCut(bot), 1),
        92..96 => (Fault::WireStall(bot), random.random_range(500..12_000)),
        _ => (Fault::AllocatorCrash, random.random_range(300..5_000)),
    }
}

/// The network as it is on a good day, more or less far apart.
pub(super) fn fair_weather(random: &mut Stream) -> Weather {
    let far_ms = random.random_range(1..40);
    Weather { delay_ms: (1, far_ms), loss: 0.0, doubled: 0.0, overtaking: 0.0 }
}

fn draw_weather(random: &mut Stream) -> Weather {
    let mut share = |most: f64| if random.random_bool(0.6) { random.random_range(0.01..most) } else { 0.0 };
    let (loss, doubled, overtaking) = (share(0.5), share(0.3), share(0.3));
    Weather { delay_ms: (1, random.random_range(5..400)), loss, doubled, overtaking }
}

fn draw_cut(random: &mut Stream, number: usize, nodes: usize) -> Cut {
    let mut side = BTreeSet::from([Process::Node(random.random_range(0..nodes))]);
    for node in 0..nodes {
        if random.random_bool(0.2) {
            side.insert(Process::Node(node));
        }
    }
    if random.random_bool(0.3) {
        side.insert(Process::Allocator);
    }
    let mode = [CutMode::Lose, CutMode::Hold, CutMode::Break][random.random_range(0..3)];
    Cut { number, side, mode, one_way: random.random_bool(0.25) }
}
