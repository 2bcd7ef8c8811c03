//! Tools of the binary that run once: their exit code and what they print.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a tool said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `atoll` in `folder` to its end.
pub(crate) fn atoll(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ATOLL_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    let done = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

/// Audits what `arguments` name and wants this exit code.
pub(crate) fn audit(folder: &Path, arguments: &[&str], code: i32) -> Value {
    let said = atoll(folder, &[&["audit", "--json"], arguments].concat());
    assert_eq!(said.code, Some(code), "{said:?}");
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// The texts of a report's findings.
pub(crate) fn findings(report: &Value) -> Vec<String> {
    let texts = report["findings"].as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}
