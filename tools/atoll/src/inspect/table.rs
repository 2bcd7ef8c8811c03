//! An answer for people: a line for each fact, a table for each list.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

/// Draws an answer.
pub(super) fn draw(answer: &Value) -> String {
    let mut out = String::new();
    let Some(facts) = answer.as_object() else { return format!("{answer}\n") };
    let lists = |value: &Value| value.as_array().is_some_and(|rows| rows.iter().all(Value::is_object));
    let width = facts.keys().map(String::len).max().unwrap_or(0);
    let line = "writing to a string can't fail";
    for (name, value) in facts.iter().filter(|(name, value)| !lists(value) && *name != "next") {
        writeln!(out, "{:width$}  {}", name.replace('_', " "), text(value)).expect(line);
    }
    for (name, value) in facts.iter().filter(|(_, value)| lists(value)) {
        let rows: Vec<&Map<String, Value>> =
            value.as_array().into_iter().flatten().filter_map(Value::as_object).collect();
        writeln!(out, "\n{}: {}", name.replace('_', " "), rows.len()).expect(line);
        out.push_str(&rows_of(&rows));
    }
    if let Some(next) = facts.get("next").and_then(Value::as_str) {
        writeln!(out, "\nthere is more: --after {next}").expect(line);
    }
    out
}

fn rows_of(rows: &[&Map<String, Value>]) -> String {
    let mut widths: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, value) in rows.iter().flat_map(|row| row.iter()) {
        let width = widths.entry(name).or_insert(name.len());
        *width = (*width).max(text(value).chars().count());
    }
    // A name comes first.
    let mut names: Vec<&str> = widths.keys().copied().collect();
    names.sort_by_key(|name| (*name != "id", *name));
    let mut out = String::new();
    let mut line = |cells: Vec<String>| {
        let cells =
            names.iter().zip(cells).map(|(name, cell)| format!("{cell:width$}", width = widths[name]));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    };
    if !rows.is_empty() {
        line(names.iter().map(|name| name.replace('_', " ")).collect());
    }
    for row in rows {
        line(names.iter().map(|name| row.get(*name).map(text).unwrap_or_default()).collect());
    }
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.is_empty() => "nothing".to_owned(),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != "v");
            fields.map(|(name, value)| format!("{name} {}", text(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn facts_are_lines_and_lists_are_tables() {
        let answer = json!({
            "player": "0040", "carries": { "wood": 3, "rope": 1 }, "sent": [], "place": null,
            "estates": [{ "at": "chunk/1/2/3", "id": "a" }, { "at": "x", "id": "longer" }], "next": "7:longer",
        });
        let drawn = draw(&answer);
        let wanted = "carries  rope 1, wood 3\nplace    -\nplayer   0040\n\nestates: 2\nid      at\na       chunk/1/2/3\n\
                      longer  x\n\nsent: 0\n\nthere is more: --after 7:longer\n";
        assert_eq!(drawn, wanted);
    }
}
