//! What `docs/protocol.md` says of actions and documents, against the rules of the game: names, fields, tables, and the
//! very bytes of its worked examples. The golden tests of `chunk-sync` read the rest of the page; the game is above them.

use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::limits::TICK_HZ;
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::records::{decode, encode};
use chunk_sync::time::Tick;
use chunk_sync::wire::{Act, Docs, LENGTH_BYTES, control, kind};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use world_node::rules::documents::{
    BagRecord, Doc, EstateRecord, EstateVersion, GroundRecord, GroundStack, Permission, Record,
    ResourceRecord, Right, StructureRecord, StructureState,
};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::recipes::Recipe;
use world_node::rules::resources::ResourceKind;
use world_node::rules::site::{Site, TilePos};
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, Action, DocName, RuleReject};

const PAGE: &str = include_str!("../../docs/protocol.md");
const HOME: ChunkPos = ChunkPos::new(8, 8);
const HUT: ActId =
    ActId { player: PlayerId(0x0040_0001_0000_0001), epoch: Epoch(3), island: IslandId(1), act: 1 };

/// The rows (without head) of the `nth` table under a heading, cells without backquotes.
fn table(heading: &str, nth: usize) -> Vec<Vec<String>> {
    let mut below =
        PAGE.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with('#'));
    let mut rows = Vec::new();
    for _ in 0..=nth {
        let table = below.by_ref().skip_while(|line| !line.starts_with('|'));
        rows = table.take_while(|line| line.starts_with('|')).skip(2).map(cells).collect();
    }
    assert!(!rows.is_empty(), "no table {nth} under '{heading}'");
    rows
}

fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

/// The bytes of a worked example.
fn example(fence: &str) -> Vec<u8> {
    let lines = PAGE.lines().skip_while(|line| *line != format!("```hex {fence}")).skip(1);
    let shown = lines.take_while(|line| !line.starts_with("```"));
    let words = shown.flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let bytes: Vec<u8> = words.map(|word| u8::from_str_radix(word, 16).expect("a byte")).collect();
    assert!(!bytes.is_empty(), "no example '{fence}'");
    bytes
}

/// What travels, as plain values.
fn plain(value: &impl Serialize) -> BTreeMap<String, Value> {
    decode(&encode(value)).expect("a map with string keys")
}

/// The names in a cell such as "`chunk`, `resource`: tile number".
fn names(cell: &str) -> BTreeSet<String> {
    // A type may have brackets or a possessive, but no comma.
    let names = cell.split(',').map(|part| part.split(':').next().unwrap_or_default().trim().to_owned());
    names.collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().expect("a map").keys().cloned().collect()
}

/// One of every action; the compiler says here when there is a new one.
fn actions() -> Vec<Action> {
    let place = TilePos { x: 130, y: 131 };
    let (give, want) = (Items::of(ItemKind::Rope, 1), Items::of(ItemKind::Plank, 2));
    let (to, item, count, cell) = (PlayerId(7), ItemKind::Wood, 3, 5);
    let all = vec![
        Action::Gather { chunk: HOME, resource: 37 },
        Action::Craft { recipe: Recipe::Rope },
        Action::Build { kind: StructureKind::Hut, place, turned: false },
        Action::Demolish { chunk: HOME, structure: HUT },
        Action::ClaimEstate { place, chunks: vec![ChunkPos::new(9, 8)] },
        Action::Permit { chunk: HOME, estate: HUT, player: to, rights: vec![Right::Gather] },
        Action::Revoke { chunk: HOME, estate: HUT, player: to },
        Action::Drop { item, count },
        Action::PickUp { chunk: HOME, cell, stack: HUT, count },
        Action::Give { to, item, count },
        Action::Offer { to, give, want },
        Action::Accept { trade: HUT },
        Action::Cancel { trade: HUT },
        Action::Collect { trade: HUT },
        Action::Travel { island: IslandId(2) },
    ];
    for action in &all {
        match action {
            Action::Gather { .. } | Action::Craft { .. } | Action::Build { .. } | Action::Demolish { .. } => {
            }
            Action::ClaimEstate { .. } | Action::Permit { .. } | Action::Revoke { .. } => {}
            Action::Drop { .. } | Action::PickUp { .. } | Action::Give { .. } | Action::Offer { .. } => {}
            Action::Accept { .. } | Action::Cancel { .. } | Action::Collect { .. } => {}
            Action::Travel { .. } => {}
        }
    }
    all
}

