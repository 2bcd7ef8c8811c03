//! The channel between members as ZeroMQ gives it: a link for each subscriber and publisher, subscriptions that take
//! effect at the publisher only when they get there, whole messages that may be lost. On top of that what ZeroMQ
//! wouldn't do, since the cores must bear it: messages doubled and out of order, when the weather says so.
//!
//! Called by the cluster. It knows topics as bytes and nothing of what they mean.

use super::events::{Event, Events, Process};
use super::limits::{HELD_MESSAGES_MAX, REDIAL_MS};
use bytes::Bytes;
use chunk_sync::ids::Source;
use chunk_sync::mesh_wire::TopicBytes;
use chunk_sync::random::{RngExt, Stream, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One making of the link from a publisher to a subscriber.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Route {
    pub publisher: Source,
    pub subscriber: Source,
    pub generation: u32,
}

/// Everything that a subscriber takes, and how new that is.
#[derive(Clone, Debug, Default)]
pub(super) struct TopicChange {
    version: u64,
    topics: Arc<BTreeSet<TopicBytes>>,
}

/// What the network does to messages.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Weather {
    /// Shortest and longest way of a message.
    pub delay_ms: (u64, u64),
    /// Share of messages that are lost.
    pub loss: f64,
    /// Share of messages that come twice.
    pub doubled: f64,
    /// Share of messages that may overtake others.
    pub overtaking: f64,
}

/// What happens to messages over a cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CutMode {
    /// They are lost.
    Lose,
    /// They come when the cut is mended, as far as there was room for them.
    Hold,
    /// The links break and are made anew when the cut is mended.
    Break,
}

/// A cut between some members and all others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    pub number: usize,
    pub side: BTreeSet<Process>,
    pub mode: CutMode,
    /// Only what that side says is cut; it still hears the others.
    pub one_way: bool,
}

#[derive(Debug)]
struct Link {
    generation: u32,
    up: bool,
    /// What the publisher knows that the subscriber takes.
    known: TopicChange,
    /// When the last message arrives.
    last_ms: u64,
    held: Vec<(TopicBytes, Bytes)>,
}

#[derive(Debug)]
struct Member {
    process: Process,
    wanted: TopicChange,
}

/// The network between members.
#[derive(Debug)]
pub(super) struct MeshNet {
    pub weather: Weather,
    /// Messages that were delivered, lost or dropped.
    pub delivered: u64,
    pub lost: u64,
    members: BTreeMap<Source, Member>,
    links: BTreeMap<(Source, Source), Link>,
    cuts: Vec<Cut>,
    generations: u32,
    random: Stream,
}

impl MeshNet {
    pub(super) fn new(seed: u64, weather: Weather) -> Self {
        Self {
            weather,
            delivered: 0,
            lost: 0,
            members: BTreeMap::new(),
            links: BTreeMap::new(),
            cuts: Vec::new(),
            generations: 0,
            random: stream(seed, "mesh"),
        }
    }

    /// A member is there.
    pub(super) fn join(&mut self, source: Source, process: Process) {
        self.members.insert(source, Member { process, wanted: TopicChange::default() });
    }

    /// A member's process ended: its links end, those to it are dialled in vain.
    pub(super) fn leave(&mut self, source: Source, now_ms: u64, events: &mut Events) {
        self.members.remove(&source);
        self.links.retain(|(_, subscriber), _| *subscriber != source);
        self.break_links(|publisher, _| publisher == source, now_ms, events);
    }

    /// Links `subscriber` to `publisher`, or makes the link anew.
    pub(super) fn connect(
        &mut self,
        publisher: Source,
        subscriber: Source,
        now_ms: u64,
        events: &mut Events,
    ) {
        self.generations += 1;
        let generation = self.generations;
        let known = TopicChange::default();
        let link = Link { generation, up: false, known, last_ms: now_ms, held: Vec::new() };
        self.links.insert((publisher, subscriber), link);
        let at_ms = now_ms + self.way_ms() + self.way_ms();
        events.plan(at_ms, Event::LinkUp(Route { publisher, subscriber, generation }));
    }

