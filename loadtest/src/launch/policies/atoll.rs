//! Atoll's own policy: the allocator's demand, islands and planner, as they run live, on the simulator's clock.

use std::collections::HashMap;

use chunk_sync::ids::IslandId;
use chunk_sync::records::{IslandPhase, IslandRecord, PlanRecord};
use population_allocator::demand::{self, Outlook, Peak};
use population_allocator::islands::{Islands, founded};
use population_allocator::limits::MEAN_SESSION_MS;
use population_allocator::planner::{self, Situation};
use population_allocator::policy::Policy;

use super::super::allocation::{
    Admission, Allocation, ArrivalId, Decision, Entry, Forecast, Notice, Second, Terms, Waiter,
};
use super::super::queue::Queue;

const S_MS: u64 = 1_000;

/// The allocator's decisions, without its sockets and store.
#[derive(Clone, Debug)]
pub(super) struct Atoll {
    terms: Terms,
    policy: Policy,
    plan: PlanRecord,
    islands: Islands,
    forecast: demand::Forecast,
    peak: Peak,
    queue: Queue,
    /// Who was let in and is not inside yet, by arrival.
    held: HashMap<ArrivalId, IslandId>,
    /// Who was left waiting for land when people were last let in.
    left_over: u64,
}

/// The policy at its start.
pub(super) fn policy(terms: Terms) -> Atoll {
    let policy = Policy {
        design: terms.design,
        cap: terms.cap,
        minimum: terms.minimum,
        islands: 1,
        islands_max: u32::MAX,
        warm_parallel: terms.warm_parallel,
        spare_islands: 1,
        plan_every_ms: u64::from(terms.plan_every_s) * S_MS,
        lead_ms: u64::from(terms.lead_s) * S_MS,
        ..Policy::default()
    };
    Atoll {
        terms,
        policy,
        plan: PlanRecord::default(),
        islands: Islands::new(policy.residents_permille),
        forecast: demand::Forecast::new(policy.plan_every_ms),
        peak: Peak::default(),
        queue: Queue::default(),
        held: HashMap::new(),
        left_over: 0,
    }
}

fn ms(second: Second) -> u64 {
    u64::from(second) * S_MS
}

impl Atoll {
    /// The simulator has an island: of those that this policy decided on, or one of those that were there before.
    fn know(&mut self, id: IslandId, phase: IslandPhase, now: Second) {
        if self.islands.get(id).is_none() {
            self.islands.add(founded(id, &self.policy, ms(now)));
        }
        self.islands.change(id, |island| island.phase = phase);
        match self.plan.islands.binary_search_by_key(&id, |record| record.island) {
            Ok(at) => self.plan.islands[at].phase = phase,
            Err(at) => {
                let numbers = [self.policy.design, self.policy.cap, self.policy.minimum];
                let record = IslandRecord { phase, ..IslandRecord::open(id, numbers, Vec::new()) };
                self.plan.islands.insert(at, record);
            }
        }
        self.plan.last_island = self.plan.last_island.max(id.0);
    }

    fn lead_ms(&self) -> u64 {
        self.policy.lead_ms + 2 * self.policy.plan_every_ms
    }

    fn announcement(&self) -> Option<demand::Announcement> {
        self.terms.announcement.map(|announced| demand::Announcement {
            opens_ms: ms(announced.opens_s),
            peak_per_s: announced.peak_per_s,
            burst_ms: ms(announced.burst_s),
        })
    }
}

/// Where those who wait together can be let in now: on one island, unless they are more than any is made for.
fn place(islands: &mut Islands, waiter: &Waiter, design: u32) -> Option<Vec<(IslandId, bool)>> {
    let guest = match waiter.entry {
        Entry::Homecoming(home) if islands.takes_home(home, waiter.size) => {
            return Some(vec![(home, false); waiter.size as usize]);
        }
        Entry::Homecoming(_) => true,
        Entry::Homeless => false,
    };
    let mut places: Vec<(IslandId, bool)> = Vec::new();
    while places.len() < waiter.size as usize {
        let together = (waiter.size - places.len() as u32).min(design);
        let found = islands.for_settlers(together);
        if let Some(island) = found {
            islands.change(island, |island| island.held += together);
            places.extend(std::iter::repeat_n((island, guest), together as usize));
        }
        if found.is_none() || places.len() == waiter.size as usize {
            // Whoever lets them in counts them.
            places.iter().for_each(|(island, _)| islands.change(*island, |island| island.held -= 1));
            return found.map(|_| places);
        }
    }
    Some(places)
}

