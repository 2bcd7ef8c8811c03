//! Arrivals from a file: `seconds,arrivals` (so many come from this row's second until the next row's) or `seconds,ccu` (so many
//! are inside then). Every fault is told with its line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::curves::{Expected, Span};
use super::laws::Sessions;
use super::limits::{ARRIVALS_FILE_BYTES_MAX, BIN_S, DAY_S, FILE_FAULTS_MAX};

/// How long the only row of a file holds.
const ONLY_ROW_S: u32 = 60;

/// What the second column says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Arrivals,
    Inside,
}

/// Reads a file and scales its numbers.
///
/// # Errors
/// Everything that is wrong with it, each in a sentence.
pub(super) fn read(path: &Path, scale: f64, sessions: &Sessions) -> Result<Expected, Vec<String>> {
    let name = path.display();
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(ARRIVALS_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(fault) => Err(vec![format!("--arrivals {name}: {fault}")]),
        Ok(bytes) if bytes as u64 > ARRIVALS_FILE_BYTES_MAX => {
            let mib = ARRIVALS_FILE_BYTES_MAX >> 20;
            Err(vec![format!("--arrivals {name}: the file is larger than {mib} MiB")])
        }
        Ok(_) => parse(&text, scale, sessions)
            .map_err(|faults| faults.iter().map(|fault| format!("--arrivals {name}: {fault}")).collect()),
    }
}

fn parse(text: &str, scale: f64, sessions: &Sessions) -> Result<Expected, Vec<String>> {
    let lines = text.lines().enumerate().map(|(nth, line)| (nth + 1, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let column = match lines.next() {
        None => return Err(vec!["the file is empty".to_owned()]),
        Some((number, line)) => column(line).map_err(|fault| vec![format!("line {number}: {fault}")])?,
    };
    let (mut rows, mut faults): (Vec<(u32, f64)>, Vec<String>) = (Vec::new(), Vec::new());
    for (number, line) in lines {
        match row(line, rows.last().map(|(at_s, _)| *at_s), rows.first().map(|(at_s, _)| *at_s)) {
            Ok(row) => rows.push(row),
            Err(fault) => faults.push(format!("line {number}: {fault}")),
        }
    }
    let least = if column == Column::Inside { 2 } else { 1 };
    if rows.len() < least && faults.is_empty() {
        faults.push(format!("{} of at least {least} rows of numbers after the header", rows.len()));
    }
    if !faults.is_empty() {
        let more = faults.len().saturating_sub(FILE_FAULTS_MAX);
        faults.truncate(FILE_FAULTS_MAX);
        faults.extend((more > 0).then(|| format!("and {more} more faults like these")));
        return Err(faults);
    }
    let first = rows[0].0;
    let rows: Vec<(u32, f64)> = rows.iter().map(|(at_s, value)| (at_s - first, value * scale)).collect();
    Ok(match column {
        Column::Arrivals => counted(&rows),
        Column::Inside => Expected::of_inside(&inside_by_bin(&rows), sessions),
    })
}

fn column(header: &str) -> Result<Column, String> {
    let columns: Vec<String> = header.split(',').map(|column| column.trim().to_lowercase()).collect();
    match columns.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["seconds", "arrivals"] => Ok(Column::Arrivals),
        ["seconds", "ccu"] => Ok(Column::Inside),
        _ => Err(format!("the header must be seconds,arrivals or seconds,ccu, not {}", shown(header))),
    }
}

fn row(line: &str, before: Option<u32>, first: Option<u32>) -> Result<(u32, f64), String> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let [at, value] = cells[..] else {
        return Err(format!("{} columns instead of 2", cells.len()));
    };
    let at_s: u32 = at.parse().map_err(|_| format!("{} is no whole number of seconds", shown(at)))?;
    let value: f64 = value.parse().map_err(|_| format!("{} is no number", shown(value)))?;
    if !(value.is_finite() && value >= 0.0) {
        return Err(format!("{value} is no number of players"));
    }
    if let Some(before) = before.filter(|before| *before >= at_s) {
        return Err(format!("second {at_s} doesn't come after {before}"));
    }
    if first.is_some_and(|first| at_s - first > DAY_S) {
        return Err(format!("second {at_s} is more than a day after the first"));
    }
    Ok((at_s, value))
}

/// A cell of a strange file, short enough to print.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    format!("{short:?}")
}

fn counted(rows: &[(u32, f64)]) -> Expected {
    let last = match rows {
        [.., (before, _), (at_s, _)] => at_s + (at_s - before),
        _ => ONLY_ROW_S,
    };
    let ends = rows.iter().skip(1).map(|(at_s, _)| *at_s).chain([last]);
    let span =
        |((from_s, players), to_s): (&(u32, f64), u32)| Span { from_s: *from_s, to_s, players: *players };
    Expected { spans: rows.iter().zip(ends).map(span).collect(), counted: true }
}

/// Players inside at the end of each bin, in a straight line from row to row.
fn inside_by_bin(rows: &[(u32, f64)]) -> Vec<f64> {
    let bins = rows.last().map_or(0, |(at_s, _)| at_s.div_ceil(BIN_S));
    let mut after = 1;
    let at = |bin: u32| {
        let end_s = (bin + 1) * BIN_S;
        while after + 1 < rows.len() && rows[after].0 < end_s {
            after += 1;
        }
        let ((from_s, from), (to_s, to)) = (rows[after - 1], rows[after]);
        let part = (f64::from(end_s - from_s) / f64::from(to_s - from_s)).min(1.0);
        from + (to - from) * part
    };
    (0..bins).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Expected, Vec<String>> {
        parse(text, 2.0, &Sessions::new(3_600.0, 0.55))
    }

    #[test]
    fn counts_hold_until_the_next_row_and_are_scaled() {
        let expected = parsed("# a comment\nseconds, Arrivals\n100,5\n\n160,7\n").unwrap();
        assert!(expected.counted);
        let spans = [(0, 60, 10.0), (60, 120, 14.0)];
        assert_eq!(expected.spans, spans.map(|(from_s, to_s, players)| Span { from_s, to_s, players }));
    }

    #[test]
    fn players_inside_are_drawn_as_straight_lines() {
        assert_eq!(inside_by_bin(&[(0, 0.0), (20, 40.0), (50, 10.0)]), [20.0, 40.0, 30.0, 20.0, 10.0]);
        let expected = parsed("seconds,ccu\n0,0\n600,1000").unwrap();
        assert!(!expected.counted && expected.end_s() == 600 && expected.total() > 2_000.0);
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let text = "seconds,arrivals\n0,1\n10,x\n-5,2\n5,nan\n0,3\n20\n20,-1\n100000,1\n";
        let faults = parsed(text).unwrap_err();
        let lines: Vec<&str> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["line 3", "line 4", "line 5", "line 6", "line 7", "line 8", "line 9"]);
        assert_eq!(faults[0], "line 3: \"x\" is no number");
        assert!(parsed("").unwrap_err()[0].contains("empty"));
        assert!(parsed("time,players\n1,2").unwrap_err()[0].contains("line 1: the header"));
        assert!(parsed("seconds,ccu\n1,2").unwrap_err()[0].contains("1 of at least 2 rows"));
        let many = format!("seconds,ccu\n{}", "?\n".repeat(100));
        let faults = parsed(&many).unwrap_err();
        assert_eq!((faults.len(), faults[10].as_str()), (11, "and 90 more faults like these"));
    }
}
