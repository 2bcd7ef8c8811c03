//! The questions and their answers, as JSON: documents as they are stored, without a type of the game's.

use std::collections::BTreeMap;

use bytes::Bytes;
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::limits::ISLAND_CHUNKS;
use chunk_sync::place::ChunkPos;
use chunk_sync::records::{DOC_NAME, NameRecord, WORLD, decode};
use chunk_sync::store::{
    IndexCursor, Name, PartitionKey, PartitionView, SHARD_COUNT, Shard, StoreAnswer, StoreFault, StoreOp,
};
use chunk_sync_io::store::StoreHandle;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{PAGE_DEFAULT, PAGE_MAX, PAGES_READ_MAX};
use crate::islands::{Archives, mark_of, suspended_islands};

/// A question, as texts: from a command line or from a URL's query.
#[derive(Clone, Default, Debug, Deserialize)]
pub(crate) struct Asked {
    /// `player`, `chunk`, `island`, `estates` or `pending`.
    pub(crate) what: String,
    /// A player's name or number.
    #[serde(default)]
    pub(crate) player: Option<String>,
    /// An island.
    #[serde(default)]
    pub(crate) island: Option<u32>,
    /// A chunk's position.
    #[serde(default)]
    pub(crate) x: Option<i16>,
    /// As above.
    #[serde(default)]
    pub(crate) y: Option<i16>,
    /// Where a page goes on.
    #[serde(default)]
    pub(crate) after: Option<String>,
    /// How many entries a page has.
    #[serde(default)]
    pub(crate) limit: Option<usize>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    /// Nothing is there.
    #[error("{0}")]
    NotFound(String),
    /// It is no question.
    #[error("{0}")]
    Wrong(String),
    /// The store doesn't answer.
    #[error("{0}")]
    Store(#[from] StoreFault),
}

/// Answers a question.
///
/// # Errors
/// When there is nothing of the sort, the question makes no sense, or the store doesn't answer.
pub(crate) async fn answer(store: &StoreHandle, asked: &Asked) -> Result<Value, Unanswered> {
    let wrong = |text: &str| Unanswered::Wrong(text.to_owned());
    match asked.what.as_str() {
        "player" => {
            let text = asked.player.as_deref().ok_or_else(|| wrong("which player?"))?;
            player(store, find(store, text).await?, asked).await
        }
        "chunk" => {
            let (Some(island), Some(x), Some(y)) = (asked.island, asked.x, asked.y) else {
                return Err(wrong("a chunk is named by island, x and y"));
            };
            chunk(store, IslandId(island), ChunkPos::new(x, y), asked).await
        }
        "island" => {
            let island = asked.island.ok_or_else(|| wrong("which island?"))?;
            islands_chunks(store, IslandId(island), asked).await
        }
        "estates" => {
            let text = asked.player.as_deref().ok_or_else(|| wrong("whose estates? Give --holder"))?;
            let holder = find(store, text).await?;
            let found = scan(store, "estates", Some(&holder.to_string()), asked).await?;
            Ok(json!({ "holder": holder.to_string(), "estates": found.0, "next": found.1 }))
        }
        "pending" => {
            let found = scan(store, "pending", None, asked).await?;
            Ok(json!({ "transfers": found.0, "next": found.1 }))
        }
        other => Err(Unanswered::Wrong(format!("there is no question about {other:?}"))),
    }
}

async fn load(store: &StoreHandle, partition: PartitionKey) -> Result<PartitionView, StoreFault> {
    match store.call(StoreOp::Load { partition }).await {
        StoreAnswer::Loaded(view) => Ok(view),
        StoreAnswer::Failed(fault) => Err(fault),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(StoreFault::TimedOut),
    }
}

/// A player by number (16 hex digits) or name.
async fn find(store: &StoreHandle, text: &str) -> Result<PlayerId, Unanswered> {
    let number = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    if let Some(number) = number {
        return Ok(PlayerId(number));
    }
    let nobody = || Unanswered::NotFound(format!("there is no player {text:?}"));
    let key = PartitionKey::name(WORLD, text);
    if PartitionKey::read(key.as_bytes()).is_none() {
        return Err(nobody());
    }
    let view = load(store, key).await?;
    let record: Option<NameRecord> = view.doc(DOC_NAME).and_then(|bytes| decode(bytes));
    record.map(|record| record.player).ok_or_else(nobody)
}

/// A document as JSON; what is none is told by its size.
fn shown(bytes: &Bytes) -> Value {
    rmp_serde::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(format!("{} bytes that can't be read", bytes.len())))
}

