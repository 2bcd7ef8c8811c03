//! The configuration of each role: values from [`sources`] parsed into types, checked together, every fault told at
//! once. What passes here is used without another look; ports and folders are tried by [`probe`].

pub(crate) mod keys;
pub(crate) mod print;
pub(crate) mod probe;
pub(crate) mod sources;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use chunk_sync::ids::NodeId;
use chunk_sync_io::store::StoreUrl;
use population_allocator::policy::{Policy, Seating};
use tracing_subscriber::EnvFilter;

use crate::limits::NODES_MAX;
use sources::{Origin, Sources};

/// What every role has.
#[derive(Debug)]
pub(crate) struct Common {
    /// The store.
    pub(crate) store: StoreUrl,
    /// Where the admin port is.
    pub(crate) http: SocketAddr,
    /// What is logged: a filter that was checked.
    pub(crate) log: String,
}

/// A whole cluster in one process.
#[derive(Debug)]
pub(crate) struct UpConfig {
    /// What every role has.
    pub(crate) common: Common,
    /// Number of nodes, counted from 1.
    pub(crate) nodes: u16,
    /// Where clients connect.
    pub(crate) host: IpAddr,
    /// Port of the allocator; 0 for free ports everywhere.
    pub(crate) port_base: u16,
    /// Islands and seats.
    pub(crate) policy: Policy,
    /// Where the ledger is kept, if it is said.
    pub(crate) ledger: Option<PathBuf>,
}

impl UpConfig {
    /// Where the allocator (0) or a node listens.
    pub(crate) fn listen(&self, number: u16) -> SocketAddr {
        let port = if self.port_base == 0 { 0 } else { self.port_base + number };
        SocketAddr::new(self.host, port)
    }
}

/// Where one process of a cluster is found.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Where it listens for clients.
    pub(crate) listen: SocketAddr,
    /// What clients are told, if it is something else.
    pub(crate) advertise: Option<String>,
    /// Where members of the cluster subscribe.
    pub(crate) mesh_listen: SocketAddr,
}

/// An allocator of its own.
#[derive(Debug)]
pub(crate) struct AllocatorConfig {
    /// What every role has.
    pub(crate) common: Common,
    /// Where it is found.
    pub(crate) addresses: Addresses,
    /// Islands and seats.
    pub(crate) policy: Policy,
    /// Where the ledger is kept, if it is said.
    pub(crate) ledger: Option<PathBuf>,
}

/// A node of its own.
#[derive(Debug)]
pub(crate) struct NodeConfig {
    /// What every role has.
    pub(crate) common: Common,
    /// The node.
    pub(crate) node: NodeId,
    /// Where it is found.
    pub(crate) addresses: Addresses,
}

/// Parses and checks the configuration of `atoll up`; all faults at once.
pub(crate) fn up(sources: &Sources, faults: Vec<String>) -> Result<UpConfig, Vec<String>> {
    let mut reader = Reader { sources, faults };
    let (http, log, policy) = (reader.http(), reader.log(), reader.policy());
    let nodes = reader.checked("nodes", |nodes: &u16| {
        (!(1..=NODES_MAX).contains(nodes)).then(|| format!("1 to {NODES_MAX} nodes run in one process"))
    });
    let host = reader.checked("host", |host: &IpAddr| {
        host.is_unspecified().then(|| "clients can't connect to \"any address\"".to_owned())
    });
    let port_base: Option<u16> = reader.parsed("port-base");
    if let (Some(base), Some(nodes)) = (port_base, nodes)
        && base.checked_add(nodes).is_none()
    {
        let last = u32::from(base) + u32::from(nodes);
        reader.fault("port-base", format!("node {nodes} would need port {last}; 65535 is the highest"));
    }
    if let (Some(base), Some(nodes), Some(http)) = (port_base, nodes, http)
        && base > 0
        && (base..=base.saturating_add(nodes)).contains(&http.port())
    {
        reader.fault("http", "the port is the allocator's or a node's (port-base and the ports behind it)");
    }
    let (store, ledger) = (reader.up_store(), reader.ledger());
    let (Some(nodes), Some(host), Some(port_base)) = (nodes, host, port_base) else {
        return Err(reader.faults);
    };
    let (Some(http), Some(log), Some(policy)) = (http, log, policy) else { return Err(reader.faults) };
    let Some(store) = store else { return Err(reader.faults) };
    let common = Common { store, http, log };
    reader.done(UpConfig { common, nodes, host, port_base, policy, ledger })
}

/// Parses and checks the configuration of `atoll allocator`; all faults at once.
pub(crate) fn allocator(sources: &Sources, faults: Vec<String>) -> Result<AllocatorConfig, Vec<String>> {
    let mut reader = Reader { sources, faults };
    let (common, addresses, policy) = (reader.common(), reader.addresses(), reader.policy());
    let ledger = reader.ledger();
    let (Some(common), Some(addresses), Some(policy)) = (common, addresses, policy) else {
        return Err(reader.faults);
    };
    reader.done(AllocatorConfig { common, addresses, policy, ledger })
}

/// Parses and checks the configuration of `atoll node`; all faults at once.
pub(crate) fn node(sources: &Sources, faults: Vec<String>) -> Result<NodeConfig, Vec<String>> {
    let mut reader = Reader { sources, faults };
    let (common, addresses) = (reader.common(), reader.addresses());
    let id = reader.required("id").and_then(|_| {
        reader.checked("id", |id: &u32| (*id == 0).then(|| "nodes are counted from 1".to_owned()))
    });
    let (Some(common), Some(addresses), Some(id)) = (common, addresses, id) else {
        return Err(reader.faults);
    };
    reader.done(NodeConfig { common, addresses, node: NodeId(id) })
}

