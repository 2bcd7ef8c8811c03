//! Every configuration key: name, default, unit, meaning. The command line, the environment, the file and
//! `atoll config` are all made from this one table.

use std::sync::LazyLock;

use chunk_sync::limits::DESIGN_POPULATION;
use population_allocator::limits::ISLANDS_MAX;

/// What a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// A whole cluster.
    Up,
    /// An allocator.
    Allocator,
    /// A node.
    Node,
}

impl Role {
    /// All of them.
    pub(crate) const ALL: [Role; 3] = [Role::Up, Role::Allocator, Role::Node];

    /// The subcommand.
    pub(crate) fn name(self) -> &'static str {
        ["up", "allocator", "node"][self as usize]
    }
}

/// One key of one or more roles.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name in flags and files.
    pub(crate) name: &'static str,
    /// Whom it is for.
    pub(crate) roles: &'static [Role],
    /// Its value when nobody gives one; without it the key is left out, or has to be given.
    pub(crate) default: Option<String>,
    /// How a value looks.
    pub(crate) shape: &'static str,
    /// What its values count.
    pub(crate) unit: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
}

impl Key {
    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("ATOLL_{}", self.name.to_uppercase().replace('-', "_"))
    }
}

const UP: &[Role] = &[Role::Up];
const SEATS: &[Role] = &[Role::Up, Role::Allocator];
const ALLOCATOR: &[Role] = &[Role::Allocator];
const NODE: &[Role] = &[Role::Node];
const PARTS: &[Role] = &[Role::Allocator, Role::Node];
const ALL: &[Role] = &Role::ALL;

/// The keys of all roles, in the order in which they are shown.
pub(crate) static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let key = |name, roles, default: &str, shape, unit, meaning| Key {
        name,
        roles,
        default: (!default.is_empty()).then(|| default.to_owned()),
        shape,
        unit,
        meaning,
    };
    let design = DESIGN_POPULATION.to_string();
    let islands_max = ISLANDS_MAX.to_string();
    vec![
        key("nodes", UP, "3", "N", "nodes", "world nodes, each on a thread of its own, 1 to 64"),
        key("data", UP, "./atoll-data", "FOLDER", "", "folder of the embedded store; made if it isn't there"),
        key(
            "store",
            UP,
            "",
            "URL",
            "",
            "redis://[USER:PASSWORD@]HOST[:PORT][/DB], redis-sentinel://HOST,…/NAME or redis-cluster://HOST,… instead of the \
             embedded store; the server keeps a log on disk (appendonly)",
        ),
        key(
            "store",
            PARTS,
            "",
            "URL",
            "",
            "redis://[USER:PASSWORD@]HOST[:PORT][/DB], redis-sentinel://HOST,…/NAME or redis-cluster://HOST,…, the same for \
             the whole cluster; must be given",
        ),
        key(
            "ledger",
            SEATS,
            "",
            "FOLDER",
            "",
            "folder of the ledger's files, which the auditor reads too; when not given, `ledger` beside an embedded \
             store, and none on Redis: there its entries stay in the store",
        ),
        key("host", UP, "127.0.0.1", "ADDRESS", "", "address of this machine on which clients connect"),
        key(
            "port-base",
            UP,
            "7000",
            "PORT",
            "",
            "the allocator listens here, node N on this + N; 0: a free port for each",
        ),
        key(
            "id",
            NODE,
            "",
            "N",
            "",
            "the node's number, its own in the cluster and the same at every start; must be given",
        ),
        key(
            "listen",
            ALLOCATOR,
            "127.0.0.1:7000",
            "ADDRESS:PORT",
            "",
            "where clients ask for a seat; port 0: any free one",
        ),
        key("listen", NODE, "127.0.0.1:0", "ADDRESS:PORT", "", "where clients play; port 0: any free one"),
        key(
            "advertise",
            PARTS,
            "",
            "HOST:PORT",
            "",
            "what clients are told to connect to, if it isn't what is listened on",
        ),
        key(
            "mesh-listen",
            PARTS,
            "tcp://127.0.0.1:0",
            "tcp://ADDRESS:PORT",
            "",
            "where nodes and allocators subscribe: a private address; port 0: any free one",
        ),
        key(
            "http",
            SEATS,
            "127.0.0.1:8080",
            "ADDRESS:PORT",
            "",
            "page, /api/state, /metrics, /livez, /readyz; port 0: any free one",
        ),
        key(
            "http",
            NODE,
            "127.0.0.1:0",
            "ADDRESS:PORT",
            "",
            "page, /api/state, /metrics, /livez, /readyz; port 0: any free one",
        ),
        key("islands", SEATS, "1", "N", "islands", "islands that are open from the start"),
        key("islands-max", SEATS, &islands_max, "N", "islands", "islands that are ever open"),
        key("design", SEATS, &design, "N", "players", "wanted population of an island"),
        key("cap", SEATS, "", "N", "players", "most that an island ever holds; 1.5 x design when not given"),
        key(
            "minimum",
            SEATS,
            "",
            "N",
            "players",
            "population under which an island feels dead, shown only for now; 0.3 x design when not given",
        ),
        key(
            "seating",
            SEATS,
            "spread",
            "spread|pack",
            "",
            "spread: the node with the fewest sessions first; pack: as few nodes as possible",
        ),
        key(
            "log",
            ALL,
            "info",
            "FILTER",
            "",
            "what is logged to stderr, as in RUST_LOG (which counts when this isn't set)",
        ),
    ]
});

/// The keys of one role.
pub(crate) fn keys_of(role: Role) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.roles.contains(&role))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_role_has_a_key_once_and_every_key_says_what_it_does() {
        for role in Role::ALL {
            let names: Vec<&str> = keys_of(role).map(|key| key.name).collect();
            assert_eq!(
                names.len(),
                names.iter().collect::<BTreeSet<_>>().len(),
                "{}: {names:?}",
                role.name()
            );
        }
        assert!(KEYS.iter().all(|key| !key.meaning.is_empty() && !key.shape.is_empty()));
    }

    #[test]
    fn names_of_variables_follow_from_names_of_keys() {
        let port_base = KEYS.iter().find(|key| key.name == "port-base").unwrap();
        assert_eq!(port_base.variable(), "ATOLL_PORT_BASE");
    }
}
