//! Recipes: what is made of what.

use super::items::ItemKind;
use super::limits::STAMINA_MAX;
use super::table::table;

/// What a recipe takes and gives.
#[derive(Debug)]
pub struct RecipeSpec {
    /// What is used up.
    pub needs: &'static [(ItemKind, u32)],
    /// What comes of it.
    pub gives: &'static [(ItemKind, u32)],
    /// Stamina that it costs.
    pub stamina: u32,
}

table! {
    /// A recipe.
    Recipe: RecipeSpec {
        /// Twists fibre.
        Rope = "rope" => RecipeSpec {
            needs: &[(ItemKind::Fibre, 4)],
            gives: &[(ItemKind::Rope, 1)],
            stamina: 1,
        };
        /// Splits wood.
        Plank = "plank" => RecipeSpec {
            needs: &[(ItemKind::Wood, 1)],
            gives: &[(ItemKind::Plank, 2)],
            stamina: 2,
        };
        /// Ties a pointed stick to a bent one.
        Pick = "pick" => RecipeSpec {
            needs: &[(ItemKind::Wood, 3), (ItemKind::Rope, 1)],
            gives: &[(ItemKind::Pick, 1)],
            stamina: 5,
        };
        /// Carves a totem.
        Totem = "totem" => RecipeSpec {
            needs: &[(ItemKind::Wood, 10), (ItemKind::Stone, 5), (ItemKind::Rope, 2)],
            gives: &[(ItemKind::Totem, 1)],
            stamina: 10,
        };
    }
}

const _: () = {
    let mut row = 0;
    while row < Recipe::ALL.len() {
        let spec = Recipe::ALL[row].spec();
        assert!(!spec.needs.is_empty() && !spec.gives.is_empty() && spec.stamina <= STAMINA_MAX);
        row += 1;
    }
};
