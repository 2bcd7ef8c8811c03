//! Acts: what an actor (a player, a finisher of transfers) wants done exactly once, however often it is sent.
//!
//! A commit may carry an [`Act`]; the partition then remembers its result with the commit, in the same step, and
//! answers a repeat from memory. What one partition remembers of one actor is an [`ActorMemory`]; its rules are
//! here, backends only keep it. Ids are compared within one actor and one partition, nowhere else.

use bytes::Bytes;

use super::commit::Token;
use super::limits::ACTS_PER_ACTOR_MAX;
use super::outcome::Refusal;

/// What an actor wants done once.
///
/// Memory ends some day ([`ACTOR_IDLE_MS`](super::ACTOR_IDLE_MS) after the actor's last act here): a commit that
/// may be sent again for long also carries a `not_after` within that time, so that a repeat which nobody remembers
/// any more comes too late instead of happening twice. Who makes new commits for the same act stops asking within
/// that time ([`ACT_RESENT_MS_MAX`](crate::limits::ACT_RESENT_MS_MAX)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Act {
    /// Who acts.
    pub actor: u64,
    /// The epoch of the actor's session; an act of an older one than this partition has seen is refused.
    pub session_epoch: u32,
    /// The act's number; grows with each act of the actor, and is the same on every resend.
    pub id: u64,
    /// The actor has the answers to all its acts up to this id: they may be forgotten. Less than `id`.
    pub confirmed: u64,
    /// What a repeat is answered with, at most [`ACT_RESULT_MAX_BYTES`](super::ACT_RESULT_MAX_BYTES).
    pub result: Bytes,
}

/// One act that was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RememberedAct {
    /// Its id.
    pub id: u64,
    /// The commit that did it.
    pub token: Token,
    /// Its result.
    pub result: Bytes,
}

/// What a partition remembers of one actor.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ActorMemory {
    /// The newest session epoch that was seen here.
    pub session_epoch: u32,
    /// Acts up to this id are forgotten.
    pub forgotten: u64,
    /// The store's clock at the actor's last act here, Unix time in ms.
    pub seen_ms: u64,
    /// The acts that are remembered, in the order in which they were done.
    pub acts: Vec<RememberedAct>,
}

impl ActorMemory {
    /// What memory alone says against doing `act` now.
    pub fn judge(&self, act: &Act) -> Option<Refusal> {
        if let Some(known) = self.acts.iter().find(|known| known.id == act.id) {
            return Some(Refusal::Repeated { token: known.token, result: known.result.clone() });
        }
        if act.id <= self.forgotten {
            return Some(Refusal::ActForgotten { forgotten: self.forgotten });
        }
        if act.session_epoch < self.session_epoch {
            return Some(Refusal::ActFenced { newest: self.session_epoch });
        }
        None
    }

    /// Whether `act` can be remembered too, once what it confirms is forgotten.
    pub fn has_room(&self, act: &Act) -> bool {
        self.acts.iter().filter(|known| known.id > act.confirmed).count() < ACTS_PER_ACTOR_MAX
    }

    /// Remembers that the commit `token` did `act` at `now_ms`, and forgets what the actor has confirmed.
    pub fn remember(&mut self, act: &Act, token: Token, now_ms: u64) {
        self.session_epoch = self.session_epoch.max(act.session_epoch);
        self.forgotten = self.forgotten.max(act.confirmed);
        self.seen_ms = now_ms;
        self.acts.retain(|known| known.id > self.forgotten);
        self.acts.push(RememberedAct { id: act.id, token, result: act.result.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(id: u64, confirmed: u64, session_epoch: u32) -> Act {
        Act { actor: 7, session_epoch, id, confirmed, result: Bytes::from(format!("result of {id}")) }
    }

    #[test]
    fn an_act_is_new_or_repeated_or_forgotten_or_fenced() {
        let mut memory = ActorMemory::default();
        assert_eq!(memory.judge(&act(5, 0, 2)), None);
        memory.remember(&act(5, 0, 2), Token(50), 1);
        memory.remember(&act(3, 0, 2), Token(30), 2);
        let repeated =
            |id: u64| Some(Refusal::Repeated { token: Token(id * 10), result: act(id, 0, 0).result });
        // A repeat is answered whatever its epoch.
        assert_eq!(memory.judge(&act(5, 0, 1)), repeated(5));
        assert_eq!(memory.judge(&act(3, 0, 9)), repeated(3));
        assert_eq!(memory.judge(&act(4, 0, 2)), None);
        assert_eq!(memory.judge(&act(4, 0, 1)), Some(Refusal::ActFenced { newest: 2 }));
        memory.remember(&act(6, 3, 3), Token(60), 3);
        assert_eq!(memory.judge(&act(3, 0, 3)), Some(Refusal::ActForgotten { forgotten: 3 }));
        assert_eq!(memory.judge(&act(5, 0, 3)), repeated(5));
        // What was once forgotten stays so, also when a later act confirms less.
        memory.remember(&act(8, 1, 3), Token(80), 4);
        assert_eq!((memory.forgotten, memory.seen_ms, memory.session_epoch), (3, 4, 3));
    }

    #[test]
    fn room_comes_back_with_confirmations_only() {
        let mut memory = ActorMemory::default();
        let most = ACTS_PER_ACTOR_MAX as u64;
        for id in 1..=most {
            assert!(memory.has_room(&act(id, 0, 0)));
            memory.remember(&act(id, 0, 0), Token(id), id);
        }
        assert!(!memory.has_room(&act(most + 1, 0, 0)));
        assert!(memory.has_room(&act(most + 1, 1, 0)));
    }
}