/// What the standard library says of a value, in words for operators.
fn expectation(error: String) -> String {
    let said = match error.as_str() {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number"
        }
        "number too large to fit in target type" => "the number is too large",
        "invalid IP address syntax" => "expected an IP address, like 192.168.1.5",
        _ => return error,
    };
    said.to_owned()
}

/// Takes values and collects what is wrong with them.
struct Reader<'a> {
    sources: &'a Sources,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn done<T>(self, config: T) -> Result<T, Vec<String>> {
        if self.faults.is_empty() { Ok(config) } else { Err(self.faults) }
    }

    fn fault(&mut self, name: &str, what: impl Display) {
        let written =
            self.sources.value(name).map_or_else(|| format!("--{name}"), |written| written.to_string());
        self.faults.push(format!("{written}: {what}"));
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.sources.value(name)?.text;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(name, expectation(error.to_string()));
                None
            }
        }
    }

    /// The value, or `otherwise` when nobody gave one.
    fn parsed_or<T: FromStr<Err: Display>>(&mut self, name: &str, otherwise: Option<T>) -> Option<T> {
        if self.sources.value(name).is_some() { self.parsed(name) } else { otherwise }
    }

    fn checked<T: FromStr<Err: Display>>(
        &mut self,
        name: &str,
        wrong: impl FnOnce(&T) -> Option<String>,
    ) -> Option<T> {
        let value = self.parsed(name)?;
        match wrong(&value) {
            None => Some(value),
            Some(what) => {
                self.fault(name, what);
                None
            }
        }
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let value = self.sources.value(name).map(|written| written.text);
        if value.is_none() {
            self.fault(name, "must be given");
        }
        value
    }

    fn common(&mut self) -> Option<Common> {
        let (store, http, log) = (self.cluster_store(), self.http(), self.log());
        Some(Common { store: store?, http: http?, log: log? })
    }

    fn http(&mut self) -> Option<SocketAddr> {
        self.address("http")
    }

    fn address(&mut self, name: &str) -> Option<SocketAddr> {
        let text = self.sources.value(name)?.text;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(name, "expected ADDRESS:PORT, like 127.0.0.1:8080");
        }
        parsed
    }

    /// `log`, or `RUST_LOG` when nobody set it.
    fn log(&mut self) -> Option<String> {
        let written = self.sources.value("log")?;
        let rust_log = std::env::var("RUST_LOG").ok().filter(|_| written.origin == Origin::Default);
        let text = rust_log.unwrap_or(written.text);
        match EnvFilter::try_new(&text) {
            Ok(_) => Some(text),
            Err(error) => {
                self.fault("log", format!("{text:?} is no filter: {error}"));
                None
            }
        }
    }

    fn policy(&mut self) -> Option<Policy> {
        let design = self.parsed("design");
        let cap = self.parsed_or("cap", design.map(Policy::cap_of));
        let minimum = self.parsed_or("minimum", design.map(Policy::minimum_of));
        let (islands, islands_max) = (self.parsed("islands"), self.parsed("islands-max"));
        let seating = match self.sources.value("seating")?.text.as_str() {
            "spread" => Some(Seating::Spread),
            "pack" => Some(Seating::Pack),
            _ => {
                self.fault("seating", "expected spread or pack");
                None
            }
        };
        let (design, cap, minimum) = (design?, cap?, minimum?);
        let (islands, islands_max, seating) = (islands?, islands_max?, seating?);
        let policy = Policy { design, cap, minimum, islands, islands_max, seating, ..Policy::default() };
        self.faults.extend(policy.faults().iter().map(ToString::to_string));
        Some(policy)
    }

    fn addresses(&mut self) -> Option<Addresses> {
        let listen = self.address("listen");
        let advertise = self.sources.value("advertise").map(|written| written.text);
        if let Some(listen) = listen
            && listen.ip().is_unspecified()
            && advertise.is_none()
        {
            self.fault("listen", "clients can't connect to \"any address\": give --advertise too");
        }
        let is_host_port = |text: &String| {
            let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            port.and_then(|port| port.parse::<u16>().ok()).is_some_and(|port| port > 0)
        };
        if advertise.as_ref().is_some_and(|text| !is_host_port(text)) {
            self.fault("advertise", "expected HOST:PORT");
        }
        let mesh_text = self.sources.value("mesh-listen")?.text;
        let mesh_listen = mesh_text.strip_prefix("tcp://").and_then(|address| address.parse().ok());
        if mesh_listen.is_none() {
            self.fault("mesh-listen", "expected tcp://ADDRESS:PORT");
        }
        Some(Addresses { listen: listen?, advertise, mesh_listen: mesh_listen? })
    }

    /// The store of one process that is a whole cluster.
    fn up_store(&mut self) -> Option<StoreUrl> {
        match self.sources.value("store") {
            Some(_) => self.parsed("store"),
            None => {
                let folder = self.sources.value("data")?.text;
                if folder.trim().is_empty() {
                    self.fault("data", "it is empty; expected a folder");
                    return None;
                }
                Some(StoreUrl::Embedded(PathBuf::from(folder)))
            }
        }
    }

    /// Where the ledger is kept, if somebody said.
    fn ledger(&mut self) -> Option<PathBuf> {
        let folder = self.sources.value("ledger")?.text;
        if folder.trim().is_empty() {
            self.fault("ledger", "it is empty; expected a folder");
        }
        Some(PathBuf::from(folder))
    }

    /// A store that several processes can use.
    fn cluster_store(&mut self) -> Option<StoreUrl> {
        self.required("store")?;
        self.checked("store", |url| {
            matches!(url, StoreUrl::Embedded(_)).then(|| {
                "an embedded store can't be shared by processes: give a redis:// URL, or run the whole cluster as \
                 one process with `atoll up`"
                    .to_owned()
            })
        })
    }
}