/// Documents by the first word of their names.
fn sorted(view: &PartitionView) -> BTreeMap<&str, Vec<(&str, Value)>> {
    let mut sorts: BTreeMap<&str, Vec<(&str, Value)>> = BTreeMap::new();
    for (name, document) in &view.docs {
        let (sort, rest) = name.as_str().split_once('/').unwrap_or((name.as_str(), ""));
        sorts.entry(sort).or_default().push((rest, shown(&document.value)));
    }
    sorts
}

async fn player(store: &StoreHandle, player: PlayerId, asked: &Asked) -> Result<Value, Unanswered> {
    let page = Lists::asked(asked)?;
    let view = load(store, PartitionKey::player(player)).await?;
    if view.docs.is_empty() && view.epochs.is_empty() {
        return Err(Unanswered::NotFound(format!("there is no player {player}")));
    }
    let mut sorts = sorted(&view);
    let mut one =
        |sort: &str| sorts.remove(sort).and_then(|mut docs| docs.pop()).map_or(Value::Null, |(_, doc)| doc);
    let mut bag = one("bag");
    // Who never picked anything up has no bag yet: an empty one, to whoever asks.
    let mut items = |name: &str| bag.get_mut(name).map_or_else(|| json!({}), Value::take);
    let mut found = json!({
        "player": player.to_string(),
        "carries": items("items"),
        "keeps_room_for": items("held"),
        "stamina": bag.get_mut("stamina").map_or(Value::Null, Value::take),
        "session": one("session"),
        "place": one("place"),
        "journey": one("placement"),
        "session_epoch": view.epoch("session"),
    });
    page.put(&mut found, [("sent", names(sorts.remove("out"))), ("decided", names(sorts.remove("in")))]);
    Ok(found)
}

/// Documents as rows: the rest of the name, and what is in them.
fn names(docs: Option<Vec<(&str, Value)>>) -> Vec<Value> {
    let row = |(rest, doc): (&str, Value)| {
        let mut row = Map::from_iter([("id".to_owned(), Value::from(rest))]);
        match doc {
            Value::Object(fields) => row.extend(fields.into_iter().filter(|(name, _)| name != "v")),
            other => {
                row.insert("is".to_owned(), other);
            }
        }
        Value::Object(row)
    };
    docs.unwrap_or_default().into_iter().map(row).collect()
}

/// A page of each of several lists.
struct Lists {
    first: usize,
    limit: usize,
}

impl Lists {
    fn asked(asked: &Asked) -> Result<Self, Unanswered> {
        let wrong = |text: &String| Unanswered::Wrong(format!("no page goes on after {text:?}"));
        let first = asked.after.as_ref().map(|text| text.parse().map_err(|_| wrong(text))).transpose()?;
        Ok(Self { first: first.unwrap_or(0), limit: limit(asked) })
    }

    /// Puts this page of each list into an answer, how long each is, and where the next page goes on.
    fn put<const N: usize>(&self, found: &mut Value, lists: [(&str, Vec<Value>); N]) {
        let (mut counts, mut more) = (Map::new(), false);
        let end = self.first.saturating_add(self.limit);
        for (name, list) in lists {
            counts.insert(name.to_owned(), Value::from(list.len()));
            more |= list.len() > end;
            found[name] = list.into_iter().skip(self.first).take(self.limit).collect();
        }
        found["in_all"] = Value::Object(counts);
        found["next"] = if more { Value::from(end.to_string()) } else { Value::Null };
    }
}

async fn chunk(
    store: &StoreHandle,
    island: IslandId,
    chunk: ChunkPos,
    asked: &Asked,
) -> Result<Value, Unanswered> {
    let page = Lists::asked(asked)?;
    if chunk.index().is_none() {
        return Err(Unanswered::NotFound(format!("no island has a chunk {}, {}", chunk.x, chunk.y)));
    }
    let view = load(store, PartitionKey::chunk(WORLD, island, chunk)).await?;
    if let Some(mark) = mark_of(&view.docs) {
        let place = format!("{island}/{}/{}", chunk.x, chunk.y);
        return Ok(json!({ "chunk": place, "state": "suspended", "holds": mark.holds }));
    }
    let mut sorts = sorted(&view);
    let mut one =
        |sort: &str| sorts.remove(sort).and_then(|mut docs| docs.pop()).map_or(Value::Null, |(_, doc)| doc);
    let (estate, claims) = (one("estate"), one("claims"));
    let covered = |docs: &Vec<(&str, Value)>| -> usize {
        docs.iter().filter_map(|(_, doc)| doc["tiles"].as_array()).map(Vec::len).sum()
    };
    let stacks = |docs: Vec<(&str, Value)>| -> Vec<Value> {
        let cells = docs.into_iter().flat_map(|(cell, mut doc)| {
            let stacks = doc["stacks"].take();
            let cell = cell.to_owned();
            let stacks = stacks.as_array().cloned().unwrap_or_default();
            stacks.into_iter().map(move |mut stack| {
                stack["cell"] = Value::from(cell.clone());
                stack
            })
        });
        cells.collect()
    };
    let structures = sorts.remove("structure").unwrap_or_default();
    let structures: Vec<Value> = structures
        .into_iter()
        .map(|(id, doc)| {
            let (site, state) = (&doc["site"], &doc["state"]);
            json!({ "id": id, "kind": site["kind"], "corner": site["corner"], "state": state })
        })
        .collect();
    let mut found = json!({
        "chunk": format!("{island}/{}/{}", chunk.x, chunk.y),
        "claimants": claims["claimants"],
        "estate": estate,
        "covered_tiles": sorts.get("cell").map_or(0, covered),
        "resources_taken_from": sorts.get("resource").map_or(0, Vec::len),
    });
    let lists = [
        ("structures", structures),
        ("on_ground", sorts.remove("ground").map_or_else(Vec::new, stacks)),
        ("sent", names(sorts.remove("out"))),
        ("decided", names(sorts.remove("in"))),
    ];
    page.put(&mut found, lists);
    Ok(found)
}

