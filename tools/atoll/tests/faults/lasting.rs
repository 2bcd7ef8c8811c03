//! What is still there after players left, and after the whole cluster was killed.

use std::time::Duration;

use chunk_sync::place::Place;

use crate::eventually;
use crate::players::Players;
use crate::processes::Up;

/// How far from where it came in a walker has to get.
const WALKED_M: f32 = 3.0;
/// How long that may take.
const WALK_WAIT: Duration = Duration::from_secs(60);

fn place(players: &Players, index: usize) -> Place {
    players.look()[index].client.place()
}

#[test]
fn players_come_back_to_the_spot_also_after_the_cluster_was_killed() {
    let mut up = Up::start();
    let spot = {
        let players = Players::new();
        let index = players.enter(up.join(), "Mara", true);
        let from = place(&players, index);
        eventually("she has walked a little", WALK_WAIT, || {
            let mut all = players.look();
            let player = &mut all[index];
            let moved = from.distance_squared(player.client.place()) as f32;
            let far = moved.sqrt() >= WALKED_M * chunk_sync::limits::QUANTA_PER_M as f32;
            // The last step has to be heard before she leaves.
            player.walks = !far;
            if far && player.client.unacknowledged() == 0 {
                Ok(player.client.place())
            } else {
                Err(format!("{moved}"))
            }
        })
    };
    eventually("she has left", WALK_WAIT, || {
        let state = up.process.state();
        let sessions = state["nodes"]
            .as_array()
            .map_or(0, |nodes| nodes.iter().filter_map(|n| n["sessions"].as_u64()).sum());
        if sessions == 0 { Ok(()) } else { Err(state.to_string()) }
    });
    {
        let players = Players::new();
        let again = players.enter(up.join(), "Mara", false);
        assert_eq!(place(&players, again), spot, "after she left");
        assert_eq!(players.look()[again].trouble(), None);
    }
    up.crash_and_start();
    let players = Players::new();
    let again = players.enter(up.join(), "Mara", false);
    assert_eq!(place(&players, again), spot, "after the crash");
}
