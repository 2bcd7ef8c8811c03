//! One bot: a client, its connection, its eyes and its feet.
//!
//! Called by the engine; it touches no other bot.

use std::sync::Arc;

use chunk_sync::client::{Client, ClientConfig, Documents, Phase, Replica, Skim};
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::place::ChunkPos;
use chunk_sync::random;
use chunk_sync::wire::FEATURE_DOCS;

use super::SwarmArgs;
use super::land::Land;
use super::link::Link;
use super::sight::Eyes;
use super::walk::{Behaviour, Walker};

/// What a bot found when it got in.
pub(super) struct Entered {
    pub(super) player: PlayerId,
    /// The node's number, as operators name it.
    pub(super) node: u32,
    pub(super) island: u32,
    pub(super) land: Arc<Land>,
}

/// A bot.
pub(super) struct Bot {
    /// None until its turn to start.
    pub(super) client: Option<Client>,
    pub(super) link: Option<Link>,
    pub(super) eyes: Eyes,
    pub(super) walker: Walker,
    /// What a settler was told of the lasting world.
    pub(super) documents: Option<Box<Documents>>,
    /// While it is inside.
    pub(super) entered: Option<Entered>,
    name: String,
    reads: bool,
}

/// How the bots of a swarm differ: who never reads, who observes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Observer,
    Reader,
    NeverReader,
}

/// The roles of all bots: never-readers spread evenly, the first of the others observe.
pub(super) fn roles(args: &SwarmArgs) -> Vec<Role> {
    let percent = u64::from(args.never_read);
    let mut observers = args.observers;
    let role = |bot: u64| {
        if (bot + 1) * percent / 100 > bot * percent / 100 {
            Role::NeverReader
        } else if observers > 0 {
            observers -= 1;
            Role::Observer
        } else {
            Role::Reader
        }
    };
    (0..u64::from(args.bots)).map(role).collect()
}

impl Bot {
    pub(super) fn new(args: &SwarmArgs, prefix: &str, number: usize, role: Role) -> Self {
        let eyes = match role {
            Role::Observer => Eyes::Observer(Box::new(Replica::new())),
            Role::Reader => Eyes::Reader(Box::new(Skim::new())),
            Role::NeverReader => Eyes::Closed,
        };
        let walk = random::stream(args.seed, &format!("walk {number}"));
        Self {
            client: None,
            link: None,
            eyes,
            walker: Walker::new(args.behaviour, walk),
            // Who never reads never hears what came of anything: it only stands there.
            documents: (args.behaviour == Behaviour::Settle && role != Role::NeverReader).then(Box::default),
            entered: None,
            name: format!("{prefix}{number}"),
            reads: role != Role::NeverReader,
        }
    }

    /// The bot's client sets out.
    pub(super) fn start(&mut self, args: &SwarmArgs, now_ms: u64) {
        let config = ClientConfig {
            island: args.island.map(IslandId),
            software: "loadtest swarm".to_owned(),
            // A settler has yet to hear what came of its acts.
            rejoin: args.rejoin || self.documents.is_some(),
            features: self.documents.iter().map(|_| FEATURE_DOCS.to_owned()).collect(),
            minds_silence: self.reads,
            ..ClientConfig::new(&args.target, &self.name)
        };
        self.client = Some(Client::new(config, now_ms));
    }

    /// Whether it reads what the server sends.
    pub(super) fn reads(&self) -> bool {
        self.reads
    }

    pub(super) fn is_inside(&self) -> bool {
        self.entered.is_some()
    }

    /// The chunk that it stands in, while it is inside.
    pub(super) fn chunk(&self) -> Option<ChunkPos> {
        self.entered.as_ref().and(self.client.as_ref()).map(|client| client.place().chunk())
    }

    /// Whether it is on its way in: neither there nor given up.
    pub(super) fn is_on_its_way(&self) -> bool {
        let phase = self.client.as_ref().map(Client::phase);
        !matches!(phase, Some(Phase::Inside | Phase::Ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SwarmArgs,
    }

    fn counts(bots: u32, observers: u32, never_read: u32) -> (usize, usize, usize) {
        let line = format!(
            "x --target t:1 --bots {bots} --seconds 1 --behaviour roam --observers {observers} --never-read {never_read}"
        );
        let roles = roles(&Line::parse_from(line.split(' ')).args);
        let of = |role| roles.iter().filter(|r| **r == role).count();
        (of(Role::Observer), of(Role::Reader), of(Role::NeverReader))
    }

    #[test]
    fn roles_are_shared_out_as_asked() {
        assert_eq!(counts(1_000, 32, 10), (32, 868, 100));
        assert_eq!(counts(1_000, 1_000, 10), (900, 0, 100));
        assert_eq!(counts(5, 32, 0), (5, 0, 0));
        assert_eq!(counts(5, 2, 100), (0, 0, 5));
        assert_eq!(counts(7, 1, 50), (1, 3, 3));
    }
}
