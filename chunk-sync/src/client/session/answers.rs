//! How answers at a door and refusals are taken: what helps against each, and how much of a server's words is kept.
//! Called by the session.

use super::Turn;
use crate::client::limits::{ADDRESS_BYTES_MAX, TEXT_CHARS_MAX};
use crate::limits::TICKET_NODES_MAX;
use crate::ticket::TICKET_BYTES_MAX;
use crate::wire::{RejectCode, Seat};

/// What helps against a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cure {
    /// Another node.
    Elsewhere,
    /// Another try from the beginning.
    Again,
    /// Nothing.
    None,
}

pub(super) fn cure(code: RejectCode) -> Cure {
    use RejectCode as C;
    match code {
        C::Closing | C::NodeLost | C::Busy | C::TicketElsewhere | C::HelloTimeout => Cure::Elsewhere,
        C::Full | C::NoNode | C::TicketExpired | C::TicketUsed | C::StoreAway | C::Silent | C::TooSlow => {
            Cure::Again
        }
        C::Malformed | C::Version | C::Unexpected | C::Flood | C::BadName | C::NoIsland => Cure::None,
        C::TicketForged | C::Replaced => Cure::None,
        C::Travelled => Cure::Again,
        // Said of acts, never at a door.
        C::StoreFull
        | C::StoreSlow
        | C::BadAct
        | C::TooManyActs
        | C::ActForgotten
        | C::Contested
        | C::NoRoom => Cure::None,
    }
}

/// Text of a server, cut to what is passed on.
pub(super) fn short(text: String) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// The seat, if it stays within what a client keeps.
pub(super) fn checked_seat(mut seat: Seat) -> Turn {
    seat.nodes.truncate(TICKET_NODES_MAX);
    if seat.nodes.is_empty() || seat.nodes.iter().any(|address| address.len() > ADDRESS_BYTES_MAX) {
        return Turn::Broken("a seat without usable addresses".to_owned());
    }
    if seat.ticket.len() > TICKET_BYTES_MAX {
        return Turn::Broken(format!("a ticket of {} bytes", seat.ticket.len()));
    }
    Turn::Seated(seat)
}
