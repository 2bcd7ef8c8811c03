//! Golden tests of the wire: the worked examples and tables of `docs/protocol.md` against the code. Run by
//! `cargo test -p chunk-sync`. A change of any byte, field, number or text shows up here and as a diff of that page;
//! nothing here ever rewrites the page.

mod acts;
mod claims;
mod page;
mod sample;
mod samples;
mod tables;

use chunk_sync::blocks::StreamId;
use chunk_sync::wire::LENGTH_BYTES;
use sample::Sample;
use std::collections::BTreeSet;

/// Bytes as the page shows them, so that a failure can be compared by eye.
fn hex(bytes: &[u8]) -> String {
    let line = |part: &[u8]| part.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_sample_encodes_to_the_bytes_of_its_example() {
    let examples = page::examples();
    for (name, sample) in samples::all() {
        let shown = examples.get(name).unwrap_or_else(|| panic!("docs/protocol.md has no example '{name}'"));
        let made = sample.encode();
        assert_eq!(&made, shown, "example '{name}'\ncode:\n{}\npage:\n{}", hex(&made), hex(shown));
    }
}

#[test]
fn every_example_decodes_to_its_sample() {
    let samples = samples::all();
    for (name, bytes) in page::examples() {
        let (_, sample) = samples.iter().find(|(n, _)| *n == name).unwrap_or_else(|| {
            panic!("example '{name}' of docs/protocol.md has no sample here; its bytes are\n{}", hex(&bytes))
        });
        assert_eq!(&sample.decode_like(&bytes), sample, "example '{name}'");
    }
}

#[test]
fn every_kind_of_frame_has_an_example() {
    let shown: BTreeSet<u8> = samples::all()
        .iter()
        .filter(|(_, sample)| sample.is_frame())
        .map(|(_, sample)| sample.encode()[LENGTH_BYTES])
        .collect();
    let known: BTreeSet<u8> = page::kinds_in_code().into_iter().map(|(_, number)| number).collect();
    assert_eq!(shown, known);
}

#[test]
fn every_kind_of_block_has_an_example() {
    let shown: BTreeSet<(u8, bool)> = samples::all()
        .into_iter()
        .filter_map(|(_, sample)| match sample {
            Sample::Block(block) => Some((block.stream.index(), block.keyframe)),
            _ => None,
        })
        .collect();
    for stream in StreamId::ALL {
        assert!(shown.contains(&(stream.index(), true)), "no keyframe of {stream:?}");
    }
    assert!(shown.contains(&(0, false)) && shown.contains(&(1, false)), "no deltas");
}

#[test]
fn an_example_cut_short_is_never_taken_for_whole() {
    for (name, sample) in samples::all() {
        let bytes = sample.encode();
        for length in 0..bytes.len() {
            assert!(
                !sample.accepts(&bytes[..length]),
                "'{name}' was accepted with {length} of {} bytes",
                bytes.len()
            );
        }
        assert!(sample.accepts(&bytes), "'{name}'");
    }
}
