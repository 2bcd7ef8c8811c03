//! Reads `docs/protocol.md`: its tagged hex examples and its tables. Called by the golden tests only; it never
//! guesses: what it can't read is a failure.

use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/protocol.md");
const WIRE_SOURCE: &str = include_str!("../../src/wire.rs");
const FENCE: &str = "```hex name=";

/// All worked examples, by name.
pub(crate) fn examples() -> BTreeMap<String, Vec<u8>> {
    let mut examples = BTreeMap::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix(FENCE) else { continue };
        let bytes =
            lines.by_ref().take_while(|line| !line.starts_with("```")).flat_map(bytes_of_line).collect();
        assert!(examples.insert(name.to_owned(), bytes).is_none(), "two examples are called '{name}'");
    }
    examples
}

fn bytes_of_line(line: &str) -> Vec<u8> {
    let shown = line.split('#').next().unwrap_or_default();
    let byte = |word: &str| match u8::from_str_radix(word, 16) {
        Ok(byte) if word.len() == 2 => byte,
        _ => panic!("'{word}' is no byte, in the line '{line}'"),
    };
    shown.split_whitespace().map(byte).collect()
}

/// The rows (without head) of the `nth` table under the heading, cells without backquotes.
pub(crate) fn table(heading: &str, nth: usize) -> Vec<Vec<String>> {
    let mut below =
        PAGE.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with('#'));
    let mut rows = Vec::new();
    for _ in 0..=nth {
        rows = below
            .by_ref()
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'))
            .skip(2)
            .map(cells)
            .collect();
    }
    assert!(!rows.is_empty(), "no table {nth} under '{heading}'");
    rows
}

fn cells(row: &str) -> Vec<String> {
    let inner = row.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

/// The kinds of frames as the source of `wire::kind` names them: a new one can't be forgotten here.
pub(crate) fn kinds_in_code() -> Vec<(String, u8)> {
    let module = WIRE_SOURCE.split("pub mod kind {").nth(1).expect("wire.rs has a module of kinds");
    let module = &module[..module.find("\n}").expect("the module ends")];
    let kinds: Vec<_> = module
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub const "))
        .map(|constant| {
            let (name, value) = constant.split_once(": u8 = 0x").expect("kinds are hexadecimal bytes");
            (name.to_owned(), u8::from_str_radix(value.trim_end_matches(';'), 16).expect("a byte"))
        })
        .collect();
    assert!(!kinds.is_empty());
    kinds
}
