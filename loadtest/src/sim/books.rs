//! What the store was made to do for acts and transfers, commit by commit, as the witness sees it; and what everybody
//! was told, compared with it: every act once, nothing lost, nothing doubled, nobody told wrong.
//!
//! Fed by the arbiter, asked by the cluster. It knows documents and the ledger, not the rules.

use super::cluster::Cluster;
use super::deeds::{Deed, Deeds};
use super::door::Seated;
use chunk_sync::ids::{Epoch, IslandId, NodeId, PlayerId};
use chunk_sync::records::{Whereabouts, decode};
use chunk_sync::store::{Commit, PartitionKey, StoreAnswer, StoreOp, Token};
use chunk_sync::ticket::Ticket;
use chunk_sync::wire::{ActNumber, ActOutcome};
use std::collections::{BTreeMap, BTreeSet};
use world_node::executor::ActResult;
use world_node::rules::{DocName, Event, Partition};
use world_node::witness::{Witness, Writing};

/// What a commit was, for faults that wait for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Noted {
    /// An act's own.
    Act,
    /// A step of a transfer.
    Step,
}

/// A journey that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Journey {
    /// The session that travelled.
    pub epoch: Epoch,
    /// Where it led.
    pub island: IslandId,
    /// When its commit was done.
    pub at_ms: u64,
}

/// What the store did for acts.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    seen: Witness,
    /// Commits that were noted; one that is sent again with its token is answered as before, and isn't done once more.
    tokens: BTreeSet<(PartitionKey, Token)>,
    /// Commits that carried an act, and the results that they left.
    done: BTreeMap<(PlayerId, ActNumber), (PartitionKey, ActResult)>,
    /// What each commit of an act confirmed where it was done, with the act: memory up to there was given up.
    confirmed: BTreeMap<(PartitionKey, PlayerId), BTreeSet<(ActNumber, ActNumber)>>,
    /// Acts whose commits were lost with a master, before anybody was told of them.
    forlorn: BTreeSet<(PlayerId, ActNumber)>,
    /// Where journeys led, in the order of their commits.
    journeys: BTreeMap<PlayerId, Vec<Journey>>,
    /// How often something rare happened.
    pub feats: BTreeMap<&'static str, u64>,
    /// What broke a law.
    pub broken: Option<String>,
}

/// The game's partition with this key.
pub(super) fn partition_of(key: &PartitionKey) -> Option<Partition> {
    let text = key.to_string();
    text.split_once('/')?.1.parse().ok()
}

impl Books {
    /// A commit was there before anything happened: no law asks where it came from.
    pub(super) fn begin_with(&mut self, commit: &Commit) {
        let Some(at) = partition_of(&commit.partition) else { return };
        match Writing::read(at, commit) {
            Ok(writing) => {
                let docs = writing.docs.into_iter().filter_map(|(name, doc)| Some(((at, name), doc?)));
                self.seen.docs.extend(docs);
            }
            Err(why) => self.fail(why),
        }
    }

    fn fail(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }

    /// The store did a commit, or answered it as before.
    pub(super) fn note(&mut self, commit: &Commit, now_ms: u64) -> Option<Noted> {
        let at = partition_of(&commit.partition)?;
        if !self.tokens.insert((commit.partition.clone(), commit.token)) {
            return None;
        }
        let writing = match Writing::read(at, commit) {
            Ok(writing) => writing,
            Err(why) => {
                self.fail(why);
                return None;
            }
        };
        self.note_feats(&writing);
        if let Err(why) = self.seen.note(&writing) {
            self.fail(format!("{why}; by {commit:?}"));
        }
        let Some(act) = &commit.act else {
            let moves = |name: &DocName| matches!(name, DocName::Out(_) | DocName::In(_));
            return writing.docs.iter().any(|(name, _)| moves(name)).then_some(Noted::Step);
        };
        let key = (PlayerId(act.actor), ActNumber(act.id));
        let result = decode::<ActResult>(&act.result).unwrap_or_default();
        if let Some((there, _)) = self.done.insert(key, (commit.partition.clone(), result)) {
            self.fail(format!("act {key:?} was done at {there:?} and at {:?}", commit.partition));
        }
        let confirmed = self.confirmed.entry((commit.partition.clone(), key.0)).or_default();
        confirmed.insert((ActNumber(act.confirmed), key.1));
        for event in &writing.events {
            if let Event::Travelled { player, island } = event {
                let (epoch, island) = (Epoch(act.session_epoch), *island);
                self.journeys.entry(*player).or_default().push(Journey { epoch, island, at_ms: now_ms });
            }
        }
        Some(Noted::Act)
    }

