//! Structures: what can be built, of what, how large.

use super::items::ItemKind;
use super::limits::{FOOTPRINT_EDGE_TILES_MAX, STAMINA_MAX};
use super::table::table;

/// What there is to know of a kind of structure.
#[derive(Debug)]
pub struct StructureSpec {
    /// Tiles (of two metres) east and north, before it is turned.
    pub tiles: (u8, u8),
    /// What it is built of.
    pub materials: &'static [(ItemKind, u32)],
    /// What comes back when it is demolished.
    pub refund: &'static [(ItemKind, u32)],
    /// Stamina that building costs.
    pub stamina: u32,
    /// Whether it claims the land around it.
    pub claims: bool,
}

const fn built(
    tiles: (u8, u8),
    materials: &'static [(ItemKind, u32)],
    refund: &'static [(ItemKind, u32)],
    stamina: u32,
) -> StructureSpec {
    StructureSpec { tiles, materials, refund, stamina, claims: false }
}

table! {
    /// A kind of structure.
    StructureKind: StructureSpec {
        /// A place for a fire.
        Hearth = "hearth" => built((1, 1), &[(ItemKind::Stone, 4)], &[(ItemKind::Stone, 2)], 2);
        /// Four metres of fence.
        Fence = "fence" => built((2, 1), &[(ItemKind::Wood, 2)], &[(ItemKind::Wood, 1)], 2);
        /// A roof over one's head.
        Hut = "hut" => built(
            (2, 2),
            &[(ItemKind::Wood, 6), (ItemKind::Rope, 1)],
            &[(ItemKind::Wood, 3)],
            5,
        );
        /// A hall for a clan.
        Hall = "hall" => built(
            (4, 3),
            &[(ItemKind::Plank, 20), (ItemKind::Stone, 10)],
            &[(ItemKind::Plank, 10), (ItemKind::Stone, 5)],
            10,
        );
        /// Marks and claims an estate.
        Totem = "totem" => StructureSpec {
            tiles: (1, 1),
            materials: &[(ItemKind::Totem, 1)],
            refund: &[(ItemKind::Totem, 1)],
            stamina: 5,
            claims: true,
        };
    }
}

const _: () = {
    let mut row = 0;
    while row < StructureKind::ALL.len() {
        let spec = StructureKind::ALL[row].spec();
        assert!(spec.tiles.0 >= 1 && spec.tiles.0 <= FOOTPRINT_EDGE_TILES_MAX);
        assert!(spec.tiles.1 >= 1 && spec.tiles.1 <= FOOTPRINT_EDGE_TILES_MAX);
        assert!(!spec.claims || (spec.tiles.0 == 1 && spec.tiles.1 == 1), "a totem stands in one chunk");
        assert!(!spec.materials.is_empty() && spec.stamina <= STAMINA_MAX);
        assert!(!spec.refund.is_empty(), "demolishing waits for its refund to arrive");
        row += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::items::Items;

    #[test]
    fn demolishing_never_gives_more_than_building_took() {
        for kind in StructureKind::ALL {
            let spec = kind.spec();
            assert!(Items::from(spec.materials).has(&Items::from(spec.refund)), "{kind:?}");
        }
    }
}
