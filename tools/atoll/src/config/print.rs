//! `atoll config`: every key as a configuration file that can be used as it is.

use std::fmt::Write;

use super::keys::{KEYS, Key, Role};

const HEAD: &str = "\
# Atoll's configuration: every key, with its default.
#
# Give it as `--config FILE` (or ATOLL_CONFIG). A flag (--port-base) counts before a variable (ATOLL_PORT_BASE),
# that before the file, and the file before the default. One file serves all roles; each takes its own keys.
# Every change needs a restart.
";

/// The whole file.
pub(crate) fn config_file() -> String {
    let mut text = HEAD.to_owned();
    let mut names: Vec<&str> = Vec::new();
    for key in KEYS.iter() {
        if !names.contains(&key.name) {
            names.push(key.name);
            let same = KEYS.iter().filter(|other| other.name == key.name);
            text.push_str(&entry(&same.collect::<Vec<_>>()));
        }
    }
    text
}

/// One key; its rows differ by role.
fn entry(rows: &[&Key]) -> String {
    let mut text = String::from("\n");
    let line = "writing to a string can't fail";
    for row in rows {
        let roles: Vec<&str> = row.roles.iter().map(|role| role.name()).collect();
        let whose = if row.roles == Role::ALL { "all roles".to_owned() } else { roles.join(", ") };
        let unit = if row.unit.is_empty() { String::new() } else { format!(" [{}]", row.unit) };
        writeln!(text, "# {whose}: {}{unit}; needs a restart", row.meaning).expect(line);
    }
    let (name, shape) = (rows[0].name, rows[0].shape);
    for row in rows {
        let role = row.roles[0].name();
        match &row.default {
            // Rows with defaults of their own can't both stand in one file.
            Some(default) if rows.len() > 1 => {
                writeln!(text, "# {name} = {}   # default of {role}", quoted(default)).expect(line);
            }
            Some(default) => writeln!(text, "{name} = {}", quoted(default)).expect(line),
            None if std::ptr::eq(*row, rows[0]) => writeln!(text, "# {name} = \"{shape}\"").expect(line),
            None => {}
        }
    }
    text
}

fn quoted(default: &str) -> String {
    if default.parse::<i64>().is_ok() { default.to_owned() } else { format!("{default:?}") }
}