#[test]
fn every_action_is_listed_with_its_fields() {
    let listed: BTreeMap<String, BTreeSet<String>> =
        table("## 17 Actions", 0).into_iter().map(|row| (row[0].clone(), names(&row[1]))).collect();
    let known: BTreeMap<String, BTreeSet<String>> = actions()
        .iter()
        .map(|action| {
            let (name, fields) = plain(action).pop_first().expect("one key");
            (name, keys(&fields))
        })
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn values_are_written_as_the_page_says() {
    let plain = |action: &Action| serde_json::to_value(plain(action)).expect("plain values");
    let hut = "0040000100000001.3.1.1";
    assert!(PAGE.contains(&format!("`{hut}`")));
    let expected = [
        (3, serde_json::json!({"demolish": {"chunk": {"x": 8, "y": 8}, "structure": hut}})),
        (
            5,
            serde_json::json!({"permit": {
                "chunk": {"x": 8, "y": 8}, "estate": hut, "player": 7, "rights": ["gather"],
            }}),
        ),
        (10, serde_json::json!({"offer": {"to": 7, "give": {"rope": 1}, "want": {"plank": 2}}})),
        (14, serde_json::json!({"travel": {"island": 2}})),
    ];
    for (at, value) in expected {
        assert_eq!(plain(&actions()[at]), value);
    }
    let spelled = [Right::Gather, Right::Build, Right::Demolish].map(|right| encode(&right));
    assert_eq!(spelled, ["gather", "build", "demolish"].map(|name| encode(&name)));
}

#[test]
fn the_examples_are_what_the_game_reads_and_writes() {
    let all = actions();
    for (name, action) in [("gather", &all[0]), ("craft", &all[1])] {
        let bytes = example(&format!("action={name}"));
        assert_eq!((decode::<Action>(&bytes).as_ref(), &encode(action)), (Some(action), &bytes), "{name}");
        let frame = example(&format!("name=act-{name}"));
        let act: Act = control(kind::ACT, &frame[LENGTH_BYTES + 1..]).expect("an act");
        assert!(act.is_sound() && act.action == bytes, "{name}");
    }
    for (frame, name) in [("docs-own", DocName::Bag), ("docs-chunk", DocName::Resource(37))] {
        let bytes = example(&format!("name={frame}"));
        let docs: Docs = control(kind::DOCS, &bytes[LENGTH_BYTES + 1..]).expect("documents");
        let shown = docs.docs[&name.to_string()].as_ref().expect("it is there");
        let read = Doc::unpack(name, shown).expect("a document of the game");
        assert_eq!(read.pack(), shown.to_vec(), "{frame}");
    }
}

/// A structure with everything in it.
fn structure(state: StructureState) -> StructureRecord {
    let corner = TilePos { x: 130, y: 131 };
    let site = Site::new(HUT, StructureKind::Hut, IslandId(1), corner, false, &[]);
    let allowed = Some(EstateVersion { id: HUT, version: 1 });
    StructureRecord { v: StructureRecord::VERSION, site, state, allowed, steps: 1 }
}

#[test]
fn every_document_is_listed_with_its_fields_and_version() {
    let site = structure(StructureState::Standing).site;
    let mut estate = EstateRecord::claimed_by(&site);
    estate.permissions.push(Permission { player: PlayerId(7), rights: vec![Right::Build] });
    estate.behind.push(HOME);
    let place = Place { x: 1, y: 2 };
    let stack = GroundStack { id: HUT, item: ItemKind::Wood, count: 3, held: 0, place };
    let ground = GroundRecord { v: GroundRecord::VERSION, stacks: vec![stack] };
    let resource = ResourceRecord { v: ResourceRecord::VERSION, left: 3, at: Tick(5) };
    let documents = [
        ("bag", plain(&BagRecord::default())),
        ("resource/ tile number", plain(&resource)),
        ("structure/ act name", plain(&structure(StructureState::Standing))),
        ("estate", plain(&estate)),
        ("ground/ cell number", plain(&ground)),
    ];
    let listed = table("## 18 Documents", 1);
    assert_eq!(listed.len(), documents.len());
    for (row, (name, fields)) in listed.iter().zip(&documents) {
        assert_eq!((row[0].as_str(), &row[2]), (*name, &fields["v"].to_string()));
        assert_eq!(names(&row[3]), fields.keys().cloned().collect(), "{name}");
    }
    let [_, _, (_, structure), (_, estate), (_, ground)] = &documents;
    for (told, value) in [
        (
            "`site` is a map {`id`: act name, `kind`, `island`, `corner`: tile position, `turned`, `claims`: [chunk], `paid`: items}",
            &structure["site"],
        ),
        ("`permissions` is [{`player`, `rights`}]", &estate["permissions"][0]),
        (
            "`stacks` is [{`id`: act name of the drop, `item`, `count`, `held`, `place`}]",
            &ground["stacks"][0],
        ),
    ] {
        assert!(PAGE.contains(told), "the page doesn't say: {told}");
        let said = told.replace('`', "");
        let inner = &said[said.find('{').expect("a map") + 1..said.find('}').expect("a map")];
        assert_eq!(names(inner), keys(value));
    }
}

#[test]
fn states_of_structures_are_spelled_as_the_page_says() {
    let (left, held) = (vec![HOME], Vec::new());
    let spelled = |state: StructureState| plain(&structure(state))["state"].clone();
    assert_eq!(spelled(StructureState::Standing), "standing");
    assert_eq!(spelled(StructureState::Leaving), "leaving");
    assert!(spelled(StructureState::Raising { left: left.clone(), held })["raising"].is_object());
    assert!(spelled(StructureState::Falling { left })["falling"].is_object());
}

fn counts(rows: &[(ItemKind, u32)]) -> String {
    rows.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_tables_of_kinds_are_those_of_the_game() {
    let items: Vec<_> = ItemKind::ALL
        .iter()
        .map(|kind| vec![kind.name().to_owned(), kind.spec().stack.to_string()])
        .collect();
    assert_eq!(table("### Items", 0), items);
    let resources = ResourceKind::ALL.iter().map(|kind| {
        let spec = kind.spec();
        vec![
            kind.name().to_owned(),
            spec.item.name().to_owned(),
            spec.units_max.to_string(),
            spec.units_per_act.to_string(),
            (spec.regrow_ticks / TICK_HZ).to_string(),
            spec.stamina.to_string(),
            spec.tool.map_or("", ItemKind::name).to_owned(),
            format!("{:?}", spec.tile).to_lowercase(),
        ]
    });
    assert_eq!(table("### Resources", 0), resources.collect::<Vec<_>>());
    let recipes = Recipe::ALL.iter().map(|recipe| {
        let spec = recipe.spec();
        vec![recipe.name().to_owned(), counts(spec.needs), counts(spec.gives), spec.stamina.to_string()]
    });
    assert_eq!(table("### Recipes", 0), recipes.collect::<Vec<_>>());
    let structures = StructureKind::ALL.iter().map(|kind| {
        let spec = kind.spec();
        vec![
            kind.name().to_owned(),
            format!("{} × {}", spec.tiles.0, spec.tiles.1),
            counts(spec.materials),
            counts(spec.refund),
            spec.stamina.to_string(),
        ]
    });
    assert_eq!(table("### Structures", 0), structures.collect::<Vec<_>>());
}

#[test]
fn every_no_of_the_game_is_listed_with_its_text() {
    let known: Vec<_> = RuleReject::ALL
        .iter()
        .map(|no| vec![no.code().to_string(), no.label().to_owned(), no.text().to_owned()])
        .collect();
    assert_eq!(table("### Why the game says no", 0), known);
}
