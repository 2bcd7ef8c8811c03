//! A Redis cluster: which of its masters answers for which shard, and the connections to each.
//!
//! The map is read at the start and again whenever a call finds it wrong or a master away, at most a few times a
//! second. A call that meets a change is told that the store is away, and comes again.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chunk_sync::store::{SHARD_COUNT, Shard};
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, watch};

use super::codec::hash_tag;
use super::find::Place;
use super::link::{Connected, Links, open, within};
use crate::store::limits::{REDIS_MASTERS_MAX, TOPOLOGY_EVERY_MS};
use crate::store::masters::Masters;
use crate::store::url::RedisUrl;

/// The slots of every Redis cluster.
const SLOT_COUNT: u16 = 16_384;

/// Host and port of a master.
type Address = (String, u16);

/// The cluster as it is known now.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    refresh: mpsc::Sender<()>,
}

struct Shared {
    url: RedisUrl,
    masters: Arc<Masters>,
    map: watch::Sender<Arc<Map>>,
}

/// One state of the cluster.
#[derive(Default)]
struct Map {
    links: BTreeMap<Address, Arc<Links>>,
    /// By shard; none where a slot is nobody's.
    of_shard: Vec<Option<Address>>,
}

impl Cluster {
    /// Reads the map and connects to every master in it.
    pub(super) async fn open(url: RedisUrl, masters: Arc<Masters>) -> Result<Self, String> {
        let map = watch::Sender::new(Arc::new(Map::default()));
        let shared = Arc::new(Shared { url, masters, map });
        let of_shard = shared.read_slots().await?;
        let mut links = BTreeMap::new();
        for address in addresses(&of_shard)? {
            let place = Place::Node(shared.url.at(&address.0, address.1));
            let opened = Links::open(place, shared.url.asked(), shared.connected(&address)).await;
            let opened = opened.map_err(|reason| format!("{}:{}: {reason}", address.0, address.1))?;
            links.insert(address, Arc::new(opened));
        }
        shared.publish(Map { links, of_shard });
        let (refresh, asked) = mpsc::channel(1);
        tokio::spawn(keep(Arc::downgrade(&shared), asked));
        Ok(Self { shared, refresh })
    }

    /// The connections to the master of a shard.
    pub(super) fn links(&self, shard: Shard) -> Option<Arc<Links>> {
        let map = self.shared.map.borrow();
        let address = map.of_shard.get(usize::from(shard.0))?.as_ref()?;
        map.links.get(address).cloned()
    }

    /// Says that the map may be wrong.
    pub(super) fn suspect(&self) {
        // Full means that somebody has said so already.
        let _ = self.refresh.try_send(());
    }
}

async fn keep(shared: Weak<Shared>, mut asked: mpsc::Receiver<()>) {
    // Ends when the store was dropped, and with it the other end.
    while asked.recv().await.is_some() {
        let Some(shared) = shared.upgrade() else { return };
        if let Err(reason) = shared.refresh().await {
            tracing::warn!(reason, "redis store: the cluster's slots can't be read");
        }
        drop(shared);
        tokio::time::sleep(Duration::from_millis(TOPOLOGY_EVERY_MS)).await;
    }
}

impl Shared {
    async fn refresh(self: &Arc<Self>) -> Result<(), String> {
        let of_shard = self.read_slots().await?;
        let known = Arc::clone(&self.map.borrow());
        if of_shard == known.of_shard {
            return Ok(());
        }
        let mut links = BTreeMap::new();
        for address in addresses(&of_shard)? {
            let opened = match known.links.get(&address) {
                Some(opened) => Arc::clone(opened),
                None => {
                    let place = Place::Node(self.url.at(&address.0, address.1));
                    Arc::new(Links::later(place, self.url.asked(), self.connected(&address)))
                }
            };
            links.insert(address, opened);
        }
        tracing::info!(masters = links.len(), "redis store: the cluster has changed");
        self.publish(Map { links, of_shard });
        Ok(())
    }

    fn publish(&self, map: Map) {
        let map = Arc::new(map);
        self.map.send_replace(Arc::clone(&map));
        for (address, links) in &map.links {
            if let Some(run) = links.run() {
                self.serves(&map, address, run);
            }
        }
    }

