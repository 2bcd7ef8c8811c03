//! What `docs/protocol.md` claims in words about control messages, tried on bytes that another MessagePack library
//! could have written.

use chunk_sync::ids::{Epoch, IslandId};
use chunk_sync::limits::{ACTION_BYTES_MAX, CLIENT_FRAME_BYTES_MAX, SERVER_FRAME_BYTES_MAX};
use chunk_sync::place::{ChunkPos, Place, Pose};
use chunk_sync::terrain::{ChunkTiles, Terrain, Tile, tile_in_chunk};
use chunk_sync::wire::{
    Act, ActNumber, Docs, Framer, Hello, LENGTH_BYTES, control, decode_land, kind, land_frame,
};
use std::ops::ControlFlow;

fn hello(body: &[u8]) -> Result<Hello, chunk_sync::wire::WireError> {
    control(kind::HELLO, body)
}

#[test]
fn keys_come_in_any_order_and_unknown_ones_are_skipped() {
    // {"max": 1, "later": {"a": [1, nil]}, "min": 1}
    let body = b"\x83\xa3max\x01\xa5later\x81\xa1a\x92\x01\xc0\xa3min\x01";
    assert_eq!(hello(body), Ok(Hello { min: 1, max: 1, ..Hello::default() }));
}

#[test]
fn integers_and_strings_may_be_wider_than_needed() {
    // min as u64, max as u16, name as str 32, island as u32, ticket as bin 16
    let body =
        b"\x85\xa3min\xcf\0\0\0\0\0\0\0\x01\xa3max\xcd\0\x01\xa4name\xdb\0\0\0\x02Bo\xa6island\xce\0\0\0\x07\
        \xa6ticket\xc5\0\x02\x01\x02";
    let said = Hello {
        min: 1,
        max: 1,
        name: Some("Bo".to_owned()),
        island: Some(7),
        ticket: Some(vec![1, 2]),
        ..Hello::default()
    };
    assert_eq!(hello(body), Ok(said));
}

#[test]
fn what_is_required_must_be_there_and_must_fit() {
    assert!(hello(b"\x81\xa3min\x01").is_err(), "max is missing");
    assert!(hello(b"\x82\xa3min\x01\xa3max\xce\0\x01\0\0").is_err(), "65536 is no u16");
    assert!(hello(b"\x82\xa3min\x01\xa3max\xa11").is_err(), "a string is no number");
    assert!(hello(b"").is_err());
}

#[test]
fn acts_are_sound_or_not_as_the_page_says() {
    // {"action": bin 8, "island": 1, "answered": 3 << 32, "id": (3 << 32) + 1, "later": true}
    let body = b"\x85\xa6action\xc4\x01\x80\xa6island\x01\xa8answered\xcf\0\0\0\x03\0\0\0\0\
        \xa2id\xcf\0\0\0\x03\0\0\0\x01\xa5later\xc3";
    let act: Act = control(kind::ACT, body).unwrap();
    let (id, answered) = (ActNumber::new(Epoch(3), 1), ActNumber::new(Epoch(3), 0));
    assert_eq!(act, Act { id, answered, island: 1, action: vec![0x80] });
    assert!(act.is_sound());
    assert!(!Act { answered: id, ..act.clone() }.is_sound(), "answered before it was asked for");
    assert!(!Act { id: ActNumber::new(Epoch(3), 0), answered: ActNumber(0), ..act.clone() }.is_sound());
    assert!(Act { action: vec![0; ACTION_BYTES_MAX], ..act.clone() }.is_sound());
    assert!(!Act { action: vec![0; ACTION_BYTES_MAX + 1], ..act }.is_sound());
    assert!(control::<Act>(kind::ACT, &body[..body.len() - 8]).is_err());
}

#[test]
fn documents_of_nobody_in_particular_are_the_players_own() {
    // {"docs": {"bag": nil}, "whole": false}
    let docs: Docs = control(kind::DOCS, b"\x82\xa4docs\x81\xa3bag\xc0\xa5whole\xc2").unwrap();
    assert_eq!(docs, Docs { chunk: None, whole: false, docs: [("bag".to_owned(), None)].into() });
}

#[test]
fn the_longest_frames_pass_and_one_byte_more_does_not() {
    for max in [CLIENT_FRAME_BYTES_MAX, SERVER_FRAME_BYTES_MAX] {
        let feed = |length: usize| {
            Framer::new(max).feed(&(length as u32).to_be_bytes(), |_, _| ControlFlow::Continue(()))
        };
        assert!(feed(max).is_ok() && feed(1).is_ok());
        assert!(feed(max + 1).is_err() && feed(0).is_err());
    }
}

#[test]
fn places_below_zero_are_shifted_and_masked() {
    let place = Place { x: -1, y: -4_097 };
    assert_eq!(place.chunk(), ChunkPos::new(-1, -2));
    assert_eq!(Pose::new(place, 5), Pose(4_095 << 20 | 4_095 << 8 | 5));
}

#[test]
fn the_formula_of_tiles_is_that_of_the_code() {
    for index in [0, 15, 16, 37, 255usize] {
        let mut tiles: ChunkTiles = [Tile::Grass; 256];
        tiles[index] = Tile::Cliff;
        for (x, y) in [(0, 0), (4_095, 4_095), (255, 256), (5 * 256 + 9, 2 * 256 + 255), (3_840, 0), (7, 300)]
        {
            let place = Place { x: x + 3 * 4_096, y: y + 4_096 };
            let formula =
                16 * (place.y.div_euclid(256).rem_euclid(16)) + place.x.div_euclid(256).rem_euclid(16);
            let expected = if formula as usize == index { Tile::Cliff } else { Tile::Grass };
            assert_eq!(tile_in_chunk(&tiles, place), expected);
        }
    }
}

#[test]
fn land_that_is_sent_is_the_land_that_is_generated() {
    let terrain = Terrain::new(0x1122_3344_5566_7788, IslandId(1));
    for chunk in [ChunkPos::new(8, 8), ChunkPos::new(0, 0), ChunkPos::new(4, 5), ChunkPos::new(15, 9)] {
        let frame = land_frame(chunk, &terrain.chunk_tiles(chunk));
        let (said, tiles) = decode_land(&frame[LENGTH_BYTES + 1..]).unwrap();
        assert_eq!(said, chunk);
        for (dx, dy) in (0..4_096).step_by(128).flat_map(|x| (0..4_096).step_by(128).map(move |y| (x, y))) {
            let place = Place { x: i32::from(chunk.x) * 4_096 + dx, y: i32::from(chunk.y) * 4_096 + dy };
            assert_eq!(tile_in_chunk(&tiles, place), terrain.tile(place), "{place:?}");
        }
    }
}