    fn note_feats(&mut self, writing: &Writing) {
        let mut feat = |what: &'static str| *self.feats.entry(what).or_default() += 1;
        for event in &writing.events {
            match event {
                Event::Standing { site } => {
                    if !site.others().is_empty() && !site.kind.spec().claims {
                        feat("built over a border");
                    }
                    let estate = self.seen.get(writing.at, DocName::Estate);
                    if let Some(world_node::rules::documents::Doc::Estate(estate)) = estate
                        && estate.owner != site.builder()
                    {
                        feat("built by leave of an owner");
                    }
                }
                Event::EstateSettled { version, .. } if *version > 1 => feat("rights spread to every copy"),
                Event::Ended { refused: Some(_), .. } => feat("done and taken back"),
                Event::Travelled { .. } => feat("journey begun"),
                _ => {}
            }
        }
    }

    /// Commits of the game that were done.
    pub(super) fn tokens(&self) -> &BTreeSet<(PartitionKey, Token)> {
        &self.tokens
    }

    /// The newest journey that was made in a session before this one.
    pub(super) fn journey_before(&self, player: PlayerId, epoch: Epoch) -> Option<Journey> {
        self.journeys.get(&player)?.iter().rev().find(|journey| journey.epoch < epoch).copied()
    }

    /// The books of a replica take the place of its master's, which had these: what happened has happened, and what
    /// broke stays broken.
    pub(super) fn follow(&mut self, master: &mut Books) {
        self.broken = master.broken.take().or(self.broken.take());
        self.feats = std::mem::take(&mut master.feats);
        self.forlorn = std::mem::take(&mut master.forlorn);
        self.forlorn.extend(master.done.keys().filter(|act| !self.done.contains_key(*act)));
        // Somebody may have been told of what was forgotten there.
        for (at, confirmed) in std::mem::take(&mut master.confirmed) {
            self.confirmed.entry(at).or_default().extend(confirmed);
        }
    }

    /// What is not as it must be once everything has ended.
    pub(super) fn unfinished(&self) -> Option<String> {
        self.seen.unfinished()
    }

    /// Why an answer is wrong, if it is.
    fn is_wrong(&self, key: (PlayerId, ActNumber), deed: &Deed, deeds: &Deeds) -> Option<String> {
        let answer = deed.answer?;
        let result = self.done.get(&key).map(|(_, result)| result);
        let done = result.is_some_and(|result| self.seen.is_done(result));
        let right = match answer.outcome {
            ActOutcome::Done => done && result.is_some_and(|result| self.seen.is_settled(result)),
            ActOutcome::Refused => !done,
            ActOutcome::Over => {
                let unseen = answer.later || self.forlorn.contains(&key);
                may_be_over(result, unseen, answer.later && self.is_given_up(key, deed, deeds))
            }
            ActOutcome::Waiting => false,
        };
        (!right).then(|| {
            format!(
                "{key:?} of bot {} was told {answer:?} of {:?}, asked at {}; the store: {result:?}",
                deed.bot, deed.action, deed.asked_ms
            )
        })
    }

    /// Whether another client of the same player has confirmed past an act where it was done.
    fn is_given_up(&self, (player, act): (PlayerId, ActNumber), deed: &Deed, deeds: &Deeds) -> bool {
        let at = self.done.get(&(player, act)).map(|(at, _)| (at.clone(), player));
        let mut confirmed = at.and_then(|at| self.confirmed.get(&at)).into_iter().flatten();
        let is_others = |by: ActNumber| deeds.asked.get(&(player, by)).is_some_and(|by| by.bot != deed.bot);
        confirmed.any(|(confirmed, by)| *confirmed >= act && is_others(*by))
    }
}

/// Whether an act may be told over: one that was done only if it sent something, since anybody may finish a transfer and
/// then nobody remembers how it ended, or if another client of its player gave up what its home remembered; any other only
/// if an earlier session asked for it, or it was done by a commit that is lost.
fn may_be_over(result: Option<&ActResult>, unseen: bool, given_up: bool) -> bool {
    match result {
        Some(done) if done.refused.is_none() => done.transfer.is_some() || given_up,
        _ => unseen,
    }
}

impl Cluster {
    /// Whether somebody was told something that isn't so.
    pub(super) fn told_wrong(&self) -> Option<String> {
        let books = &self.store.books;
        self.deeds.asked.iter().find_map(|(key, deed)| books.is_wrong(*key, deed, &self.deeds))
    }

    /// Whether a ticket is a guest's.
    fn is_guest(&self, seated: &Seated) -> bool {
        let keys = self.keys();
        let nodes = (1..=self.nodes.len() as u32).map(NodeId);
        let mut tickets = nodes.filter_map(|node| Ticket::check(&seated.ticket, &keys, 0, node).ok());
        tickets.next().is_some_and(|ticket| ticket.guest)
    }

