//! Tickets: signed, short-lived, single-use admissions to an island. The allocator writes them, nodes check them
//! without asking anybody; only the single use is the store's to judge (`number` must be larger than the last).

use crate::ids::{IslandId, NodeId, PlayerId};
use crate::limits::TICKET_NODES_MAX;
use crate::wire::is_name;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

/// The format of an admission; its first byte.
const FORMAT: u8 = 1;
/// The same bytes, of a guest: a node that knows no guests must not take it for anything else.
const FORMAT_GUEST: u8 = 2;
const SIGNATURE_BYTES: usize = 32;
const FIXED_BYTES: usize = 2 + 8 + 4 + 8 + 8 + 1;
/// Most bytes of a ticket.
pub const TICKET_BYTES_MAX: usize = FIXED_BYTES + 4 * TICKET_NODES_MAX + 1 + 24 + SIGNATURE_BYTES;

/// A signing key and its number.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey {
    /// Number by which tickets name the key.
    pub id: u8,
    /// The secret.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketKey({})", self.id)
    }
}

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Who may enter.
    pub player: PlayerId,
    /// Where.
    pub island: IslandId,
    /// Grows with every ticket of the player; a session is taken only with a larger one than the last.
    pub number: u64,
    /// World milliseconds after which it is void.
    pub expires_ms: u64,
    /// Nodes that it is good at.
    pub nodes: Vec<NodeId>,
    /// The player's name, to be shown.
    pub name: String,
    /// The player's home is another island and has no room: this is a visit, and moves no home.
    pub guest: bool,
}

/// Why a ticket is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TicketError {
    /// Not signed with a key of ours, or not a ticket at all.
    #[error("not signed by this world")]
    Forged,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Not good at this node.
    #[error("for another node")]
    Elsewhere,
}

impl Ticket {
    /// The signed bytes. At most `TICKET_NODES_MAX` nodes are listed.
    pub fn sign(&self, key: &TicketKey) -> Vec<u8> {
        let mut out = vec![if self.guest { FORMAT_GUEST } else { FORMAT }, key.id];
        out.extend_from_slice(&self.player.0.to_be_bytes());
        out.extend_from_slice(&self.island.0.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.expires_ms.to_be_bytes());
        let nodes = &self.nodes[..self.nodes.len().min(TICKET_NODES_MAX)];
        out.push(nodes.len() as u8);
        nodes.iter().for_each(|node| out.extend_from_slice(&node.0.to_be_bytes()));
        out.push(self.name.len() as u8);
        out.extend_from_slice(self.name.as_bytes());
        let mac = signer(key).chain_update(&out).finalize();
        out.extend_from_slice(&mac.into_bytes());
        out
    }

    /// Reads and checks the ticket: signature, expiry at `now_ms` (world milliseconds), node.
    ///
    /// # Errors
    /// Which of the three failed; the signature is checked before anything is believed.
    pub fn check(bytes: &[u8], keys: &[TicketKey], now_ms: u64, node: NodeId) -> Result<Ticket, TicketError> {
        if bytes.len() > TICKET_BYTES_MAX
            || bytes.len() < FIXED_BYTES + 1 + SIGNATURE_BYTES
            || !matches!(bytes[0], FORMAT | FORMAT_GUEST)
        {
            return Err(TicketError::Forged);
        }
        let (said, signature) = bytes.split_at(bytes.len() - SIGNATURE_BYTES);
        let key = keys.iter().find(|key| key.id == bytes[1]).ok_or(TicketError::Forged)?;
        signer(key).chain_update(said).verify_slice(signature).map_err(|_| TicketError::Forged)?;
        let guest = said[0] == FORMAT_GUEST;
        let ticket = Self::parse(&said[2..], guest).ok_or(TicketError::Forged)?;
        if now_ms > ticket.expires_ms {
            return Err(TicketError::Expired);
        }
        if !ticket.nodes.contains(&node) {
            return Err(TicketError::Elsewhere);
        }
        Ok(ticket)
    }

    fn parse(bytes: &[u8], guest: bool) -> Option<Ticket> {
        let (player, rest) = bytes.split_first_chunk::<8>()?;
        let (island, rest) = rest.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (&count, rest) = rest.split_first()?;
        if usize::from(count) > TICKET_NODES_MAX {
            return None;
        }
        let (nodes, rest) = rest.split_at_checked(usize::from(count) * 4)?;
        let (&name_bytes, name) = rest.split_first()?;
        let name =
            std::str::from_utf8(name).ok().filter(|n| n.len() == usize::from(name_bytes) && is_name(n))?;
        Some(Ticket {
            player: PlayerId(u64::from_be_bytes(*player)),
            island: IslandId(u32::from_be_bytes(*island)),
            number: u64::from_be_bytes(*number),
            expires_ms: u64::from_be_bytes(*expires),
            nodes: nodes.as_chunks::<4>().0.iter().map(|n| NodeId(u32::from_be_bytes(*n))).collect(),
            name: name.to_owned(),
            guest,
        })
    }
}

fn signer(key: &TicketKey) -> Hmac<Sha256> {
    Hmac::new_from_slice(&key.secret).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            player: PlayerId(77),
            island: IslandId(3),
            number: 12,
            expires_ms: 5_000,
            nodes: vec![NodeId(1), NodeId(2)],
            name: "Mara".to_owned(),
            guest: false,
        }
    }

    fn key(id: u8) -> TicketKey {
        TicketKey { id, secret: [id; 32] }
    }

    #[test]
    fn a_ticket_comes_back_as_it_was_signed() {
        let bytes = ticket().sign(&key(1));
        assert_eq!(Ticket::check(&bytes, &[key(2), key(1)], 5_000, NodeId(2)), Ok(ticket()));
    }

    #[test]
    fn a_guest_is_told_from_who_lives_there() {
        let guest = Ticket { guest: true, ..ticket() };
        let mut bytes = guest.sign(&key(1));
        assert_eq!(Ticket::check(&bytes, &[key(1)], 0, NodeId(1)), Ok(guest));
        // The form is signed with the rest: nobody makes a home of a visit.
        bytes[0] = ticket().sign(&key(1))[0];
        assert_eq!(Ticket::check(&bytes, &[key(1)], 0, NodeId(1)), Err(TicketError::Forged));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let bytes = ticket().sign(&key(1));
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert_eq!(
                Ticket::check(&forged, &[key(1)], 0, NodeId(1)),
                Err(TicketError::Forged),
                "byte {at}"
            );
        }
        for length in 0..bytes.len() {
            assert_eq!(Ticket::check(&bytes[..length], &[key(1)], 0, NodeId(1)), Err(TicketError::Forged));
        }
    }

    #[test]
    fn time_node_and_key_are_checked() {
        let bytes = ticket().sign(&key(1));
        assert_eq!(Ticket::check(&bytes, &[key(1)], 5_001, NodeId(1)), Err(TicketError::Expired));
        assert_eq!(Ticket::check(&bytes, &[key(1)], 1, NodeId(9)), Err(TicketError::Elsewhere));
        assert_eq!(Ticket::check(&bytes, &[], 1, NodeId(1)), Err(TicketError::Forged));
        let mut other = key(1);
        other.secret[0] ^= 1;
        assert_eq!(Ticket::check(&bytes, &[other], 1, NodeId(1)), Err(TicketError::Forged));
    }
}
