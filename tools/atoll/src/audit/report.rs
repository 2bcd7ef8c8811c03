//! What a complete audit found, as JSON and as a table for people. `/api/audit` answers with the one, `atoll audit`
//! prints the other.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The result of a complete audit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Whether nothing is wrong.
    pub(crate) clean: bool,
    /// Partitions of players.
    pub(crate) players: u64,
    /// Partitions of chunks.
    pub(crate) chunks: u64,
    /// Partitions of trades.
    pub(crate) trades: u64,
    /// Structures, whatever their state.
    pub(crate) structures: u64,
    /// Estates in their index.
    pub(crate) estates: u64,
    /// Ledger entries that were read.
    pub(crate) entries: u64,
    /// How many of them were in the store still.
    pub(crate) undrained: u64,
    /// Items by kind.
    pub(crate) items: BTreeMap<String, Kind>,
    /// Transfers under way.
    pub(crate) pending: u64,
    /// Those that hold items for longer than they should. Nobody runs them while no node runs.
    pub(crate) open_long: Vec<Open>,
    /// Islands that are suspended; what their archives have is looked at as if it were in the store.
    #[serde(default)]
    pub(crate) suspended: Vec<u32>,
    /// Partitions that changed each time they were looked at.
    pub(crate) not_compared: u64,
    /// How often everything was read.
    pub(crate) rounds: u32,
    /// How much is wrong.
    pub(crate) findings_total: u64,
    /// What is wrong, up to a limit.
    pub(crate) findings: Vec<String>,
}

/// Items of one kind: by the books made and used up, by the documents where they are.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Kind {
    /// Made since the books were opened, or there then.
    pub(crate) made: u64,
    /// Used up.
    pub(crate) used_up: u64,
    /// In bags.
    pub(crate) players: i64,
    /// On the ground.
    pub(crate) ground: i64,
    /// In trades.
    pub(crate) trades: i64,
    /// Under way.
    pub(crate) transfers: i64,
    /// In structures that stand.
    #[serde(default)]
    pub(crate) structures: i64,
}

/// A transfer that takes long.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Open {
    /// Which.
    pub(crate) transfer: String,
    /// Where it goes.
    pub(crate) to: String,
    /// For how long, in seconds of the store's clock.
    pub(crate) open_s: u64,
}

impl Report {
    /// As a table.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string can't fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{} players, {} chunks, {} trades; {} structures, {} estates",
            self.players, self.chunks, self.trades, self.structures, self.estates
        )?;
        writeln!(out, "{} ledger entries, {} of them not drained yet", self.entries, self.undrained)?;
        for island in &self.suspended {
            writeln!(out, "island {island} is suspended, its archive is looked at")?;
        }
        writeln!(out)?;
        let heads = [
            "item",
            "made",
            "used up",
            "in bags",
            "on ground",
            "in trades",
            "under way",
            "built",
            "unexplained",
        ];
        let [kind, rest @ ..] = heads;
        write!(out, "{kind:<12}")?;
        rest.iter().try_for_each(|head| write!(out, " {head:>11}"))?;
        writeln!(out)?;
        for (kind, row) in &self.items {
            let there = row.players + row.ground + row.trades + row.transfers + row.structures;
            let unexplained = there - (row.made as i64 - row.used_up as i64);
            write!(out, "{kind:<12} {:>11} {:>11}", row.made, row.used_up)?;
            let places = [row.players, row.ground, row.trades, row.transfers, row.structures];
            for count in places.into_iter().chain([unexplained]) {
                write!(out, " {count:>11}")?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
        writeln!(out, "{} transfers under way", self.pending)?;
        for open in &self.open_long {
            writeln!(
                out,
                "warning: transfer {} to {} is open for {} s",
                open.transfer, open.to, open.open_s
            )?;
        }
        if self.not_compared > 0 {
            writeln!(out, "{} partitions changed all the while and were not compared", self.not_compared)?;
        }
        for finding in &self.findings {
            writeln!(out, "FINDING: {finding}")?;
        }
        match self.findings_total {
            0 => writeln!(out, "clean: nothing was found"),
            1 => writeln!(out, "1 finding"),
            many => writeln!(out, "{many} findings"),
        }
    }
}
