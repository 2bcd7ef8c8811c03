//! The page in a real browser, on a real cluster with somebody in it.

use std::path::Path;

use crate::browser::{dom, picture};
use crate::http::{get, sessions, state};
use crate::players::Player;
use crate::process::{Atoll, wait_for};
use crate::scripted::serve;

/// The text from the element with this id to the next end of `tag`.
fn text_of(dom: &str, id: &str, tag: &str) -> String {
    let from = dom.split(&format!("id=\"{id}\"")).nth(1).unwrap_or_else(|| panic!("no {id} in\n{dom}"));
    let inner = from.split_once('>').unwrap().1;
    let end = inner.find(&format!("</{tag}>")).unwrap_or(inner.len());
    let parts = inner[..end].split('<').map(|part| part.split_once('>').map_or(part, |(_, rest)| rest));
    parts.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_shows_islands_nodes_and_plan() {
    let folder = tempfile::tempdir().unwrap();
    let atoll = Atoll::up(folder.path(), 2, &["--islands", "2"]);
    let ready = atoll.ready();
    let page = ready.value("page");
    let empty = dom(page);
    assert!(empty.contains("Nobody is here yet."), "{empty}");

    let _player = Player::enter(ready.value("join"), "Mara", 600);
    wait_for("the player on a chunk", || {
        let state = state(ready.admin());
        let chunks = state["islands"][0]["chunks"].as_array().unwrap();
        let seen = chunks.iter().any(|chunk| chunk["population"] == 1);
        (sessions(&state) == 1 && seen).then_some(())
    });
    let dom = dom(page);
    assert!(dom.contains("data-contact=\"live\""), "{dom}");
    assert!(dom.contains("aria-busy=\"false\""), "{dom}");
    let islands = text_of(&dom, "islands", "section");
    assert!(islands.contains("Island 1") && islands.contains("Island 2"), "{islands}");
    assert!(islands.contains("1 player, below minimum"), "{islands}");
    assert!(islands.contains("settled · open · nodes 1, 2"), "{islands}");
    assert!(dom.contains("players in 1 of 256 chunks"), "{dom}");
    let nodes = text_of(&dom, "nodes", "tbody");
    for node in state(ready.admin())["nodes"].as_array().unwrap() {
        assert!(nodes.contains(node["address"].as_str().unwrap()), "{node} is not in {nodes}");
    }
    assert!(nodes.contains(" ms"), "{nodes}");
    let plan = text_of(&dom, "plan", "dl");
    assert!(plan.contains("policy nothing"), "{plan}");
    assert!(dom.contains("role=\"meter\"") && dom.contains("role=\"columnheader\""), "{dom}");
}

#[test]
fn the_page_is_drawn_at_every_size_and_in_both_schemes() {
    let folder = tempfile::tempdir().unwrap();
    let atoll = Atoll::up(folder.path(), 1, &[]);
    let ready = atoll.ready();
    // Kept for people to look at.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&kept).unwrap();
    for (name, size, more) in [
        ("light", "1280,800", &[][..]),
        ("dark", "1280,800", &["--blink-settings=preferredColorScheme=0"][..]),
        ("phone", "500,1400", &[][..]),
    ] {
        let file = kept.join(format!("{name}.png"));
        let _ = std::fs::remove_file(&file);
        picture(ready.value("page"), size, more, &file);
        let bytes = std::fs::read(&file).unwrap();
        // An empty page of one colour packs into far less.
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 15_000, "{name}: {} bytes", bytes.len());
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let atoll = Atoll::up(folder.path(), 1, &[]);
    let ready = atoll.ready();
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/icon.svg", "image/svg"),
    ] {
        let answer = get(ready.admin(), path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{path}: {}", answer.head);
        assert!(
            answer.head.contains("content-security-policy: default-src 'self'"),
            "{path}: {}",
            answer.head
        );
    }
}

const NODE: &str = r#"{"id":4,"address":"10.0.0.1:7004","sessions":7,"tick_ms":{"p50":60,"p99":120},"cpu_s":1,
    "ghosts":3,"chunks_claimed":2,"alive":false}"#;

fn state_of(fields: &str) -> String {
    format!(r#"{{{fields}"server_cpu_s":1,"uptime_s":3,"tick_budget_ms":100,"role":"up","version":"0"}}"#)
}

#[test]
fn the_page_says_that_a_server_is_starting() {
    let page =
        dom(&serve(|_| Some((503, r#"{"starting":"node 2: registering with the store"}"#.to_owned()))));
    assert!(page.contains("data-contact=\"starting\""), "{page}");
    assert!(page.contains("starting: node 2: registering with the store"), "{page}");
}

#[test]
fn the_page_says_since_when_contact_is_lost_and_keeps_what_it_had() {
    let page = dom(&serve(|asked| {
        let islands = r#""islands":[],"queue":{"waiting":0},"plan":{"number":0,"reasons":[]},"#;
        (asked < 2).then(|| (200, state_of(&format!("\"nodes\":[{NODE}],{islands}"))))
    }));
    assert!(page.contains("data-contact=\"lost\"") && page.contains("lost contact since "), "{page}");
    assert!(page.contains("What you see is from then."), "{page}");
    assert!(text_of(&page, "nodes", "tbody").starts_with("4 away 10.0.0.1:7004 7"), "{page}");
    assert!(page.contains("There is no island yet"), "{page}");
}

#[test]
fn the_page_says_why_nobody_can_play() {
    let page = dom(&serve(|_| {
        let state =
            state_of(&format!("\"nodes\":[{NODE}],\"ready\":false,\"unready\":\"the store is full\","));
        Some((200, state))
    }));
    assert!(page.contains("data-contact=\"unready\""), "{page}");
    assert!(page.contains("Nobody can play right now: the store is full"), "{page}");
}

#[test]
fn the_page_of_a_lone_node_shows_what_the_node_knows() {
    let page = dom(&serve(|_| Some((200, state_of(&format!("\"nodes\":[{NODE}],"))))));
    assert!(page.contains("data-contact=\"live\""), "{page}");
    let hidden = |id: &str| {
        page.split(&format!("id=\"{id}\"")).nth(1).is_some_and(|rest| {
            rest.split('>').next().is_some_and(|attributes| attributes.contains("hidden"))
        })
    };
    assert!(hidden("islands-section") && hidden("plan-section") && !hidden("nodes-table"), "{page}");
}

#[test]
fn what_a_hostile_node_calls_itself_stays_text() {
    let page = dom(&serve(|_| {
        let node = NODE.replace("10.0.0.1:7004", "<img src=x onerror=document.title='hit'>");
        Some((200, state_of(&format!("\"nodes\":[{node}],"))))
    }));
    assert!(page.contains("&lt;img src=x") && !page.contains("<title>hit"), "{page}");
}
