//! `atoll inspect` on a store, and on a running cluster: the same answers, and clear words where there is none.

use serde_json::Value;

use crate::process::Atoll;
use crate::settlers::Settlers;
use crate::tool::atoll;
use crate::world::{World, act, fence, player};

#[test]
fn support_sees_what_is_there_and_reads_clear_words_where_nothing_is() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let mut up = Atoll::up(folder, 1, &[]);
    let ready = up.ready();
    let page = ready.value("page").to_owned();
    let live = |arguments: &[&str]| atoll(folder, &[&["inspect"], arguments, &["--http", &page]].concat());
    let json = |said: &crate::tool::Said| -> Value {
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    };
    let mut settlers = Settlers::enter(ready.value("join"), 2, 8);
    let newcomer = json(&live(&["player", "settler-0", "--json"]));
    assert_eq!(newcomer["carries"], serde_json::json!({}), "who never picked anything up: {newcomer}");
    settlers.act_until(20);
    settlers.rest();
    let bags = settlers.bags();
    for (number, name) in ["settler-0", "SETTLER-1"].iter().enumerate() {
        let found = json(&live(&["player", name, "--json"]));
        let id = found["player"].as_str().unwrap().to_owned();
        assert_eq!(json(&live(&["player", &id, "--json"])), found, "{number}");
        let (_, items) = bags.iter().find(|(player, _)| player.to_string() == id).unwrap();
        assert_eq!(found["carries"], serde_json::to_value(items).unwrap());
        assert!(live(&["player", name]).out.contains("carries"), "as a table");
    }
    let island = json(&live(&["island", "1", "--json", "--limit", "1"]));
    assert_eq!(island["chunks"].as_array().unwrap().len(), 1, "{island}");
    let there = &island["chunks"][0];
    let (x, y) = (there["x"].to_string(), there["y"].to_string());
    let chunk = json(&live(&["chunk", "1", &x, &y, "--json"]));
    assert_eq!(chunk["resources_taken_from"], there["resources_taken_from"], "{chunk} {there}");
    drop(settlers);
    up.stops();

    let mut world = World::open(&folder.join("data"));
    world.make(player(1), 1, 5);
    let id = world.debit(player(1), player(2), 2, 5, 2);
    world.spoil_land();
    drop(world);
    let here = |arguments: &[&str]| atoll(folder, &[&["inspect"], arguments, &["--data", "data"]].concat());
    let mut world = World::open(&folder.join("data"));
    (0..7).for_each(|number| world.build(&fence(act(player(2), 50 + number), number as i32 * 2), 9));
    drop(world);
    let (mut seen, mut after) = (Vec::new(), "0".to_owned());
    let there = loop {
        let page = json(&here(&["chunk", "1", "3", "4", "--json", "--limit", "3", "--after", &after]));
        let structures = page["structures"].as_array().unwrap();
        assert!(structures.len() <= 3, "{page}");
        seen.extend(structures.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break page,
        }
    };
    assert_eq!((seen.len(), &there["in_all"]["structures"]), (7, &7.into()), "{there}");
    seen.dedup();
    assert_eq!(seen.len(), 7, "each once: {seen:?}");
    assert!(here(&["chunk", "1", "3", "4", "--limit", "3"]).out.contains("there is more: --after 3"));
    let pending = json(&here(&["pending", "--json"]));
    assert_eq!(pending["transfers"][0]["id"], id.to_string(), "{pending}");
    let holder = player(1).to_string();
    let estates = json(&here(&["estates", "--holder", &holder, "--json"]));
    assert_eq!(estates["estates"][0]["id"], act(player(1), 9).to_string(), "{estates}");
    let nobodys = json(&here(&["estates", "--holder", &player(2).to_string(), "--json"]));
    assert_eq!(nobodys["estates"].as_array().unwrap().len(), 0);
    for (arguments, why) in [
        (&["player", "nobody"][..], "there is no player \"nobody\""),
        (&["player", "00400000ffffffff"], "there is no player 00400000ffffffff"),
        (&["chunk", "1", "16", "0"], "no island has a chunk 16, 0"),
        (&["island", "77"], "nobody has left anything on island 77"),
        (&["pending", "--after", "x"], "no page goes on after \"x\""),
        (&["chunk", "1", "3", "4", "--after", "x"], "no page goes on after \"x\""),
        (&["pending", "--after", "4096:x"], "no page goes on after"),
        (&["estates", "--holder", "nobody"], "there is no player \"nobody\""),
    ] {
        let said = here(arguments);
        assert_eq!((said.code, said.err.contains(why)), (Some(2), true), "{said:?}");
    }
}
