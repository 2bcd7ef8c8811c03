//! What players of the chaos want: acts with some chance, from what the world looks like.

use super::town::{CHUNKS, CORNER, grown, home, tile};
use super::world::World;
use chunk_sync::ids::PlayerId;
use chunk_sync::random::RngExt;
use world_node::rules::documents::{Doc, EstateRecord, Right, TradeState};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::recipes::Recipe;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, Action, DocName, Partition};

impl World {
    pub(super) fn pick(&mut self, n: usize) -> usize {
        self.random.random_range(0..n)
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.pick(of.len())].clone())
    }

    /// An act for a player; `None` when there is nothing of the sort to do.
    pub(super) fn wish(&mut self, player: u64) -> Option<Action> {
        let players = self.clients.len() as u64;
        let other = PlayerId(1 + (player + self.pick(players as usize - 1) as u64) % players);
        match self.pick(18) {
            0..=2 => {
                // Few resources, so that there is a crowd at each.
                let grown = grown();
                let (chunk, growth) = self.one(&grown[..grown.len().min(6)])?;
                self.stand(player, TilePos::in_chunk(chunk, growth.tile));
                Some(Action::Gather { chunk, resource: growth.tile })
            }
            3 => Some(Action::Craft { recipe: self.one(Recipe::ALL)? }),
            4..=6 => self.build(player),
            7 => self.demolish(player),
            8 => self.claim(player),
            9 | 10 => self.permit(player, other),
            11 => self.pick_up(player),
            12 | 13 => self.close_trade(player),
            _ => Some(self.hand_over(player, other)),
        }
    }

    fn spot(&mut self) -> TilePos {
        let (x, y) = (self.pick(7) as i32 - 4, self.pick(7) as i32 - 4);
        tile(x, y)
    }

    fn build(&mut self, player: u64) -> Option<Action> {
        let kinds = [StructureKind::Hall, StructureKind::Hut, StructureKind::Fence, StructureKind::Hearth];
        let (kind, place, turned) = (self.one(&kinds)?, self.spot(), self.pick(2) == 1);
        self.stand(player, place);
        Some(Action::Build { kind, place, turned })
    }

    fn demolish(&mut self, player: u64) -> Option<Action> {
        let built = self.book.named(|name| matches!(name, DocName::Structure(_)));
        let sites = built.filter_map(|(_, _, doc)| match doc {
            Doc::Structure(record) => Some(record.site.clone()),
            _ => None,
        });
        let own = PlayerId(player);
        let (mine, others): (Vec<_>, Vec<_>) = sites.partition(|site| site.builder() == own);
        let site = if self.pick(3) == 0 { self.one(&others) } else { self.one(&mine) }?;
        self.stand(player, site.corner);
        Some(Action::Demolish { chunk: site.anchor(), structure: site.id })
    }

    fn claim(&mut self, player: u64) -> Option<Action> {
        let place = self.spot();
        let others = CHUNKS.into_iter().filter(|chunk| *chunk != place.chunk());
        let chunks = others.filter(|_| self.pick(3) > 0).collect();
        self.stand(player, place);
        Some(Action::ClaimEstate { place, chunks })
    }

    fn permit(&mut self, player: u64, to: PlayerId) -> Option<Action> {
        let estates =
            CHUNKS.into_iter().filter_map(|chunk| match self.book.get(home(chunk), DocName::Estate) {
                Some(Doc::Estate(estate)) if estate.home == chunk && estate.owner.0 == player => {
                    Some(estate.clone())
                }
                _ => None,
            });
        let estates: Vec<EstateRecord> = estates.collect();
        let EstateRecord { home: chunk, id: estate, permissions, .. } = self.one(&estates)?;
        self.places.borrow_mut().insert(PlayerId(player), chunk.middle());
        Some(match self.pick(3) {
            0 => Action::Permit { chunk, estate, player: to, rights: vec![Right::Build] },
            1 => Action::Permit { chunk, estate, player: to, rights: vec![Right::Build, Right::Gather] },
            _ => Action::Revoke { chunk, estate, player: self.one(&permissions)?.player },
        })
    }

    fn pick_up(&mut self, player: u64) -> Option<Action> {
        let lying = self.book.named(|name| matches!(name, DocName::Ground(_)));
        let lying: Vec<_> = lying.map(|(at, name, doc)| (at, name, doc.clone())).collect();
        let (Partition::Chunk(_, chunk), DocName::Ground(cell), Doc::Ground(ground)) = self.one(&lying)?
        else {
            return None;
        };
        let lying = self.one(&ground.stacks)?;
        self.places.borrow_mut().insert(PlayerId(player), lying.place);
        let count = lying.count.min(1 + self.pick(9) as u32);
        Some(Action::PickUp { chunk, cell, stack: lying.id, count })
    }

    fn close_trade(&mut self, player: u64) -> Option<Action> {
        let trades = self.book.named(|name| *name == DocName::Trade);
        let own = PlayerId(player);
        let trades = trades.filter_map(|(at, _, doc)| match (at, doc) {
            (Partition::Trade(id), Doc::Trade(trade)) if [trade.from, trade.to].contains(&own) => {
                Some((id, trade.state, trade.to == own, trade.from))
            }
            _ => None,
        });
        let trades: Vec<(ActId, TradeState, bool, PlayerId)> = trades.collect();
        let (trade, state, accepts, from) = self.one(&trades)?;
        self.stand(player, CORNER);
        self.stand(from.0, CORNER);
        Some(match (state, self.pick(4)) {
            (TradeState::Open, 1..) if accepts => Action::Accept { trade },
            (TradeState::Open, _) => Action::Cancel { trade },
            _ => Action::Collect { trade },
        })
    }

    /// What is done at hand is done where everybody meets.
    fn hand_over(&mut self, player: u64, to: PlayerId) -> Action {
        self.stand(player, CORNER);
        self.stand(to.0, CORNER);
        let item = [ItemKind::Wood, ItemKind::Stone, ItemKind::Pick, ItemKind::Plank][self.pick(4)];
        let count = 1 + self.pick(9) as u32;
        match self.pick(3) {
            0 => Action::Drop { item, count },
            1 => Action::Give { to, item, count },
            _ => {
                let want = Items::of(ItemKind::Wood, self.pick(3) as u32);
                Action::Offer { to, give: Items::of(item, count), want }
            }
        }
    }
}
