//! The values behind the worked examples of acts and documents. What an action and a document say is opaque here; the
//! tests of `loadtest` read the same bytes of the page as the game does.

use crate::sample::Sample;
use chunk_sync::ids::Epoch;
use chunk_sync::place::ChunkPos;
use chunk_sync::wire::{Act, ActNumber, ActOutcome, Acted, Docs, RejectCode};
use serde_bytes::ByteBuf;

const EPOCH: Epoch = Epoch(3);
const HOME: ChunkPos = ChunkPos::new(8, 8);
/// {"gather": {"chunk": {"x": 8, "y": 8}, "resource": 37}}
const GATHER: &[u8] = b"\x81\xa6gather\x82\xa5chunk\x82\xa1x\x08\xa1y\x08\xa8resource\x25";
/// {"craft": {"recipe": "rope"}}
const CRAFT: &[u8] = b"\x81\xa5craft\x81\xa6recipe\xa4rope";
/// {"v": 2, "items": {"wood": 7, "rope": 1}, "held": {}, "stamina": {"value": 96, "at": 70000}}
const BAG: &[u8] =
    b"\x84\xa1v\x02\xa5items\x82\xa4wood\x07\xa4rope\x01\xa4held\x80\xa7stamina\x82\xa5value\x60\
    \xa2at\xce\x00\x01\x11\x70";
/// {"v": 1, "left": 18, "at": 70000}
const RESOURCE: &[u8] = b"\x83\xa1v\x01\xa4left\x12\xa2at\xce\x00\x01\x11\x70";

fn act(number: u32, action: &[u8]) -> Sample {
    // Neither of the two is answered yet.
    let (id, answered) = (ActNumber::new(EPOCH, number), ActNumber::new(EPOCH, 0));
    Sample::Act(Act { id, answered, island: 1, action: action.to_vec() })
}

fn acted(number: u32, outcome: ActOutcome, why: Option<(u16, &str, &str)>) -> Sample {
    let (code, reason, text) = why.unwrap_or_default();
    let id = ActNumber::new(EPOCH, number);
    Sample::Acted(Acted { id, outcome, code, reason: reason.to_owned(), text: text.to_owned() })
}

pub(crate) fn act_messages() -> Vec<(&'static str, Sample)> {
    let away = RejectCode::StoreAway;
    let refusal = (away as u16, away.label(), away.text());
    let slow = RejectCode::StoreSlow;
    let waits = (slow as u16, slow.label(), slow.text());
    let shelf = |name: &str, bytes: Option<&[u8]>| (name.to_owned(), bytes.map(ByteBuf::from));
    let own = Docs { chunk: None, whole: true, docs: [shelf("bag", Some(BAG))].into() };
    let changed = [shelf("ground/5", None), shelf("resource/37", Some(RESOURCE))].into();
    vec![
        ("act-gather", act(1, GATHER)),
        ("act-craft", act(2, CRAFT)),
        ("acted-waiting", acted(1, ActOutcome::Waiting, Some(waits))),
        ("acted-done", acted(1, ActOutcome::Done, None)),
        ("acted-refused", acted(2, ActOutcome::Refused, Some(refusal))),
        ("acted-over", acted(2, ActOutcome::Over, None)),
        ("docs-own", Sample::Docs(own)),
        ("docs-chunk", Sample::Docs(Docs { chunk: Some(HOME), whole: false, docs: changed })),
    ]
}
