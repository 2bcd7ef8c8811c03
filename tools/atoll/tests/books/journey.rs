//! A journey to another island by a real client on a real cluster: through the allocator, with everything that it
//! carries, and for good.

use chunk_sync::ids::IslandId;
use rustix::process::Signal;
use world_node::rules::Action;

use crate::process::Atoll;
use crate::settlers::Settlers;
use crate::tool::audit;

const ISLANDS: &[&str] = &["--islands", "2"];

#[test]
fn who_travelled_is_on_the_other_island_also_after_the_cluster_was_killed() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let up = Atoll::up(folder, 2, ISLANDS);
    let ready = up.ready();
    let mut travellers = Settlers::enter(ready.value("join"), 2, 41);
    travellers.act_until(4);
    travellers.rest();
    let (here, bags) = (travellers.islands()[0], travellers.bags());
    let there = 3 - here;
    assert_eq!(travellers.islands(), [here; 2], "both begin on the first island");
    travellers.does(0, &Action::Travel { island: IslandId(there) }).expect("the way is open");
    travellers.arrives(0, there);
    assert_eq!(travellers.islands(), [there, here]);
    assert_eq!(travellers.bags(), bags, "what it carries came along");
    audit(folder, &["--http", ready.value("page")], 0);
    up.signal(Signal::KILL);
    drop(up);
    drop(travellers);

    let mut up = Atoll::up(folder, 2, ISLANDS);
    let mut again = Settlers::enter(up.ready().value("join"), 2, 42);
    assert_eq!(again.islands(), [there, here], "nobody asked for an island");
    assert_eq!(again.bags(), bags);
    again.act_until(2);
    again.rest();
    drop(again);
    up.stops();
    audit(folder, &["--data", "data"], 0);
}
