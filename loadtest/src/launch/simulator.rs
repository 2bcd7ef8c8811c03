//! The run of one policy in virtual time: events from a calendar, notices to the policy, a planning step every few seconds,
//! admissions every second.
//!
//! Nothing here reads a clock, and nothing scans players. Islands are looked at one by one only when something is measured.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use chunk_sync::ids::IslandId;
use chunk_sync::random::{self, RngExt, Stream};

use super::allocation::{Admission, Allocation, ArrivalId, Decision, Entry, Notice, Second, Terms, Waiter};
use super::crowd::Crowd;
use super::desk::Desk;
use super::islands::Islands;
use super::laws::LongTail;
use super::limits::{
    DEATHS_FROM_S, GRACE_S, NODE_DEATH_LOST_SHARE, NODE_ISLANDS, PLAN_EVERY_S, POINTS_MAX, RESUME_S, TICKET_S,
};
use super::meter::{Fates, Figures, Meter, Point};

/// Everything that happens to a policy, whichever it is.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What policies are told.
    pub terms: Terms,
    /// Who comes; their times count from the opening of the doors.
    pub crowd: Crowd,
    /// When the doors open.
    pub opens_s: Second,
    /// When the simulation ends.
    pub end_s: Second,
    /// Islands that are open from the start.
    pub prewarm: u32,
    /// Nodes that die.
    pub node_deaths: u32,
    /// Allocators that die.
    pub allocator_deaths: u32,
    /// Seed of lead times and deaths.
    pub seed: u64,
}

/// What came of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The policy's name.
    pub label: &'static str,
    /// What it does.
    pub explained: &'static str,
    /// The figures.
    pub figures: Figures,
    /// The curves.
    pub points: Vec<Point>,
}

/// Where an arrival is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    ToCome,
    Waiting,
    Admitted,
    Inside,
    /// Lost with its node; resumes, perhaps.
    Away,
    /// Lost its connection for good; the seat is held for the grace.
    Lingering,
    Left,
    GaveUp,
    Vanished,
}

#[derive(Clone, Copy, Debug, Default)]
struct Course {
    state: State,
    is_homecoming: bool,
    island: IslandId,
    /// Its place among the members, while it is inside.
    place: u32,
    /// When the connection was lost.
    lost_s: Second,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    GivesUp(ArrivalId),
    Enters(ArrivalId),
    TicketOver(ArrivalId),
    Ends(ArrivalId),
    Resumes(ArrivalId),
    GraceOver(ArrivalId),
    Opens(IslandId),
    NodeDies,
    AllocatorDies,
}

struct Simulator<'a> {
    scenario: &'a Scenario,
    desk: Desk,
    now: Second,
    calendar: Vec<Vec<Event>>,
    courses: Vec<Course>,
    homes: Vec<Option<IslandId>>,
    islands: Islands,
    next: usize,
    /// The first arrival that may still wait: of homeless players, of homecomers.
    heads: [usize; 2],
    waiting: u64,
    joined: u64,
    joined_homeless: u64,
    guests: u64,
    inversions: u64,
    node_losses: u64,
    admitted: Vec<Admission>,
    meter: Meter,
    leads: (LongTail, Stream),
    troubles: Stream,
}

/// Runs one policy through a scenario; `None` when interrupted.
///
/// # Panics
/// When the policy lets in who doesn't wait, or into an island that isn't open.
pub fn simulate(
    scenario: &Scenario,
    policy: Box<dyn Allocation>,
    interrupted: &AtomicBool,
) -> Option<Outcome> {
    let (label, explained) = (policy.label(), policy.explained());
    let mut simulator = Simulator::new(scenario, policy);
    simulator.begin();
    for now in 0..scenario.end_s {
        if now.is_multiple_of(PLAN_EVERY_S) && interrupted.load(Relaxed) {
            return None;
        }
        simulator.second(now);
    }
    let (figures, points) = simulator.results();
    Some(Outcome { label, explained, figures, points })
}

