//! What goes wrong in a run, drawn from its seed before the run begins. The cluster carries it out.

use super::Setup;
use super::arbiter::StoreWeather;
use super::books::Noted;
use super::events::Process;
use super::limits::{ACTS_BY_MS, FOR_GOOD_MS, PAUSE_MS_MAX, STORE_AWAY_MS_MAX, STORE_BEHIND_MS_MAX};
use super::mesh::{Cut, CutMode, Weather};
use chunk_sync::random::{RngExt, Stream, stream};
use chunk_sync::store::LEASE_GUARD_MS;
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
    /// A node dies so many milliseconds after the store has next done something for it, and starts again when the
    /// fault ends.
    CrashAfter(usize, Noted, u64),
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
            Fault::Store(StoreWeather::Behind) => "store fails over",
            Fault::Store(StoreWeather::Full) => "store full",
            Fault::Store(StoreWeather::LosesAnswers) => "store loses answers",
            Fault::Store(StoreWeather::Slow) => "store slow",
            Fault::Store(StoreWeather::Away | StoreWeather::Fair) => "store away",
            Fault::StoreCut(_) => "store cut off",
            Fault::WireCut(_) => "client cut",
            Fault::WireStall(_) => "client stalled",
            Fault::AllocatorCrash => "allocator crash",
            Fault::CrashAfter(_, Noted::Act, _) => "crash armed for an act",
            Fault::CrashAfter(_, Noted::Step, _) => "crash armed for a step",
        }
    }

    /// Whether it keeps this node from running.
    pub(super) fn holds_down(&self, node: usize) -> bool {
        matches!(self, Fault::Crash(down) | Fault::Stop(down) if *down == node)
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

/// Draws the faults of a run between the two times.
pub(super) fn draw(seed: u64, setup: Setup, from_ms: u64, end_ms: u64) -> Vec<Planned> {
    let mut all = draw_common(seed, setup, from_ms, end_ms);
    if setup.acts {
        draw_for_acts(seed, setup.nodes, from_ms, end_ms, &mut all);
    }
    all
}

/// Faults that only acts and transfers care for. They come on top, so that runs without acts are what they ever were.
fn draw_for_acts(seed: u64, nodes: usize, from_ms: u64, end_ms: u64, all: &mut Vec<Planned>) {
    let mut random = stream(seed, "faults of acts");
    let (first_ms, last_ms) = (from_ms + ACTS_BY_MS, end_ms - 1_000);
    let leases = if is_gone(all, None) { 2 } else { 1 };
    let mut plan = |from_ms: u64, length_ms: u64, fault: Fault| {
        let (until_ms, gone) = ((from_ms + length_ms).min(end_ms), |node| is_gone(all, Some(node)));
        if from_ms < last_ms && !matches!(fault, Fault::CrashAfter(node, ..) if gone(node)) {
            all.push(Planned { from_ms, until_ms, fault });
        }
    };
    for _ in 0..random.random_range(1..=4) {
        let after = if random.random_bool(0.4) { Noted::Act } else { Noted::Step };
        // Half of them between what the store did and the node's hearing of it, or shortly after.
        let ms = if random.random() { random.random_range(0..8) } else { random.random_range(0..300) };
        let fault = Fault::CrashAfter(random.random_range(0..nodes), after, ms);
        plan(random.random_range(first_ms..last_ms), random.random_range(1_500..6_000), fault);
    }
    for (chance, weather) in [(0.25, StoreWeather::Full), (0.25, StoreWeather::LosesAnswers)] {
        let (from_ms, length_ms) =
            (random.random_range(first_ms..last_ms), random.random_range(1_000..5_000));
        if random.random_bool(chance) {
            plan(from_ms, length_ms, Fault::Store(weather));
        }
    }
    // A young store takes no lease from anybody; whoever is gone must be inherited before the end all the same, and for
    // good takes twice as long.
    let latest_ms = end_ms.saturating_sub(leases * LEASE_GUARD_MS + STORE_BEHIND_MS_MAX);
    if latest_ms > first_ms && random.random_bool(0.5) {
        let (from_ms, length_ms) =
            (random.random_range(first_ms..latest_ms), random.random_range(200..STORE_BEHIND_MS_MAX));
        plan(from_ms, length_ms, Fault::Store(StoreWeather::Behind));
    }
}

fn draw_common(seed: u64, setup: Setup, from_ms: u64, end_ms: u64) -> Vec<Planned> {
    let Setup { nodes, bots, acts, .. } = setup;
    let mut random = stream(seed, "faults");
    let mut all: Vec<Planned> = Vec::new();
    let mut at_ms = from_ms + random.random_range(5_000..9_000);
    while at_ms + 1_000 < end_ms {
        let (fault, length_ms) = draw_one(&mut random, all.len(), nodes, bots, acts);
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

fn draw_one(random: &mut Stream, number: usize, nodes: usize, bots: usize, acts: bool) -> (Fault, u64) {
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
        // Where nobody acts, a full store is hardly noticed.
        82..83 if acts => (Fault::Store(StoreWeather::Full), random.random_range(1_000..8_000)),
        82..83 => (Fault::Store(StoreWeather::Slow), random.random_range(1_000..8_000)),
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