impl Allocation for Atoll {
    fn label(&self) -> &'static str {
        "atoll"
    }

    fn explained(&self) -> &'static str {
        "Atoll's own. Counts arrivals at the door, looks ahead by the time that an island takes to open, and opens what will be \
         missing by then, with a margin for chance; keeps an island's worth of seats free. Nobody is sent above the design population but \
         those who live there."
    }

    fn notice(&mut self, notice: &Notice, now: Second) {
        match notice {
            Notice::Joined(waiter) => {
                // Who comes home needs no land.
                if waiter.entry == Entry::Homeless {
                    self.forecast.arrive(u64::from(waiter.size), ms(now));
                }
                self.queue.join(*waiter);
            }
            Notice::GaveUp(first) => self.queue.cancel(*first),
            Notice::Entered(arrival, island) => {
                self.held.remove(arrival);
                self.islands.change(*island, |island| {
                    (island.inside, island.held) = (island.inside + 1, island.held - 1);
                });
            }
            Notice::Settled(_, island) => self.islands.change(*island, |island| {
                (island.residents, island.estates) = (island.residents + 1, island.estates + 1);
            }),
            // A seat is the player's until it is freed: a dead node's sessions are not counted down.
            Notice::Lost(..) | Notice::Resumed(..) | Notice::NodeDied(_) => {}
            Notice::SeatFreed(arrival, island) => {
                let was_held = self.held.remove(arrival).is_some();
                self.forecast.leave(1, ms(now));
                self.islands.change(*island, |island| match was_held {
                    true => island.held -= 1,
                    false => island.inside -= 1,
                });
            }
            Notice::Warming(island) => self.know(*island, IslandPhase::Warming, now),
            Notice::Opened(island) => self.know(*island, IslandPhase::Open, now),
            Notice::Retired(island) => {
                self.islands.retain(|known| known.id != *island);
                self.plan.islands.retain(|known| known.island != *island);
            }
        }
    }

    fn admit(&mut self, _: Second, admitted: &mut Vec<Admission>) {
        let Self { islands, held, queue, terms, .. } = self;
        let mut stuck = [false; 2];
        queue.serve(|waiter| {
            let Some(places) = place(islands, waiter, terms.design) else {
                stuck[usize::from(waiter.entry == Entry::Homeless)] = true;
                return false;
            };
            for (arrival, (island, guest)) in waiter.members().zip(places) {
                held.insert(arrival, island);
                islands.change(island, |island| island.held += 1);
                admitted.push(Admission { arrival, island, guest });
            }
            true
        });
        let (all, homeless) = (queue.players(), queue.homeless());
        self.left_over = if stuck[0] { all - homeless } else { 0 } + if stuck[1] { homeless } else { 0 };
    }

    fn plan(&mut self, now: Second) -> Decision {
        let now_ms = ms(now);
        self.forecast.advance(now_ms);
        let announced = self.announcement();
        let seats = announced.and_then(|opening| opening.seats(&self.policy, self.policy.lead_ms, now_ms));
        let outlook = Outlook {
            queue: self.left_over,
            inside: self.islands.inside() + self.islands.held(),
            horizon_ms: self.lead_ms(),
            opening: announced.is_some_and(|opening| opening.is_on(now_ms)),
            scheduled: seats.unwrap_or(1),
        };
        let demand = self.forecast.demand(&outlook);
        let peak = self.peak.note(demand.seats, now_ms, 2 * MEAN_SESSION_MS);
        let decision = planner::decide(
            &self.plan,
            &Situation {
                policy: &self.policy,
                now_ms,
                nodes: &[],
                islands: &self.islands,
                // The simulator says when an island is open.
                is_ready: &|_| false,
                demand,
                peak,
            },
        );
        let Some(next) = decision.plan else { return Decision::default() };
        let known = self.plan.last_island;
        let open = next.islands.iter().filter(|island| island.island.0 > known).count() as u32;
        let stays = |id: IslandId| next.islands.binary_search_by_key(&id, |island| island.island).is_ok();
        let gone = self.plan.islands.iter().map(|island| island.island).filter(|id| !stays(*id));
        let retire = gone.collect();
        // Islands that were closed or opened again need nobody else; new ones are known when the simulator tells of them.
        for record in next.islands.iter().filter(|record| record.island.0 <= known) {
            self.islands.change(record.island, |island| island.phase = record.phase);
        }
        self.plan.number = next.number;
        for record in &mut self.plan.islands {
            if let Ok(at) = next.islands.binary_search_by_key(&record.island, |island| island.island) {
                record.phase = next.islands[at].phase;
            }
        }
        Decision { open, retire }
    }

    fn forecast(&self) -> Option<Forecast> {
        let horizon_s = (self.lead_ms() / S_MS) as Second;
        Some(Forecast { horizon_s, homeless: self.forecast.within(self.lead_ms()) })
    }

    fn restored(&self) -> Box<dyn Allocation> {
        // Plan, queue and seats are in the store; arrivals and what was wanted lately are counted anew.
        let forecast = demand::Forecast::new(self.policy.plan_every_ms);
        Box::new(Self { forecast, peak: Peak::default(), ..self.clone() })
    }
}