impl<'a> Simulator<'a> {
    fn new(scenario: &'a Scenario, policy: Box<dyn Allocation>) -> Self {
        let stream = |name: &str| random::stream(scenario.seed, name);
        let length = scenario.end_s as usize;
        Self {
            scenario,
            desk: Desk::new(policy),
            now: 0,
            calendar: vec![Vec::new(); length],
            courses: vec![Course::default(); scenario.crowd.arrivals.len()],
            homes: vec![None; scenario.crowd.players as usize],
            islands: Islands::new(scenario.terms),
            next: 0,
            heads: [0; 2],
            waiting: 0,
            joined: 0,
            joined_homeless: 0,
            guests: 0,
            inversions: 0,
            node_losses: 0,
            admitted: Vec::new(),
            meter: Meter::new((scenario.end_s.div_ceil(POINTS_MAX)).next_multiple_of(PLAN_EVERY_S)),
            leads: (LongTail::lead(scenario.terms.lead_s.into()), stream("launch leads")),
            troubles: stream("launch troubles"),
        }
    }

    /// Opens what is open from the start, and decides when things die.
    fn begin(&mut self) {
        let needs_lead = self.desk.policy().is_some_and(|policy| !policy.has_no_lead());
        for _ in 0..if needs_lead { self.scenario.prewarm } else { 0 } {
            let island = self.islands.warm();
            self.tell(Notice::Warming(island));
            self.open(island);
        }
        let first = self.scenario.opens_s + DEATHS_FROM_S;
        if first < self.scenario.end_s {
            let Scenario { node_deaths, allocator_deaths, end_s, .. } = *self.scenario;
            for nth in 0..node_deaths + allocator_deaths {
                let at_s = self.troubles.random_range(first..end_s);
                let event = if nth < node_deaths { Event::NodeDies } else { Event::AllocatorDies };
                self.calendar[at_s as usize].push(event);
            }
        }
    }

    fn second(&mut self, now: Second) {
        self.now = now;
        (self.joined, self.joined_homeless) = (0, 0);
        self.desk.wake(now);
        for event in std::mem::take(&mut self.calendar[now as usize]) {
            self.happen(event);
        }
        self.take_arrivals();
        self.plan_and_admit();
        self.meter.second(now, &self.islands, self.joined_homeless, self.joined, self.waiting);
    }

    fn plan_and_admit(&mut self) {
        let now = self.now;
        let Some(policy) = self.desk.policy() else { return };
        if policy.has_no_lead() {
            self.admit();
            self.open_until_all_are_in();
            return;
        }
        if now.is_multiple_of(PLAN_EVERY_S) {
            let decision = policy.plan(now);
            if let Some(forecast) = policy.forecast().filter(|_| now >= self.scenario.opens_s) {
                self.meter.forecast(forecast, now);
            }
            self.carry_out(decision);
        }
        self.admit();
    }

    fn open_until_all_are_in(&mut self) {
        while self.waiting > 0 {
            let now = self.now;
            let Some(policy) = self.desk.policy() else { return };
            let (wanted, waited) = (policy.plan(now).open, self.waiting);
            for _ in 0..wanted {
                let island = self.islands.warm();
                self.tell(Notice::Warming(island));
                self.open(island);
            }
            self.admit();
            if self.waiting == waited {
                return;
            }
        }
    }

    fn carry_out(&mut self, decision: Decision) {
        let slots = self.scenario.terms.warm_parallel.saturating_sub(self.islands.sums.warming);
        for _ in 0..decision.open.min(slots) {
            let island = self.islands.warm();
            self.tell(Notice::Warming(island));
            let (law, random) = &mut self.leads;
            let at_s = self.now + law.draw(random);
            self.schedule(at_s, Event::Opens(island));
        }
        for island in decision.retire {
            if self.islands.retire(island) {
                self.tell(Notice::Retired(island));
            }
        }
    }

    fn take_arrivals(&mut self) {
        let crowd = &self.scenario.crowd.arrivals;
        while let Some(arrival) = crowd.get(self.next) {
            if arrival.at_s + self.scenario.opens_s > self.now {
                return;
            }
            let first = ArrivalId(self.next as u32);
            let home = self.homes[arrival.player.0 as usize];
            let entry = home.map_or(Entry::Homeless, Entry::Homecoming);
            let waiter = Waiter { first, player: arrival.player, entry, size: arrival.size };
            for member in waiter.members() {
                let course = &mut self.courses[member.0 as usize];
                (course.state, course.is_homecoming) = (State::Waiting, home.is_some());
            }
            self.next += arrival.size as usize;
            self.waiting += u64::from(arrival.size);
            self.joined += u64::from(arrival.size);
            self.joined_homeless += if home.is_none() { u64::from(arrival.size) } else { 0 };
            self.schedule(self.now + arrival.patience_s, Event::GivesUp(first));
            self.tell(Notice::Joined(waiter));
        }
    }

