//! The flags of `atoll play` and what they mean. Used by the command line and by `play`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::IsTerminal;

use chunk_sync::client::ClientConfig;
use chunk_sync::ids::IslandId;
use chunk_sync::limits::NAME_BYTES_MAX;
use chunk_sync::wire::{FEATURE_LAND, is_name};
use clap::{Arg, ArgMatches, Command};

/// Where `atoll up` lets players in, unless it is told otherwise.
const JOIN_DEFAULT: &str = "127.0.0.1:7000";

/// What the user wrote, unchecked.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    join: String,
    name: Option<String>,
    island: Option<String>,
}

/// The subcommand as clap knows it.
pub(crate) fn command() -> Command {
    let arg = |name: &'static str, shape, help: &str| {
        Arg::new(name).long(name).value_name(shape).help(help.to_owned()).allow_hyphen_values(true)
    };
    let join = format!("where players are let in: the allocator [default: {JOIN_DEFAULT}]");
    let name = format!("who you are: 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ - [default: a guest's]");
    Command::new("play")
        .about("Walk about in the world, on this terminal")
        .arg(arg("join", "HOST:PORT", &join).visible_alias("target"))
        .arg(arg("name", "NAME", &name))
        .arg(arg("island", "ID", "the island you want to be on [default: the server's choice]"))
}

/// What the matches of the subcommand mean.
pub(crate) fn options(matches: &ArgMatches) -> Options {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    Options {
        join: text("join").unwrap_or_else(|| JOIN_DEFAULT.to_owned()),
        name: text("name"),
        island: text("island"),
    }
}

impl Options {
    /// The client that they ask for.
    ///
    /// # Errors
    /// Everything that is wrong, a line each; also when there is no terminal to play on.
    pub(crate) fn checked(self) -> Result<ClientConfig, Vec<String>> {
        let mut faults = self.faults();
        let island = self.island.as_ref().and_then(|island| island.parse().ok()).map(IslandId);
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            faults.push(
                "`atoll play` needs a terminal: its input and output can't be files or pipes".to_owned(),
            );
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let name = self.name.unwrap_or_else(guest);
        Ok(ClientConfig {
            island,
            features: vec![FEATURE_LAND.to_owned()],
            software: concat!("atoll play ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..ClientConfig::new(&self.join, &name)
        })
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !is_address(&self.join) {
            faults.push(format!("--join: '{}' is not HOST:PORT", self.join));
        }
        if let Some(name) = self.name.as_ref().filter(|name| !is_name(name)) {
            let what = format!("1 to {NAME_BYTES_MAX} letters, digits, hyphens or underscores");
            faults.push(format!("--name: '{name}' is not a name; a name has {what}"));
        }
        if let Some(island) = self.island.as_ref().filter(|island| island.parse::<u32>().is_err()) {
            faults.push(format!("--island: '{island}' is not the number of an island"));
        }
        faults
    }
}

fn is_address(text: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    text.rsplit_once(':').is_some_and(|(host, end)| !host.is_empty() && port(end))
}

/// A name that hardly anybody else has: whoever enters under a name that is inside already takes its place.
fn guest() -> String {
    // The standard library's hasher is seeded anew by the system in every process.
    let random = RandomState::new().build_hasher().finish();
    format!("guest-{:06}", random % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(arguments: &[&str]) -> Vec<String> {
        let line = std::iter::once("play").chain(arguments.iter().copied());
        options(&command().get_matches_from(line)).faults()
    }

    #[test]
    fn all_faults_are_told_at_once() {
        assert_eq!(faults(&[]), Vec::<String>::new());
        assert_eq!(
            faults(&["--target", "[::1]:7000", "--name", "Bo_1", "--island", "3"]),
            Vec::<String>::new()
        );
        let told = faults(&["--join", "here", "--name", "not a name", "--island", "-1"]);
        assert_eq!(told.len(), 3, "{told:?}");
        for address in ["", ":7000", "host:", "host:0", "host:70000", "host"] {
            assert!(!is_address(address), "{address}");
        }
    }

    #[test]
    fn guests_have_proper_names() {
        assert!((0..100).all(|_| is_name(&guest())));
    }
}
