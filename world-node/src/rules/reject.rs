//! Why the game says no: number, label and a sentence for the player in one place. Numbers are never reused.

use serde::{Deserialize, Serialize};

macro_rules! rule_rejects {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $text:literal;)*) => {
        /// Why an act or a transfer is refused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[repr(u16)]
        pub enum RuleReject { $($(#[$doc])* #[serde(rename = $label)] $name = $code,)* }

        impl RuleReject {
            /// All of them.
            pub const ALL: &'static [RuleReject] = &[$(RuleReject::$name,)*];

            /// The label, as in metrics, messages and documents.
            pub fn label(self) -> &'static str {
                match self { $(RuleReject::$name => $label,)* }
            }

            /// The sentence for the player.
            pub fn text(self) -> &'static str {
                match self { $(RuleReject::$name => $text,)* }
            }
        }
    };
}

rule_rejects! {
    /// The rule was not given what it declared; the host retries with fresh documents.
    Unread = 200, "unread", "That didn't work this time. Please try again.";
    /// Further away than hands reach.
    TooFar = 201, "too_far", "That is too far away.";
    /// No such resource, structure, stack or estate.
    NotThere = 202, "not_there", "There is nothing like that here.";
    /// A count of zero, a trade that offers nothing, a number out of range.
    BadCount = 203, "bad_count", "You can't do that many.";
    /// Not enough of an item.
    Lacking = 204, "lacking", "You don't have what that needs.";
    /// The bag can't take it.
    BagFull = 205, "bag_full", "Your bag is full.";
    /// Too tired.
    Tired = 206, "tired", "You are too tired. Rest a moment.";
    /// A tool is missing.
    NoTool = 207, "no_tool", "You need the right tool for that.";
    /// A resource is used up for now.
    Exhausted = 208, "exhausted", "Nothing is left here. It will grow back.";
    /// The tile is water, a cliff, off the island, or something grows there.
    BadGround = 209, "bad_ground", "You can't build on this ground.";
    /// Another structure stands there, or is being built.
    Occupied = 210, "occupied", "Something stands there already.";
    /// The estate's owner doesn't allow it.
    Forbidden = 211, "forbidden", "The owner of this land doesn't allow that.";
    /// A structure would cross an estate's border.
    Border = 212, "border", "That would cross the border of an estate.";
    /// The land belongs to an estate.
    Claimed = 213, "claimed", "This land is somebody's estate already.";
    /// Others have built on the land that is to be claimed.
    Settled = 214, "settled", "Somebody else has built here.";
    /// The structure or estate is in the middle of another change.
    Busy = 215, "busy_site", "That is being changed right now. Please try again in a moment.";
    /// Only its owner may.
    NotYours = 216, "not_yours", "That isn't yours.";
    /// A list is at its limit.
    TooMany = 217, "too_many", "There is no room for more of these.";
    /// The other player is not near, or it is the actor.
    NoPartner = 218, "no_partner", "There is nobody near enough.";
    /// The trade is over, or was never open to this player.
    TradeClosed = 219, "trade_closed", "That trade is over.";
    /// The journey leads nowhere.
    NoJourney = 220, "no_journey", "You can't travel there.";
    /// The act was asked for on another island than the one where its player is now.
    OtherIsland = 221, "other_island", "You have left the island where you wanted to do that.";
    /// A transfer or a decision that is another partition's than its name says: nobody makes one, and it is left
    /// as it is.
    Foreign = 222, "foreign", "That went wrong. Please tell us about it.";
}

impl RuleReject {
    /// The stable number.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The reject with this number.
    pub fn from_code(code: u16) -> Option<RuleReject> {
        Self::ALL.iter().copied().find(|reject| reject.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::wire::RejectCode;

    #[test]
    fn numbers_and_labels_are_unique_and_not_the_protocols() {
        for (at, reject) in RuleReject::ALL.iter().enumerate() {
            assert_eq!(RuleReject::from_code(reject.code()), Some(*reject));
            assert!(RejectCode::from_code(reject.code()).is_none());
            assert!(RejectCode::ALL.iter().all(|code| code.label() != reject.label()));
            assert!(RuleReject::ALL[..at].iter().all(|other| other.label() != reject.label()));
            assert!(reject.text().ends_with('.'));
        }
    }
}