    fn admit(&mut self) {
        let now = self.now;
        let mut admitted = std::mem::take(&mut self.admitted);
        if let Some(policy) = self.desk.policy() {
            policy.admit(now, &mut admitted);
        }
        for admission in &admitted {
            self.seat(*admission);
        }
        for admission in admitted.drain(..) {
            self.inversions += u64::from(self.is_inversion(admission.arrival));
        }
        self.admitted = admitted;
    }

    fn seat(&mut self, admission: Admission) {
        let Admission { arrival, island, guest } = admission;
        let open = self.islands.get(island).is_some_and(|island| island.is_open());
        let course = &mut self.courses[arrival.0 as usize];
        assert!(open && course.state == State::Waiting, "let in, wrongly: {admission:?}");
        (course.state, course.island) = (State::Admitted, island);
        self.islands.hold(island, true);
        self.waiting -= 1;
        self.guests += u64::from(guest);
        let who = &self.scenario.crowd.arrivals[arrival.0 as usize];
        self.meter.waited(self.now - who.at_s - self.scenario.opens_s);
        match who.vanishes {
            true => self.schedule(self.now + TICKET_S, Event::TicketOver(arrival)),
            false => self.schedule(self.now + who.entry_s, Event::Enters(arrival)),
        }
    }

    /// Whether somebody of the same kind who came earlier still waits.
    fn is_inversion(&mut self, arrival: ArrivalId) -> bool {
        let kind = self.courses[arrival.0 as usize].is_homecoming;
        let head = &mut self.heads[usize::from(kind)];
        let is_behind = |course: &Course| course.state != State::Waiting || course.is_homecoming != kind;
        while *head < self.next && is_behind(&self.courses[*head]) {
            *head += 1;
        }
        *head < arrival.0 as usize
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::GivesUp(first) => self.give_up(first),
            Event::Enters(arrival) => self.enter(arrival),
            Event::TicketOver(arrival) => self.free_seat(arrival, State::Vanished),
            Event::Ends(arrival) => self.end(arrival),
            Event::Resumes(arrival) => self.resume(arrival),
            Event::GraceOver(arrival) => self.grace_over(arrival),
            Event::Opens(island) => self.open(island),
            Event::NodeDies => self.node_dies(),
            Event::AllocatorDies => self.desk.die(self.now),
        }
    }

    fn open(&mut self, island: IslandId) {
        self.islands.open(island, self.now);
        self.tell(Notice::Opened(island));
    }

    fn give_up(&mut self, first: ArrivalId) {
        let size = self.scenario.crowd.arrivals[first.0 as usize].size as usize;
        let members = &mut self.courses[first.0 as usize..][..size];
        let waiting = members.iter_mut().filter(|course| course.state == State::Waiting);
        let gone = waiting.map(|course| course.state = State::GaveUp).count();
        self.waiting -= gone as u64;
        if gone > 0 {
            self.tell(Notice::GaveUp(first));
        }
    }

    fn enter(&mut self, arrival: ArrivalId) {
        let island = self.courses[arrival.0 as usize].island;
        self.come_in(arrival, island);
        self.tell(Notice::Entered(arrival, island));
        let who = &self.scenario.crowd.arrivals[arrival.0 as usize];
        self.schedule(self.now + who.session_s, Event::Ends(arrival));
        let home = &mut self.homes[who.player.0 as usize];
        if who.settles && home.is_none() {
            *home = Some(island);
            self.islands.settle(island);
            self.tell(Notice::Settled(who.player, island));
        }
    }

    fn come_in(&mut self, arrival: ArrivalId, island: IslandId) {
        self.islands.hold(island, false);
        let place = self.islands.enter(island, arrival);
        let course = &mut self.courses[arrival.0 as usize];
        (course.state, course.place) = (State::Inside, place);
    }

    fn end(&mut self, arrival: ArrivalId) {
        let course = self.courses[arrival.0 as usize];
        match course.state {
            State::Inside if self.scenario.crowd.arrivals[arrival.0 as usize].breaks_off => {
                self.lose(arrival, State::Lingering);
            }
            State::Inside => {
                self.go_out(arrival);
                self.courses[arrival.0 as usize].state = State::Left;
                self.tell(Notice::SeatFreed(arrival, course.island));
            }
            // Whoever would have left by now doesn't come back.
            State::Away => self.courses[arrival.0 as usize].state = State::Lingering,
            _ => {}
        }
    }

    fn go_out(&mut self, arrival: ArrivalId) {
        let Course { island, place, .. } = self.courses[arrival.0 as usize];
        if let Some(moved) = self.islands.leave(island, place) {
            self.courses[moved.0 as usize].place = place;
        }
    }

    /// A connection is lost; its seat is held for the grace.
    fn lose(&mut self, arrival: ArrivalId, state: State) {
        self.go_out(arrival);
        let now = self.now;
        let course = &mut self.courses[arrival.0 as usize];
        (course.state, course.lost_s) = (state, now);
        let island = course.island;
        self.islands.hold(island, true);
        self.tell(Notice::Lost(arrival, island));
        self.schedule(now + GRACE_S, Event::GraceOver(arrival));
    }

    fn resume(&mut self, arrival: ArrivalId) {
        let Course { state, island, .. } = self.courses[arrival.0 as usize];
        if state == State::Away {
            self.come_in(arrival, island);
            self.tell(Notice::Resumed(arrival, island));
        }
    }

    fn grace_over(&mut self, arrival: ArrivalId) {
        let Course { state, lost_s, .. } = self.courses[arrival.0 as usize];
        // It may have resumed since, and been lost again.
        if matches!(state, State::Away | State::Lingering) && lost_s + GRACE_S == self.now {
            self.free_seat(arrival, State::Left);
        }
    }

    fn free_seat(&mut self, arrival: ArrivalId, state: State) {
        let course = &mut self.courses[arrival.0 as usize];
        course.state = state;
        let island = course.island;
        self.islands.hold(island, false);
        self.tell(Notice::SeatFreed(arrival, island));
    }

    /// A node is a few islands that opened one after another. Another node takes them at once; most sessions resume.
    fn node_dies(&mut self) {
        let total = self.islands.sums.open + self.islands.sums.warming;
        if total == 0 {
            return;
        }
        let nth = self.troubles.random_range(0..total.div_ceil(NODE_ISLANDS));
        let islands = self.islands.open_from(nth * NODE_ISLANDS + 1, NODE_ISLANDS);
        self.tell(Notice::NodeDied(islands.clone()));
        for island in islands {
            let members = self.islands.get(island).map(|island| island.members.clone()).unwrap_or_default();
            for arrival in members {
                self.lose(arrival, State::Away);
                self.node_losses += 1;
                if !self.troubles.random_bool(NODE_DEATH_LOST_SHARE) {
                    let after = self.troubles.random_range(RESUME_S.0..=RESUME_S.1);
                    self.schedule(self.now + after, Event::Resumes(arrival));
                }
            }
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.desk.tell(notice, self.now);
    }

    fn schedule(&mut self, at_s: Second, event: Event) {
        if let Some(day) = self.calendar.get_mut(at_s as usize) {
            day.push(event);
        }
    }

    fn results(mut self) -> (Figures, Vec<Point>) {
        let mut fates = Fates { arrivals: self.next as u64, ..Fates::default() };
        for (course, who) in self.courses[..self.next].iter().zip(&self.scenario.crowd.arrivals) {
            let fate = match course.state {
                State::ToCome => continue,
                State::Waiting => {
                    self.meter.waited(self.scenario.end_s - who.at_s - self.scenario.opens_s);
                    &mut fates.waiting
                }
                State::Admitted | State::Away | State::Lingering => &mut fates.held,
                State::Inside => &mut fates.inside,
                State::Left => &mut fates.left,
                State::GaveUp => &mut fates.gave_up,
                State::Vanished => &mut fates.vanished,
            };
            *fate += 1;
        }
        self.meter.finish(self.scenario.end_s);
        let mut figures = self.meter.figures(&self.islands, fates);
        figures.guests = self.guests;
        figures.order_inversions = self.inversions;
        figures.node_losses = self.node_losses;
        figures.split_parties = self.split_parties();
        (figures, self.meter.points)
    }

    fn split_parties(&self) -> u64 {
        let islands = |first: usize, size: u32| {
            let members = &self.courses[first..first + size as usize];
            members.iter().map(|course| course.island).filter(|island| *island != IslandId::default())
        };
        let is_split = |(first, size): (usize, u32)| {
            let mut islands = islands(first, size);
            islands.next().is_some_and(|one| islands.any(|other| other != one))
        };
        let arrivals = self.scenario.crowd.arrivals[..self.next].iter().enumerate();
        let parties = arrivals.filter(|(nth, arrival)| arrival.first.0 as usize == *nth && arrival.size > 1);
        parties.filter(|(nth, arrival)| is_split((*nth, arrival.size))).count() as u64
    }
}