/// The chunks of an island that have something in them.
async fn islands_chunks(store: &StoreHandle, island: IslandId, asked: &Asked) -> Result<Value, Unanswered> {
    let suspended = suspended_islands(store).await?;
    if let Some(away) = suspended.iter().find(|away| away.island == island) {
        let archive = Archives::default().path(away).display().to_string();
        return Ok(json!({ "island": island.0, "state": "suspended", "archive": archive }));
    }
    let first: usize = match &asked.after {
        None => 0,
        Some(text) => {
            let after: usize =
                text.parse().map_err(|_| Unanswered::Wrong(format!("no page goes on after {text:?}")))?;
            after.saturating_add(1)
        }
    };
    let limit = limit(asked);
    let (mut chunks, mut next) = (Vec::new(), Value::Null);
    for index in first..ISLAND_CHUNKS {
        let chunk = ChunkPos::from_index(index);
        let view = load(store, PartitionKey::chunk(WORLD, island, chunk)).await?;
        let sorts = sorted(&view);
        let count = |sort: &str| sorts.get(sort).map_or(0, Vec::len);
        let lasting = ["structure", "cell", "ground", "resource", "estate", "out", "in"];
        if lasting.iter().all(|sort| count(sort) == 0) {
            continue;
        }
        let estate = sorts
            .get("estate")
            .and_then(|docs| docs.first())
            .map_or(Value::Null, |(_, doc)| doc["id"].clone());
        chunks.push(json!({
            "x": chunk.x,
            "y": chunk.y,
            "structures": count("structure"),
            "cells_with_items": count("ground"),
            "resources_taken_from": count("resource"),
            "estate": estate,
            "under_way": count("out"),
        }));
        if chunks.len() == limit && index + 1 < ISLAND_CHUNKS {
            next = Value::from(index.to_string());
            break;
        }
    }
    if chunks.is_empty() && first == 0 {
        return Err(Unanswered::NotFound(format!("nobody has left anything on island {island}")));
    }
    Ok(json!({ "island": island.0, "chunks": chunks, "next": next }))
}

fn limit(asked: &Asked) -> usize {
    asked.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX)
}

/// A page of an index, of the keys that begin so; and where the next one goes on.
async fn scan(
    store: &StoreHandle,
    name: &str,
    prefix: Option<&str>,
    asked: &Asked,
) -> Result<(Vec<Value>, Value), Unanswered> {
    let (ops, index, limit) = (store.ops(), Name::from(name), limit(asked));
    let mut after = asked.after.as_deref().map(cursor).transpose()?;
    let mut found = Vec::new();
    for _ in 0..PAGES_READ_MAX {
        let page = ops.index_page(&index, after.as_ref(), PAGE_MAX).await?;
        for entry in page.entries {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            if prefix.is_none_or(|prefix| key.starts_with(prefix)) {
                found.push(json!({ "id": key, "at": String::from_utf8_lossy(&entry.value) }));
            }
            if found.len() == limit {
                return Ok((found, Value::from(format!("{}:{key}", entry.shard.0))));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok((found, Value::Null));
        }
    }
    let next = after.map(|after| format!("{}:{}", after.shard.0, String::from_utf8_lossy(&after.key)));
    Ok((found, next.map_or(Value::Null, Value::from)))
}

fn cursor(text: &str) -> Result<IndexCursor, Unanswered> {
    let parsed = text.split_once(':').and_then(|(shard, key)| {
        let shard: u16 = shard.parse().ok().filter(|shard| *shard < SHARD_COUNT)?;
        Some(IndexCursor { shard: Shard(shard), key: Bytes::copy_from_slice(key.as_bytes()) })
    });
    parsed.ok_or_else(|| Unanswered::Wrong(format!("no page goes on after {text:?}")))
}