    /// At the door: who travelled is at home where the journey led, and comes in there, or is a guest since there was no
    /// room. An allocator that has just started keeps seats free for the tickets of the one before, so that an island
    /// may be full to it that has room for everybody.
    pub(super) fn check_journey(&mut self, at: usize, player: PlayerId, epoch: Epoch, island: IslandId) {
        let Some(journey) = self.store.books.journey_before(player, epoch) else { return };
        let wanted = journey.island;
        let newest = self.store.books.journey_before(player, Epoch(u32::MAX)).map(|journey| journey.island);
        let load = StoreOp::Load { partition: PartitionKey::player(player) };
        let home = match self.store.peek(&load, self.now_ms) {
            StoreAnswer::Loaded(view) => Whereabouts::read(&view).ok().flatten().map(Whereabouts::island),
            _ => None,
        };
        // What was asked for before the journey was done, the allocator may have looked up before.
        let may_be_guest = |seated: &Seated| {
            self.is_guest(seated) && (!seated.roomy.contains(&wanted) || seated.joined_ms <= journey.at_ms)
        };
        let is_guest = wanted != island && self.seated.get(&(player, island)).is_some_and(may_be_guest);
        let feat = if is_guest { "guest after a journey" } else { "came in after a journey" };
        *self.totals.feats.entry(feat).or_default() += 1;
        if home != newest || (wanted != island && !is_guest) {
            let name = &self.bots[at].name;
            self.watch.fail(format!(
                "{name} (bot {at}) travelled to island {wanted} and came in on island {island}, epoch {epoch:?}; \
                 at home on {home:?}, the newest journey led to {newest:?}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::deeds::Answer;
    use world_node::rules::recipes::Recipe;
    use world_node::rules::{ActId, Action, Sender, TransferId};

    const PLAYER: PlayerId = PlayerId(1);

    fn number(epoch: u32, act: u32) -> ActNumber {
        ActNumber::new(Epoch(epoch), act)
    }

    fn deed(bot: usize, later: bool) -> Deed {
        let answer = Some(Answer { outcome: ActOutcome::Over, code: 0, later });
        Deed { bot, action: Action::Craft { recipe: Recipe::Rope }, asked_ms: 0, answer }
    }

    #[test]
    fn what_is_done_without_a_transfer_is_never_told_over() {
        let key = (PLAYER, number(1, 1));
        let act = ActId { player: key.0, epoch: Epoch(1), island: IslandId(1), act: 1 };
        let done = ActResult::default();
        let refused = ActResult { refused: Some(200), ..done };
        let sent = ActResult { transfer: Some(TransferId { act, sender: Sender::Player, step: 0 }), ..done };
        let is_wrong = |result: Option<ActResult>, later| {
            let mut books = Books::default();
            let at = PartitionKey::player(key.0);
            books.done.extend(result.map(|result| (key, (at, result))));
            books.is_wrong(key, &deed(0, later), &Deeds::default()).is_some()
        };
        for (result, at_once, later) in [
            (None, true, false),
            (Some(refused), true, false),
            (Some(sent), false, false),
            (Some(done), true, true),
        ] {
            assert_eq!((is_wrong(result, false), is_wrong(result, true)), (at_once, later), "{result:?}");
        }
    }

    #[test]
    fn only_another_client_gives_up_what_a_home_remembers() {
        let (first, newer) = (number(1, 1), number(2, 1));
        // Who confirms, from which client, where, and how far.
        let is_wrong = |bot, at: PartitionKey, confirmed, later| {
            let mut books = Books::default();
            books.done.insert((PLAYER, first), (PartitionKey::player(PLAYER), ActResult::default()));
            books.confirmed.entry((at, PLAYER)).or_default().insert((confirmed, newer));
            let mut deeds = Deeds::default();
            deeds.asked.insert((PLAYER, newer), deed(bot, false));
            books.is_wrong((PLAYER, first), &deed(0, later), &deeds).is_some()
        };
        let (home, elsewhere) = (PartitionKey::player(PLAYER), PartitionKey::player(PlayerId(2)));
        assert!(!is_wrong(1, home.clone(), number(2, 0), true));
        assert!(is_wrong(0, home.clone(), number(2, 0), true), "a client knows what it waits for");
        assert!(is_wrong(1, home.clone(), number(1, 0), true), "it is remembered");
        assert!(is_wrong(1, home, number(2, 0), false), "the newer session ends this one");
        assert!(is_wrong(1, elsewhere, number(2, 0), true));
    }
}