    pub(super) fn disconnect(&mut self, publisher: Source, subscriber: Source) {
        self.links.remove(&(publisher, subscriber));
    }

    /// What a member takes changed: its publishers will hear of it.
    pub(super) fn subscribe(
        &mut self,
        subscriber: Source,
        changes: &[(TopicBytes, bool)],
        now_ms: u64,
        events: &mut Events,
    ) {
        let Some(member) = self.members.get_mut(&subscriber) else { return };
        let topics = Arc::make_mut(&mut member.wanted.topics);
        for (topic, takes) in changes {
            if *takes {
                topics.insert(*topic);
            } else {
                topics.remove(topic);
            }
        }
        member.wanted.version += 1;
        let wanted = member.wanted.clone();
        let links = self.links.iter().filter(|((_, s), link)| *s == subscriber && link.up);
        let routes: Vec<Route> = links
            .map(|((publisher, _), link)| Route {
                publisher: *publisher,
                subscriber,
                generation: link.generation,
            })
            .collect();
        for route in routes {
            events.plan(now_ms + self.way_ms(), Event::Topics(route, wanted.clone()));
        }
    }

    /// A dialled link: there now, if the publisher can be reached; else it is dialled again.
    pub(super) fn link_up(&mut self, route: Route, now_ms: u64, events: &mut Events) {
        let Some(subscriber) = self.members.get(&route.subscriber) else { return };
        let wanted = subscriber.wanted.clone();
        let publisher = self.members.get(&route.publisher).map(|m| m.process);
        let reached = publisher.is_some_and(|p| {
            self.cut(p, subscriber.process).is_none() && self.cut(subscriber.process, p).is_none()
        });
        let Some(link) = self.link_mut(route) else { return };
        if reached {
            link.up = true;
            events.plan(now_ms + self.way_ms(), Event::Topics(route, wanted));
        } else {
            events.plan(now_ms + REDIAL_MS, Event::LinkUp(route));
        }
    }

    /// News of what a subscriber takes is at the publisher, unless a cut holds it up.
    pub(super) fn topics(&mut self, route: Route, change: TopicChange, now_ms: u64, events: &mut Events) {
        let sides = self.members.get(&route.subscriber).zip(self.members.get(&route.publisher));
        let Some((subscriber, publisher)) = sides.map(|(s, p)| (s.process, p.process)) else { return };
        if self.cut(subscriber, publisher).is_some() {
            return events.plan(now_ms + REDIAL_MS, Event::Topics(route, change));
        }
        if let Some(link) = self.link_mut(route)
            && link.known.version <= change.version
        {
            link.known = change;
        }
    }

    /// A member says something to all who take the topic.
    pub(super) fn publish(
        &mut self,
        publisher: Source,
        topic: TopicBytes,
        body: &Bytes,
        now_ms: u64,
        events: &mut Events,
    ) {
        let Some(process) = self.members.get(&publisher).map(|m| m.process) else { return };
        let all = (publisher, Source(0))..=(publisher, Source(u32::MAX));
        let takers: Vec<Route> = self
            .links
            .range(all)
            .filter(|(_, link)| link.up && link.known.topics.contains(&topic))
            .map(|((publisher, subscriber), link)| Route {
                publisher: *publisher,
                subscriber: *subscriber,
                generation: link.generation,
            })
            .collect();
        for route in takers {
            let taker = self.members.get(&route.subscriber).map(|m| m.process);
            match taker.and_then(|taker| self.cut(process, taker)) {
                Some(CutMode::Hold) => {
                    if let Some(link) =
                        self.link_mut(route).filter(|link| link.held.len() < HELD_MESSAGES_MAX)
                    {
                        link.held.push((topic, body.clone()));
                    } else {
                        self.lost += 1;
                    }
                }
                Some(_) => self.lost += 1,
                None => self.send(route, topic, body, now_ms, events),
            }
        }
    }

