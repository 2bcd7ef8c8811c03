//! What players can do, and the one narrow door to it: [`reads`] says what a rule wants to know, [`decide`] says what
//! comes of it. Both are pure; each rule is a module with the same two functions.

mod bag;
mod build;
mod estate;
mod gather;
mod ground;
mod trade;
mod travel;

use super::documents::Right;
use super::effects::{Draft, Effects, Holder};
use super::items::{ItemKind, Items};
use super::limits::COUNT_MAX;
use super::names::{ActId, Partition, Sender, TransferId};
use super::recipes::Recipe;
use super::reject::RuleReject;
use super::site::{Site, TilePos};
use super::structures::StructureKind;
use super::transfer::{Back, Cargo};
use super::view::{ReadSet, View};
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::time::Tick;
use serde::{Deserialize, Serialize};

/// Who acts, where and when; filled in by the node, never by the client, but for what the act's name says besides its
/// player: epoch and island of the first ask, and the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Actor {
    /// The player.
    pub player: PlayerId,
    /// Epoch of the session.
    pub epoch: Epoch,
    /// The act, of the same player; the same on every resend, also after a resume under a newer epoch or on another
    /// island.
    pub act: ActId,
    /// The island where the player is now.
    pub island: IslandId,
    /// The island where the player is at home; a guest's is another one than where it is.
    pub home: IslandId,
    /// Where the player stands.
    pub place: Place,
    /// The tick in which the act is decided.
    pub tick: Tick,
}

/// What a player wants to do. Chunks, tiles and places are of the act's island.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Take from a resource.
    Gather {
        /// Its chunk.
        chunk: ChunkPos,
        /// The number of its tile.
        resource: u8,
    },
    /// Make something of what is in the bag.
    Craft {
        /// The recipe.
        recipe: Recipe,
    },
    /// Build something of what is in the bag.
    Build {
        /// What.
        kind: StructureKind,
        /// Its south-west tile.
        place: TilePos,
        /// Whether it is turned by a quarter.
        turned: bool,
    },
    /// Take a structure down.
    Demolish {
        /// The chunk of its south-west tile.
        chunk: ChunkPos,
        /// The structure.
        structure: ActId,
    },
    /// Put up a totem and claim its chunk and others around it.
    ClaimEstate {
        /// The totem's tile.
        place: TilePos,
        /// The other chunks.
        chunks: Vec<ChunkPos>,
    },
    /// Allow a player something on one's estate. It is done when the estate is settled in its new version.
    Permit {
        /// The totem's chunk.
        chunk: ChunkPos,
        /// The estate.
        estate: ActId,
        /// The player.
        player: PlayerId,
        /// All that the player may do from now on.
        rights: Vec<Right>,
    },
    /// Allow a player nothing any more. It is done when the estate is settled in its new version.
    Revoke {
        /// The totem's chunk.
        chunk: ChunkPos,
        /// The estate.
        estate: ActId,
        /// The player.
        player: PlayerId,
    },
    /// Lay something down where one stands.
    Drop {
        /// What.
        item: ItemKind,
        /// How many; at most a stack.
        count: u32,
    },
    /// Pick something up.
    PickUp {
        /// The chunk where it lies.
        chunk: ChunkPos,
        /// The cell where it lies.
        cell: u8,
        /// The stack.
        stack: ActId,
        /// How many of it.
        count: u32,
    },
    /// Give something to somebody near.
    Give {
        /// Whom.
        to: PlayerId,
        /// What.
        item: ItemKind,
        /// How many.
        count: u32,
    },
    /// Offer a trade to somebody near. The act's id is the trade's name.
    Offer {
        /// Whom.
        to: PlayerId,
        /// What is offered.
        give: Items,
        /// What is wanted for it.
        want: Items,
    },
    /// Accept a trade.
    Accept {
        /// The trade.
        trade: ActId,
    },
    /// Call a trade off, or turn it down.
    Cancel {
        /// The trade.
        trade: ActId,
    },
    /// Fetch what a closed trade still holds because the bag was full.
    Collect {
        /// The trade.
        trade: ActId,
    },
    /// Travel to another island.
    Travel {
        /// Where to.
        island: IslandId,
    },
}

impl Actor {
    /// The actor's partition.
    fn own(&self) -> Partition {
        Partition::Player(self.player)
    }

    /// A chunk of the act's island.
    fn chunk(&self, chunk: ChunkPos) -> Partition {
        Partition::Chunk(self.act.island, chunk)
    }

    /// Whether the actor is where the act was asked for first.
    fn is_there(&self) -> bool {
        self.island == self.act.island
    }

    fn site(&self, kind: StructureKind, place: TilePos, turned: bool, claims: &[ChunkPos]) -> Site {
        Site::new(self.act, kind, self.act.island, place, turned, claims)
    }
}

/// The partition that an act changes and that remembers it. It follows from the act and the action alone, wherever
/// the actor is by now, so a resend finds the same partition. A host asks its memory before anything else: an act that
/// is remembered there is answered as it was then, also when [`decide`] would refuse it today.
pub fn home(act: ActId, action: &Action) -> Partition {
    match action {
        Action::Gather { chunk, .. }
        | Action::Demolish { chunk, .. }
        | Action::Permit { chunk, .. }
        | Action::Revoke { chunk, .. }
        | Action::PickUp { chunk, .. } => Partition::Chunk(act.island, *chunk),
        Action::Cancel { trade } | Action::Collect { trade } => Partition::Trade(*trade),
        Action::Craft { .. }
        | Action::Build { .. }
        | Action::ClaimEstate { .. }
        | Action::Drop { .. }
        | Action::Give { .. }
        | Action::Offer { .. }
        | Action::Accept { .. }
        | Action::Travel { .. } => Partition::Player(act.player),
    }
}

