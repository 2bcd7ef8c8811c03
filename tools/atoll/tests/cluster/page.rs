//! The page in a real browser, on a real cluster with somebody in it.

use std::path::Path;

use crate::browser::{dom, picture};
use crate::http::{get, sessions, state};
use crate::players::Player;
use crate::process::{Atoll, wait_for};

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
