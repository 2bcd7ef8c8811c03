//! A simulated player: the client core, eyes, and habits drawn from the seed. The cluster carries its bytes.

use super::events::{Start, WireNo};
use super::eyes::Eyes;
use chunk_sync::client::{Client, ClientConfig};
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::limits::{CHUNK_M, QUANTA_PER_M, TICK_HZ, WALK_MM_PER_S};
use chunk_sync::place::Place;
use chunk_sync::random::{RngExt, Stream, stream};
use chunk_sync::terrain::{LANDING, Terrain};
use chunk_sync::wire::FEATURE_DOCS;

/// Longest step of a tenth of a second: a little less than what is allowed.
const STEP_QUANTA: i32 = (WALK_MM_PER_S as i32 * QUANTA_PER_M / 1_000) / TICK_HZ as i32 - 4;

/// How far from the middle of the landing bots meet that do things.
const MEET_M: i32 = 10;

/// What a bot does besides walking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Habit {
    /// Nothing.
    Stays,
    /// Leaves now and then and comes back.
    ComesAndGoes,
    /// Reads nothing once it is in.
    NeverReads,
    /// Has the name of another bot.
    Twin,
}

/// The session that a bot is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Inside {
    pub host: Start,
    pub wire: WireNo,
}

/// One bot.
pub(super) struct Bot {
    pub name: String,
    pub habit: Habit,
    /// Another bot has the same name.
    pub shares_name: bool,
    pub client: Option<Client>,
    pub eyes: Eyes,
    pub wire: Option<WireNo>,
    pub inside: Option<Inside>,
    /// When it starts the next life.
    pub wakes_ms: u64,
    /// When it leaves.
    pub leaves_ms: u64,
    /// When it does something again.
    pub acts_ms: u64,
    /// Who it was when it was last in.
    pub player: Option<PlayerId>,
    pub random: Stream,
    walks: bool,
    /// It does things, best where others are.
    acts: bool,
    roams_m: i32,
    goal: Option<Place>,
}

impl Bot {
    /// The `nth` bot of a cluster.
    pub(super) fn new(seed: u64, nth: usize, began_ms: u64, acts: bool) -> Self {
        let mut random = stream(seed, &format!("bot {nth}"));
        let habit = match random.random_range(0..100) {
            0..60 => Habit::Stays,
            60..82 => Habit::ComesAndGoes,
            82..91 => Habit::NeverReads,
            _ if nth > 0 => Habit::Twin,
            _ => Habit::Stays,
        };
        let twin = habit == Habit::Twin;
        let named = if twin { random.random_range(0..nth) } else { nth };
        let wakes_ms = began_ms
            + if twin { random.random_range(3_000..20_000) } else { random.random_range(500..4_000) };
        Self {
            name: format!("Bot{named}"),
            habit,
            shares_name: twin,
            client: None,
            eyes: Eyes::new(),
            wire: None,
            inside: None,
            wakes_ms,
            leaves_ms: u64::MAX,
            acts_ms: 0,
            player: None,
            walks: random.random_range(0..5) > 0,
            acts,
            roams_m: random.random_range(1..4) * CHUNK_M as i32,
            random,
            goal: None,
        }
    }

    /// Begins a life as a client.
    pub(super) fn wake(&mut self, now_ms: u64) {
        let config = ClientConfig {
            rejoin: true,
            attempts_max: u32::MAX,
            features: vec![FEATURE_DOCS.to_owned()],
            minds_silence: self.habit != Habit::NeverReads,
            ..ClientConfig::new("allocator", &self.name)
        };
        self.client = Some(Client::new(config, now_ms));
        self.wakes_ms = u64::MAX;
    }

    /// It is in: how long does it stay?
    pub(super) fn entered(&mut self, now_ms: u64) {
        self.goal = None;
        if self.habit == Habit::ComesAndGoes {
            self.leaves_ms = now_ms + self.random.random_range(4_000..20_000);
        }
    }

    /// Its client is done: when does it start again?
    pub(super) fn ended(&mut self, now_ms: u64) {
        self.client = None;
        self.leaves_ms = u64::MAX;
        self.wakes_ms = now_ms + self.random.random_range(200..10_000);
    }

    /// The way is blocked.
    pub(super) fn turn(&mut self) {
        self.goal = None;
    }

    /// The next step, if it walks.
    pub(super) fn next_step(&mut self, terrain: &Terrain) -> Option<(Place, u8)> {
        if !self.walks {
            return None;
        }
        let from = self.client.as_ref()?.place();
        let goal = match self.goal {
            Some(goal) if goal.distance_squared(from) > i64::from(STEP_QUANTA * STEP_QUANTA) => goal,
            _ => self.new_goal(),
        };
        self.goal = Some(goal);
        let (dx, dy) = (f64::from(goal.x - from.x), f64::from(goal.y - from.y));
        let length = dx.hypot(dy).max(1.0);
        let along = |d: f64| (d / length * f64::from(STEP_QUANTA)) as i32;
        let to = Place { x: from.x + along(dx), y: from.y + along(dy) };
        if !terrain.tile(to).is_walkable() {
            self.goal = None;
            return None;
        }
        Some((to, (dy.atan2(dx) / std::f64::consts::TAU * 256.0).rem_euclid(256.0) as u8))
    }

    fn new_goal(&mut self) -> Place {
        let meets = self.acts && self.random.random_bool(0.75);
        let (middle, roams_m) = (LANDING.middle(), if meets { MEET_M } else { self.roams_m });
        let reach = roams_m * QUANTA_PER_M;
        let mut near = |middle: i32| middle + self.random.random_range(-reach..=reach);
        Place { x: near(middle.x), y: near(middle.y) }
    }

    /// The island it is on.
    pub(super) fn island(&self) -> Option<IslandId> {
        let welcome = self.client.as_ref()?.welcome()?;
        Some(IslandId(welcome.island))
    }
}