    /// What to do when the master at `address` was connected to.
    fn connected(self: &Arc<Self>, address: &Address) -> Connected {
        let (shared, address) = (Arc::downgrade(self), address.clone());
        Box::new(move |run| {
            if let Some(shared) = shared.upgrade() {
                let map = Arc::clone(&shared.map.borrow());
                shared.serves(&map, &address, run);
            }
        })
    }

    fn serves(&self, map: &Map, address: &Address, run: u64) {
        let its =
            (0..SHARD_COUNT).filter(|shard| map.of_shard[usize::from(*shard)].as_ref() == Some(address));
        if !map.of_shard.is_empty() {
            self.masters.served(its.map(Shard), run);
        }
    }

    /// Asks the masters that are connected, then the nodes that the URL names, until one tells.
    async fn read_slots(&self) -> Result<Vec<Option<Address>>, String> {
        let map = Arc::clone(&self.map.borrow());
        let mut said = Vec::new();
        for (address, links) in &map.links {
            let Some(mut link) = links.newest() else { continue };
            match slots(&mut link.reads, &address.0).await {
                Ok(of_shard) => return Ok(of_shard),
                Err(reason) => said.push(format!("{}:{}: {reason}", address.0, address.1)),
            }
        }
        for host in self.url.hosts() {
            let told = async {
                let redis::ConnectionAddr::Tcp(name, _) = host.addr() else {
                    return Err("a node of a cluster has a host and a port".to_owned());
                };
                slots(&mut open(host).await?, name).await
            };
            match told.await {
                Ok(of_shard) => return Ok(of_shard),
                Err(reason) => said.push(format!("{}: {reason}", host.addr())),
            }
        }
        Err(format!("no node tells the cluster's slots ({})", said.join("; ")))
    }
}

fn addresses(of_shard: &[Option<Address>]) -> Result<Vec<Address>, String> {
    let mut addresses: Vec<Address> = of_shard.iter().flatten().cloned().collect();
    addresses.sort_unstable();
    addresses.dedup();
    match addresses.len() {
        0 => Err("no slot of the cluster has a master".into()),
        masters if masters > REDIS_MASTERS_MAX => {
            Err(format!("{masters} masters, at most {REDIS_MASTERS_MAX}"))
        }
        _ => Ok(addresses),
    }
}

/// Which master has the slot of each shard, as one node sees it; one that is cut off from the others sees what was.
async fn slots(connection: &mut MultiplexedConnection, host: &str) -> Result<Vec<Option<Address>>, String> {
    let mut state = redis::cmd("CLUSTER");
    state.arg("INFO");
    let info: String = within(state.query_async(connection)).await?;
    if !info.lines().any(|line| line == "cluster_state:ok") {
        return Err("its cluster is not well (cluster_state)".into());
    }
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let ranges: Vec<Value> = within(command.query_async(connection)).await?;
    let mut of_slot = vec![None; usize::from(SLOT_COUNT)];
    for range in ranges {
        let (first, last, address) = read_range(range, host).ok_or("slots that can't be read")?;
        if let Some(slots) = of_slot.get_mut(first..=last) {
            slots.fill(Some(address));
        }
    }
    Ok((0..SHARD_COUNT).map(|shard| of_slot[usize::from(slot(Shard(shard)))].clone()).collect())
}

/// First and last slot of a range, and its master. A node that doesn't know its own name leaves it out.
fn read_range(range: Value, host: &str) -> Option<(usize, usize, Address)> {
    let Value::Array(parts) = range else { return None };
    let mut parts = parts.into_iter();
    let (first, last) =
        (redis::from_redis_value(parts.next()?).ok()?, redis::from_redis_value(parts.next()?).ok()?);
    let Value::Array(master) = parts.next()? else { return None };
    let mut master = master.into_iter();
    let name: Option<String> = redis::from_redis_value(master.next()?).ok()?;
    let port = redis::from_redis_value(master.next()?).ok()?;
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| host.to_owned());
    Some((first, last, (name, port)))
}

/// The slot of a shard's keys: CRC-16 (XMODEM) of the hash tag, as the Redis cluster specification says.
fn slot(shard: Shard) -> u16 {
    let crc = hash_tag(shard).bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOT_COUNT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From `CLUSTER KEYSLOT` of a real server.
        for (shard, wanted) in SLOTS {
            assert_eq!(slot(Shard(shard)), wanted, "{{s{shard}}}");
        }
    }

    const SLOTS: [(u16, u16); 4] = [(0, 11_097), (1, 15_224), (1339, 576), (4095, 2_322)];
}