    fn send(&mut self, route: Route, topic: TopicBytes, body: &Bytes, now_ms: u64, events: &mut Events) {
        if self.draw(self.weather.loss) {
            self.lost += 1;
            return;
        }
        let mut at_ms = now_ms + self.way_ms();
        let (overtakes, doubled) = (self.draw(self.weather.overtaking), self.draw(self.weather.doubled));
        if let Some(link) = self.link_mut(route)
            && !overtakes
        {
            at_ms = at_ms.max(link.last_ms);
            link.last_ms = at_ms;
        }
        events.plan(at_ms, Event::Mesh(route, topic, body.clone()));
        if doubled {
            events.plan(at_ms + self.way_ms(), Event::Mesh(route, topic, body.clone()));
        }
    }

    /// A message arrives: whose it is now, if the link still stands.
    pub(super) fn arrive(&mut self, route: Route) -> Option<Process> {
        let stands = self.links.get(&(route.publisher, route.subscriber))?.generation == route.generation;
        let process = self.members.get(&route.subscriber)?.process;
        self.delivered += u64::from(stands);
        stands.then_some(process)
    }

    /// Cuts the network.
    pub(super) fn begin_cut(&mut self, cut: Cut, now_ms: u64, events: &mut Events) {
        if cut.mode == CutMode::Break {
            let crosses = |a: Option<&Member>, b: Option<&Member>| {
                a.zip(b).is_some_and(|(a, b)| cut.side.contains(&a.process) != cut.side.contains(&b.process))
            };
            let members = std::mem::take(&mut self.members);
            self.break_links(|p, s| crosses(members.get(&p), members.get(&s)), now_ms, events);
            self.members = members;
        }
        self.cuts.push(cut);
    }

    /// Mends the cut with this number; what it held back comes.
    pub(super) fn end_cut(&mut self, number: usize, now_ms: u64, events: &mut Events) {
        self.cuts.retain(|cut| cut.number != number);
        let held: Vec<(Route, Vec<(TopicBytes, Bytes)>)> = self
            .links
            .iter_mut()
            .filter(|(_, link)| !link.held.is_empty())
            .map(|((publisher, subscriber), link)| {
                let route =
                    Route { publisher: *publisher, subscriber: *subscriber, generation: link.generation };
                (route, std::mem::take(&mut link.held))
            })
            .collect();
        for (route, messages) in held {
            for (topic, body) in messages {
                self.send(route, topic, &body, now_ms, events);
            }
        }
    }

    fn break_links(&mut self, breaks: impl Fn(Source, Source) -> bool, now_ms: u64, events: &mut Events) {
        for ((publisher, subscriber), link) in &mut self.links {
            if breaks(*publisher, *subscriber) {
                self.generations += 1;
                link.generation = self.generations;
                (link.up, link.known) = (false, TopicChange::default());
                link.held.clear();
                let route =
                    Route { publisher: *publisher, subscriber: *subscriber, generation: link.generation };
                events.plan(now_ms + REDIAL_MS, Event::LinkUp(route));
            }
        }
    }

    /// How what `from` says to `to` is cut.
    fn cut(&self, from: Process, to: Process) -> Option<CutMode> {
        let cuts = |cut: &&Cut| {
            let (a, b) = (cut.side.contains(&from), cut.side.contains(&to));
            a != b && (a || !cut.one_way)
        };
        self.cuts.iter().find(cuts).map(|cut| cut.mode)
    }

    fn link_mut(&mut self, route: Route) -> Option<&mut Link> {
        let link = self.links.get_mut(&(route.publisher, route.subscriber))?;
        (link.generation == route.generation).then_some(link)
    }

    fn way_ms(&mut self) -> u64 {
        let (least, most) = self.weather.delay_ms;
        self.random.random_range(least..=most)
    }

    fn draw(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.random_bool(share)
    }
}
