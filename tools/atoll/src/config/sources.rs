//! Where values come from: flags, then `ATOLL_*` variables, then the file, then defaults. Nothing is parsed here;
//! a value keeps its origin, so that a complaint can name what the user wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::keys::{KEYS, Key, Role, keys_of};
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// The variable that names the configuration file when no flag does.
pub(crate) const FILE_VARIABLE: &str = "ATOLL_CONFIG";

/// Where a value was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// `--key`.
    Flag,
    /// `ATOLL_KEY`.
    Variable,
    /// The configuration file.
    File(PathBuf),
    /// Nowhere.
    Default,
}

/// A value as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    /// Its key.
    pub(crate) key: &'static str,
    /// Its text.
    pub(crate) text: String,
    /// Where.
    pub(crate) origin: Origin,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { key, text, origin } = self;
        // A store's URL may hold a password.
        let text = if *key == "store" { "…" } else { text };
        match origin {
            Origin::Flag => write!(f, "--{key} {text}"),
            Origin::Variable => {
                write!(f, "ATOLL_{}={text}", key.to_uppercase().replace('-', "_"))
            }
            Origin::File(path) => write!(f, "{}: {key} = {text}", path.display()),
            Origin::Default => write!(f, "{key} {text} (the default)"),
        }
    }
}

/// What was given for one role.
#[derive(Debug)]
pub(crate) struct Sources {
    role: Role,
    flags: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    path: PathBuf,
}

impl Sources {
    /// Puts the sources of `role` together. `variables` are those of the environment; the file is read if one is
    /// named. What is wrong is appended to `faults`.
    pub(crate) fn gather(
        role: Role,
        flags: BTreeMap<String, String>,
        variables: BTreeMap<String, String>,
        file: Option<PathBuf>,
        faults: &mut Vec<String>,
    ) -> Self {
        for name in variables.keys().filter(|name| name.starts_with("ATOLL_") && *name != FILE_VARIABLE) {
            if !KEYS.iter().any(|key| key.variable() == *name) {
                faults.push(format!("{name}: there is no such setting (see `atoll config`)"));
            }
        }
        let path = file.or_else(|| variables.get(FILE_VARIABLE).map(PathBuf::from)).unwrap_or_default();
        let values = if path.as_os_str().is_empty() { BTreeMap::new() } else { read_file(&path, faults) };
        Self { role, flags, variables, file: values, path }
    }

    /// The value of `name`, a key of this role; `None` when nobody gave one and there is no default.
    pub(crate) fn value(&self, name: &str) -> Option<Written> {
        let key = keys_of(self.role).find(|key| key.name == name)?;
        let written = |text: &String, origin| Written { key: key.name, text: text.clone(), origin };
        let flag = self.flags.get(key.name).map(|text| written(text, Origin::Flag));
        let variable = || self.variables.get(&key.variable()).map(|text| written(text, Origin::Variable));
        let file = || self.file.get(key.name).map(|text| written(text, Origin::File(self.path.clone())));
        let default = || key.default.as_ref().map(|text| written(text, Origin::Default));
        flag.or_else(variable).or_else(file).or_else(default)
    }
}

/// The file's values as texts. Keys of other roles are fine: one file serves a whole cluster.
fn read_file(path: &Path, faults: &mut Vec<String>) -> BTreeMap<String, String> {
    let shown = path.display();
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(CONFIG_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) => faults.push(format!("configuration file {shown}: {error}")),
        Ok(bytes) if bytes as u64 > CONFIG_FILE_BYTES_MAX => {
            faults.push(format!("configuration file {shown}: longer than {CONFIG_FILE_BYTES_MAX} bytes"));
        }
        Ok(_) => match text.parse::<toml::Table>() {
            Ok(table) => return values(&shown.to_string(), table, faults),
            Err(error) => {
                let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
                faults.push(format!("configuration file {shown}, line {line}: {}", error.message()));
            }
        },
    }
    BTreeMap::new()
}

fn values(shown: &str, table: toml::Table, faults: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (name, value) in table {
        let known = |key: &Key| key.name == name;
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            _ => {
                faults.push(format!("{shown}: {name} must be a number or a text in quotes"));
                continue;
            }
        };
        if KEYS.iter().any(known) {
            values.insert(name, text);
        } else {
            faults.push(format!("{shown}: there is no setting {name} (see `atoll config`)"));
        }
    }
    values
}
