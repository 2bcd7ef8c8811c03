//! The store stops answering for a while: play goes on, entry waits with a reason.

use std::time::Duration;

use chunk_sync::wire::{Hello, RejectCode, kind};
use rustix::process::Signal;

use crate::raw::{Raw, hello};
use crate::throughout;
use crate::town::{SETTLE, Town};

/// How long the store is away.
const AWAY: Duration = Duration::from_secs(10);
/// How long the allocator trusts what it knows, with a second to spare.
const TRUST: Duration = Duration::from_secs(4);

#[test]
fn a_store_that_is_away_for_a_while_ends_no_session() {
    let town = Town::start();
    let (players, all) = (&town.players, &town.all);
    town.cluster.store().signal(Signal::STOP);
    throughout(TRUST, || players.are_well(all));
    let mut asks = Raw::connect(town.cluster.join());
    asks.send(&hello(&Hello { name: Some("asks".to_owned()), ..Hello::default() }));
    throughout(AWAY - TRUST, || players.are_well(all));
    let refused = asks.wait_for(kind::SEAT).expect_err("nobody gets a seat that the store doesn't know of");
    assert_eq!(refused, Some(RejectCode::StoreAway));
    players.await_seen(all, all, SETTLE);

    town.cluster.store().signal(Signal::CONT);
    let newcomer = players.enter(town.cluster.join(), "newcomer", true);
    let everybody: Vec<usize> = all.iter().copied().chain([newcomer]).collect();
    players.await_seen(&everybody, &everybody, SETTLE);
    town.cluster.await_live(&[1, 2, 3]);
    players.are_well(&everybody);
    players.await_agreement(&everybody, SETTLE);
}