/// What the rule for an action wants to know; nothing of an act that was asked for on another island.
pub fn reads(actor: &Actor, action: &Action) -> ReadSet {
    if !actor.is_there() {
        return ReadSet::default();
    }
    match action {
        Action::Gather { chunk, resource } => gather::reads(actor, *chunk, *resource),
        Action::Craft { .. } => bag::craft_reads(actor),
        Action::Build { kind, place, turned } => {
            build::reads(actor, &actor.site(*kind, *place, *turned, &[]))
        }
        Action::ClaimEstate { place, chunks } => {
            build::reads(actor, &actor.site(StructureKind::Totem, *place, false, chunks))
        }
        Action::Demolish { chunk, structure } => build::demolish_reads(actor, *chunk, *structure),
        Action::Permit { chunk, estate, .. } | Action::Revoke { chunk, estate, .. } => {
            estate::reads(actor, *chunk, *estate)
        }
        Action::Drop { .. } => ground::drop_reads(actor),
        Action::PickUp { chunk, cell, .. } => ground::pick_up_reads(actor, *chunk, *cell),
        Action::Give { to, .. } => bag::give_reads(actor, *to),
        Action::Offer { to, .. } => bag::give_reads(actor, *to),
        Action::Accept { trade } => trade::accept_reads(actor, *trade),
        Action::Cancel { trade } | Action::Collect { trade } => trade::reads(*trade),
        Action::Travel { .. } => travel::reads(actor),
    }
}

/// What comes of an action that its [`home`] doesn't remember, given what its rule wanted to know.
///
/// # Errors
/// Why the player can't do it. `OtherIsland` when the player left the island of the act: it was meant for what is
/// there, and nothing of the kind is done elsewhere. `Unread` when the view isn't what [`reads`] declared.
pub fn decide(actor: &Actor, action: &Action, view: &View) -> Result<Effects, RuleReject> {
    if actor.act.player != actor.player {
        return Err(RuleReject::NotYours);
    }
    if !actor.is_there() {
        return Err(RuleReject::OtherIsland);
    }
    match action {
        Action::Gather { chunk, resource } => gather::decide(actor, *chunk, *resource, view),
        Action::Craft { recipe } => bag::craft(actor, *recipe, view),
        Action::Build { kind, place, turned } => {
            build::decide(actor, &actor.site(*kind, *place, *turned, &[]), view)
        }
        Action::ClaimEstate { place, chunks } => {
            build::decide(actor, &actor.site(StructureKind::Totem, *place, false, chunks), view)
        }
        Action::Demolish { chunk, structure } => build::demolish(actor, *chunk, *structure, view),
        Action::Permit { chunk, estate, player, rights } => {
            estate::decide(actor, *chunk, *estate, (*player, rights), view)
        }
        Action::Revoke { chunk, estate, player } => {
            estate::decide(actor, *chunk, *estate, (*player, &[]), view)
        }
        Action::Drop { item, count } => ground::lay_down(actor, *item, *count, view),
        Action::PickUp { chunk, cell, stack, count } => {
            ground::pick_up(actor, (*chunk, *cell), *stack, *count, view)
        }
        Action::Give { to, item, count } => bag::give(actor, *to, *item, *count, view),
        Action::Offer { to, give, want } => trade::offer(actor, *to, give, want, view),
        Action::Accept { trade } => trade::accept(actor, *trade, view),
        Action::Cancel { trade } => trade::cancel(actor, *trade, view),
        Action::Collect { trade } => trade::collect(actor, *trade, view),
        Action::Travel { island } => travel::decide(actor, *island, view),
    }
}

fn effects(draft: Draft<'_>, transfer: Option<TransferId>) -> Effects {
    Effects { commit: draft.done(), transfer }
}

/// The name of the transfer that an act sends from a chunk.
fn from_chunk(actor: &Actor, chunk: ChunkPos) -> Result<TransferId, RuleReject> {
    Sender::chunk(chunk).map(|sender| actor.act.transfer(sender)).ok_or(RuleReject::NotThere)
}

/// A count that a player may name.
fn counted(count: u32) -> Result<u32, RuleReject> {
    if (1..=COUNT_MAX).contains(&count) { Ok(count) } else { Err(RuleReject::BadCount) }
}

/// Sends items of the actor's bag off, with `stamina` spent: the common shape of giving, dropping, building, paying.
fn send_from_bag(
    actor: &Actor,
    view: &View,
    to: Partition,
    items: &Items,
    stamina: u32,
    cargo: Cargo,
) -> Result<Effects, RuleReject> {
    let mut draft = Draft::new(view, actor.own());
    let mut bag = draft.bag()?;
    bag.stamina = bag.stamina.spend(stamina, actor.tick).ok_or(RuleReject::Tired)?;
    if !bag.send(items) {
        return Err(RuleReject::Lacking);
    }
    let id = actor.act.transfer(Sender::Player);
    draft.put_bag(actor.player, bag);
    draft.moved(items, Holder::Player(actor.player), Holder::Transfer(id));
    draft.send(id, to, cargo, Back::Bag { stamina });
    Ok(effects(draft, Some(id)))
}
