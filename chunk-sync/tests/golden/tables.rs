//! The tables of `docs/protocol.md` against the code: kinds, fields, tiles, reject codes, limits.

use crate::page;
use crate::sample::Sample;
use crate::samples;
use chunk_sync::place::ChunkPos;
use chunk_sync::terrain::Tile;
use chunk_sync::wire::{Act, ActNumber, ActOutcome, Acted, Docs, Hello, RejectCode};
use chunk_sync::{limits, ticket};
use serde::Serialize;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn the_table_of_kinds_is_that_of_the_code() {
    let shown: Vec<(String, u8)> = page::table("## 3 Kinds", 0)
        .into_iter()
        .map(|row| {
            let number = row[0].strip_prefix("0x").expect("a hexadecimal kind");
            (row[1].clone(), u8::from_str_radix(number, 16).expect("a byte"))
        })
        .collect();
    assert_eq!(shown, page::kinds_in_code());
}

#[test]
fn every_refusal_is_listed_with_its_text() {
    let shown: Vec<(u16, String, String)> = page::table("## 13 Reject codes", 0)
        .into_iter()
        .map(|row| {
            assert!(row.len() == 4 && !row[3].is_empty(), "{row:?} says what a client does");
            (row[0].parse().expect("a code"), row[1].clone(), row[2].clone())
        })
        .collect();
    let known: Vec<_> =
        RejectCode::ALL.iter().map(|c| (*c as u16, c.label().to_owned(), c.text().to_owned())).collect();
    assert_eq!(shown, known);
}

#[test]
fn tiles_are_listed_with_what_stops_you() {
    let rows = page::table("## 7 Land", 1);
    for (at, row) in rows.iter().enumerate() {
        let tile = Tile::from_byte(at as u8).expect("a tile with this number");
        let said = (row[0].as_str(), row[1].as_str(), row[2].as_str());
        let (number, name) = (at.to_string(), format!("{tile:?}").to_lowercase());
        assert_eq!(said, (number.as_str(), name.as_str(), if tile.is_walkable() { "yes" } else { "no" }));
    }
    assert_eq!(Tile::from_byte(rows.len() as u8), None, "a tile is missing on the page");
}

#[test]
fn outcomes_are_listed_with_whether_they_are_final() {
    let known = [ActOutcome::Done, ActOutcome::Refused, ActOutcome::Over, ActOutcome::Waiting];
    let rows = page::table("### `ACTED`", 1);
    assert_eq!(rows.len(), known.len());
    for (row, outcome) in rows.iter().zip(known) {
        let spelled: ActOutcome = rmp_serde::from_slice(&rmp_serde::to_vec(&row[0]).expect("a string"))
            .expect("an outcome of this name");
        assert_eq!(
            (spelled, row[1].as_str()),
            (outcome, if outcome == ActOutcome::Waiting { "no" } else { "yes" })
        );
    }
}

/// Field names in a control message as it travels.
fn fields<T: Serialize>(message: &T) -> BTreeSet<String> {
    let bytes = rmp_serde::to_vec_named(message).expect("plain data");
    rmp_serde::from_slice::<BTreeMap<String, IgnoredAny>>(&bytes).expect("a map").into_keys().collect()
}

fn assert_fields(heading: &str, full: &BTreeSet<String>, least: &BTreeSet<String>) {
    let rows = page::table(heading, 0);
    let listed: BTreeSet<String> = rows.iter().map(|row| row[0].clone()).collect();
    let required: BTreeSet<String> =
        rows.iter().filter(|row| row[2] == "no").map(|row| row[0].clone()).collect();
    assert_eq!((listed.len(), &listed), (rows.len(), full), "{heading}");
    assert_eq!(&required, least, "what is not optional in {heading}");
}

#[test]
fn field_tables_name_every_field() {
    let hello = Hello {
        min: 1,
        max: 1,
        features: vec![String::new()],
        levels: vec![0],
        client: "x".to_owned(),
        name: Some(String::new()),
        island: Some(1),
        ticket: Some(vec![1]),
    };
    assert_fields("### `HELLO`", &fields(&hello), &fields(&Hello::default()));
    for (_, sample) in samples::all() {
        match sample {
            Sample::Seat(seat) => assert_fields("### `SEAT`", &fields(&seat), &fields(&seat)),
            Sample::Welcome(welcome) => assert_fields("### `WELCOME`", &fields(&welcome), &fields(&welcome)),
            _ => {}
        }
    }
    let act = Act { id: ActNumber(2), answered: ActNumber(1), island: 1, action: vec![1] };
    assert_fields("### `ACT`", &fields(&act), &fields(&act));
    let (reason, text) = ("x".to_owned(), "x".to_owned());
    let refused = Acted { id: ActNumber(1), outcome: ActOutcome::Refused, code: 1, reason, text };
    let done = Acted { reason: String::new(), text: String::new(), ..refused.clone() };
    assert_fields("### `ACTED`", &fields(&refused), &fields(&done));
    let docs = Docs { chunk: Some(ChunkPos::new(1, 2)), ..Docs::default() };
    assert_fields("## 18 Documents", &fields(&docs), &fields(&Docs::default()));
    let reject = chunk_sync::wire::Reject { code: 1, reason: String::new(), text: String::new() };
    assert_fields("### `REJECT`", &fields(&reject), &fields(&reject));
}

#[test]
fn limits_have_the_values_of_the_code() {
    macro_rules! named { ($($name:ident),* $(,)?) => { [$((stringify!($name), limits::$name as u64)),*] }; }
    let known = named![
        CLIENT_FRAME_BYTES_MAX,
        SERVER_FRAME_BYTES_MAX,
        HELLO_BYTES_MAX,
        HELLO_WAIT_MS,
        HELLO_PENDING_MAX,
        KEEP_ALIVE_MS,
        SILENT_MS_MAX,
        CLIENT_READ_BYTES_PER_TICK_MAX,
        CLIENT_FRAMES_PER_TICK_MAX,
        CLIENT_BACKLOG_BYTES_MAX,
        CLIENT_STALLED_MS_MAX,
        ACTION_BYTES_MAX,
        ACTS_OPEN_MAX,
        ACT_WAIT_MS,
        ACT_RESENT_MS_MAX,
        DOCS_FRAME_BYTES_MAX,
        NAME_BYTES_MAX,
        SLOTS_PER_CHUNK_MAX,
        TICK_MS,
        CHUNK_M,
        QUANTA_PER_CHUNK,
        QUANTA_PER_M,
        TILE_M,
        TILES_PER_CHUNK,
        ISLAND_EDGE_CHUNKS,
        NEAR_RING,
        FAR_RING,
        TETHER_M,
        WALK_MM_PER_S,
        WALK_TOLERANCE_PERCENT,
        WALK_SAVED_MS_MAX,
        KEYFRAME_EVERY_TICKS,
        SLOT_REST_TICKS,
        TICKET_MS,
        TICKET_NODES_MAX,
    ];
    let shown: Vec<(String, u64)> = page::table("## 14 Limits", 0)
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().expect("a plain number")))
        .collect();
    let known: Vec<(String, u64)> = known.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(shown, known);
    assert_eq!(ticket::TICKET_BYTES_MAX, 120, "section 15 says so");
}
