//! Everybody who will come, drawn before the simulation begins: the same for every policy.
//!
//! Each law has a stream of its own, so that more patience changes nobody's session.

use chunk_sync::random::{self, RngExt, Stream};

use super::allocation::{ArrivalId, Player, Second};
use super::curves::{Expected, Span};
use super::laws::{self, LongTail, Sessions};
use super::limits::{DAY_S, ENTRY_S_MAX, GRACE_S, PARTY_SIZES, TICKET_S};

/// The shares that make up a crowd, each 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Shares {
    /// Of newcomers who come with friends.
    pub party: f64,
    /// Of newcomers who make a home where they land.
    pub resident: f64,
    /// Of the second day's arrivals who were there on the first.
    pub returning: f64,
    /// Of connections that are lost instead of ended.
    pub lost: f64,
}

/// Whoever comes, and what they will do if they are let.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When.
    pub at_s: Second,
    /// Who.
    pub player: Player,
    /// Was there on an earlier day.
    pub returns: bool,
    /// The first of the party, itself when alone.
    pub first: ArrivalId,
    /// Members of the party.
    pub size: u32,
    /// How long the player waits before giving up; a party gives up with its first.
    pub patience_s: Second,
    /// Time from being let in to being inside.
    pub entry_s: Second,
    /// How long the player stays.
    pub session_s: Second,
    /// Makes a home on the first island that it sees.
    pub settles: bool,
    /// Loses the connection while it waits, and doesn't come back: the ticket isn't used.
    pub vanishes: bool,
    /// Ends by losing the connection: the seat is held for the grace.
    pub breaks_off: bool,
}

/// Everybody, in the order of coming.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Crowd {
    /// The arrivals.
    pub arrivals: Vec<Arrival>,
    /// Different players.
    pub players: u32,
}

struct Streams {
    counts: Stream,
    sessions: Stream,
    patience: Stream,
    parties: Stream,
    returns: Stream,
    habits: Stream,
}

impl Crowd {
    /// Draws everybody from a seed.
    pub fn draw(
        expected: &Expected,
        dispersion: f64,
        sessions: &Sessions,
        patience: &LongTail,
        shares: Shares,
        seed: u64,
    ) -> Self {
        let stream = |name: &str| random::stream(seed, &format!("launch {name}"));
        let mut streams = Streams {
            counts: stream("counts"),
            sessions: stream("sessions"),
            patience: stream("patience"),
            parties: stream("parties"),
            returns: stream("returns"),
            habits: stream("habits"),
        };
        let (mut crowd, mut known, mut owed) = (Self::default(), None, 0.0);
        for span in &expected.spans {
            let count = match expected.counted {
                true => whole(span.players, &mut owed),
                false => laws::count(span.players, dispersion, &mut streams.counts),
            };
            let from = crowd.arrivals.len();
            for at_s in seconds_in(span, count, &mut streams.counts) {
                let player = (at_s >= DAY_S).then(|| {
                    let known = known.get_or_insert_with(|| crowd.known_players(&mut streams.returns));
                    streams.returns.random_bool(shares.returning).then(|| known.pop()).flatten()
                });
                crowd.add(at_s, player.flatten(), sessions, patience, shares, &mut streams);
            }
            crowd.befriend(from, shares.party, &mut streams.parties);
        }
        crowd
    }

    fn add(
        &mut self,
        at_s: Second,
        known: Option<Player>,
        sessions: &Sessions,
        patience: &LongTail,
        shares: Shares,
        streams: &mut Streams,
    ) {
        let player = known.unwrap_or(Player(self.players));
        self.players += u32::from(known.is_none());
        self.arrivals.push(Arrival {
            at_s,
            player,
            returns: known.is_some(),
            first: ArrivalId(self.arrivals.len() as u32),
            size: 1,
            patience_s: patience.draw(&mut streams.patience),
            entry_s: streams.habits.random_range(1..=ENTRY_S_MAX),
            session_s: sessions.draw(&mut streams.sessions),
            settles: streams.habits.random_bool(shares.resident),
            vanishes: streams.habits.random_bool(shares.lost),
            breaks_off: streams.habits.random_bool(shares.lost),
        });
    }

    /// Makes parties of neighbours from `from` on: they come together, and give up together.
    fn befriend(&mut self, from: usize, share: f64, random: &mut Stream) {
        let mean = f64::from(PARTY_SIZES.0 + PARTY_SIZES.1) / 2.0;
        let begins = share / (mean - (mean - 1.0) * share);
        let mut nth = from;
        while nth < self.arrivals.len() {
            let wanted = match random.random_bool(begins) {
                true => random.random_range(PARTY_SIZES.0..=PARTY_SIZES.1) as usize,
                false => 1,
            };
            let first = self.arrivals[nth];
            // Who has been here may have a home, and goes there alone.
            let new = self.arrivals[nth..].iter().take(wanted).take_while(|arrival| !arrival.returns);
            let size = new.count().max(1);
            for member in &mut self.arrivals[nth..nth + size] {
                let Arrival { at_s, patience_s, .. } = first;
                let (first, size) = (ArrivalId(nth as u32), size as u32);
                *member = Arrival { at_s, patience_s, first, size, ..*member };
            }
            nth += size;
        }
    }

    /// Players of the first day who can be home again before the second, whatever a policy did to them, shuffled.
    fn known_players(&self, random: &mut Stream) -> Vec<Player> {
        let is_over = |arrival: &&Arrival| {
            let stay = arrival.patience_s + TICKET_S + arrival.session_s + GRACE_S;
            arrival.at_s + stay < DAY_S
        };
        let mut known: Vec<Player> =
            self.arrivals.iter().filter(is_over).map(|arrival| arrival.player).collect();
        for nth in (1..known.len()).rev() {
            known.swap(nth, random.random_range(0..=nth));
        }
        known
    }
}

/// A count of whole players; what is left over is owed to the next.
fn whole(players: f64, owed: &mut f64) -> u32 {
    let due = players + *owed;
    let whole = (due + 1e-6).floor().max(0.0);
    *owed = due - whole;
    whole as u32
}

fn seconds_in(span: &Span, count: u32, random: &mut Stream) -> Vec<Second> {
    let mut seconds: Vec<Second> = (0..count).map(|_| random.random_range(span.from_s..span.to_s)).collect();
    seconds.sort_unstable();
    seconds
}
