//! What a policy is: it hears what happens, lets players in, and opens islands. The simulator drives every policy through
//! this trait, with the same arrivals.
//!
//! To add a policy: implement [`Allocation`] in a file of `policies/`, and give it a line in `policies.rs`.

use chunk_sync::ids::IslandId;

/// Virtual time: whole seconds since the simulation began.
pub type Second = u32;

/// One arrival at the door: a number in the order of coming. A player who comes on two days arrives twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ArrivalId(pub u32);

/// A player, for life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Player(pub u32);

/// What somebody comes for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Has no home yet: any island will do.
    Homeless,
    /// Lives on this island.
    Homecoming(IslandId),
}

/// Somebody in the queue, alone or with friends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiter {
    /// The arrival; those of the party's other members follow it without a gap.
    pub first: ArrivalId,
    /// Who waits; the others of a party have numbers of their own.
    pub player: Player,
    /// What for; who comes home comes alone.
    pub entry: Entry,
    /// How many wait together; 1 is no party.
    pub size: u32,
}

impl Waiter {
    /// Everybody who waits together.
    pub fn members(&self) -> impl Iterator<Item = ArrivalId> + use<> {
        let first = self.first.0;
        (first..first + self.size).map(ArrivalId)
    }
}

/// What a policy is told. Each notice comes once, in the order in which things happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Somebody joined the queue.
    Joined(Waiter),
    /// Whoever of this party still waits has left the queue.
    GaveUp(ArrivalId),
    /// Somebody who was let in came in.
    Entered(ArrivalId, IslandId),
    /// A player who is inside made a home there.
    Settled(Player, IslandId),
    /// A session lost its connection; its seat is held until it resumes or is over.
    Lost(ArrivalId, IslandId),
    /// A lost session is back.
    Resumed(ArrivalId, IslandId),
    /// A seat is free again: the player left, never came, or the grace is over.
    SeatFreed(ArrivalId, IslandId),
    /// An island that the policy asked for is being generated and warmed.
    Warming(IslandId),
    /// An island is open.
    Opened(IslandId),
    /// An island that the policy retired is gone.
    Retired(IslandId),
    /// The node that served these islands died; [`Notice::Lost`] follows for each session.
    NodeDied(Vec<IslandId>),
}

/// Somebody is let in: the seat is taken from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Who.
    pub arrival: ArrivalId,
    /// To which open island.
    pub island: IslandId,
    /// Whether the player lives elsewhere.
    pub guest: bool,
}

/// What a planning step decided.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// How many islands to open. What doesn't fit into the warming slots is dropped, not remembered.
    pub open: u32,
    /// Empty islands that shall be gone.
    pub retire: Vec<IslandId>,
}

/// What a policy expects.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Forecast {
    /// How far ahead.
    pub horizon_s: Second,
    /// Homeless players who will join the queue until then.
    pub homeless: f64,
}

/// An opening that operators announced.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Announcement {
    /// When the doors open.
    pub opens_s: Second,
    /// The most players a second that are expected.
    pub peak_per_s: f64,
    /// For how long.
    pub burst_s: Second,
}

/// What every policy is given before it starts.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Terms {
    /// Players that an island is made for.
    pub design: u32,
    /// Players that an island takes.
    pub cap: u32,
    /// Players under which an island is sparse.
    pub minimum: u32,
    /// 95th percentile of the time from decision to an open island.
    pub lead_s: Second,
    /// Islands that may warm at once.
    pub warm_parallel: u32,
    /// Time between two planning steps.
    pub plan_every_s: Second,
    /// Given when the opening is announced.
    pub announcement: Option<Announcement>,
}

/// A policy: who gets in where, and when islands open.
pub trait Allocation: Send {
    /// Its name, in tables and JSON.
    fn label(&self) -> &'static str;

    /// What it does, in a sentence or two for readers of the report.
    fn explained(&self) -> &'static str;

    /// Takes what happened.
    fn notice(&mut self, notice: &Notice, now: Second);

    /// Every second, after the notices: lets people in, by adding to `admitted`.
    fn admit(&mut self, now: Second, admitted: &mut Vec<Admission>);

    /// Every [`Terms::plan_every_s`], before [`Allocation::admit`]: decides which islands open and which go.
    fn plan(&mut self, now: Second) -> Decision;

    /// What the last planning step expected, for policies that forecast.
    fn forecast(&self) -> Option<Forecast> {
        None
    }

    /// Whether islands open the moment they are asked for, in any number, also between planning steps: for yardsticks only.
    fn has_no_lead(&self) -> bool {
        false
    }

    /// What a successor makes of what is in the store, after this one has died.
    fn restored(&self) -> Box<dyn Allocation>;
}
