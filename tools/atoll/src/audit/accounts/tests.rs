//! The balances: what is right stays silent, what is not is told.

use bytes::Bytes;
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::place::ChunkPos;
use chunk_sync::records::{WORLD, encode};
use chunk_sync::store::{LedgerEntry, PartitionKey, Token};

use super::super::record::{Chunk, Line, RECORD_VERSION, Record, STRUCTURES_SINCE};
use super::*;

const ROOM: Room = Room { holders: 1_000, remembered: 1_000 };
const ANNA: u64 = 7;
const BERT: u64 = 8;

/// The books, and what was told of them.
struct Desk {
    accounts: Accounts,
    sequences: BTreeMap<u16, u64>,
    told: Vec<String>,
    /// Of the records that are written.
    version: u16,
}

impl Desk {
    fn new() -> Self {
        Self {
            accounts: Accounts::new(),
            sequences: BTreeMap::new(),
            told: Vec::new(),
            version: RECORD_VERSION,
        }
    }

    fn entry(
        &mut self,
        partition: &PartitionKey,
        act: Option<&str>,
        lines: &[(&str, u32, Holder, Holder)],
    ) -> LedgerEntry {
        let sequence = self.sequences.entry(partition.shard().0).or_default();
        *sequence += 1;
        let line = |(kind, count, from, to): &(&str, u32, Holder, Holder)| Line {
            kind: (*kind).to_owned(),
            count: *count,
            from: from.clone(),
            to: to.clone(),
        };
        let record =
            Record { v: self.version, act: act.map(str::to_owned), lines: lines.iter().map(line).collect() };
        LedgerEntry {
            shard: partition.shard(),
            sequence: *sequence,
            token: Token(1),
            partition: partition.clone(),
            store_ms: 1_000,
            bytes: encode(&record).into(),
        }
    }

    fn apply(&mut self, entry: &LedgerEntry) {
        self.accounts.apply(entry, ROOM, &mut |finding| self.told.push(finding.text));
    }

    fn moves(&mut self, partition: &PartitionKey, act: Option<&str>, lines: &[(&str, u32, Holder, Holder)]) {
        let entry = self.entry(partition, act, lines);
        self.apply(&entry);
    }

    fn end_pass(&mut self) {
        self.accounts.end_pass(&mut |finding| self.told.push(finding.text));
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn bag(player: u64) -> PartitionKey {
    PartitionKey::player(PlayerId((1 << 54) | player))
}

fn of(player: u64) -> Holder {
    Holder::Player((1 << 54) | player)
}

fn under_way(id: &str) -> Holder {
    Holder::Transfer(id.to_owned())
}

/// Anna makes five planks and sends two of them to Bert.
fn story(desk: &mut Desk) {
    desk.moves(&bag(ANNA), Some("a.1"), &[("plank", 5, Holder::Nobody, of(ANNA))]);
    desk.moves(&bag(ANNA), Some("a.2"), &[("plank", 2, of(ANNA), under_way("t1"))]);
    desk.moves(&bag(BERT), None, &[("plank", 2, under_way("t1"), of(BERT))]);
}

#[test]
fn a_story_without_a_mistake_is_silent_and_adds_up() {
    let mut desk = Desk::new();
    story(&mut desk);
    desk.moves(
        &bag(BERT),
        Some("b.1"),
        &[("plank", 2, of(BERT), Holder::Nobody), ("wood", 1, Holder::Nobody, of(BERT))],
    );
    (0..3).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), Vec::<String>::new());
    assert_eq!(desk.accounts.held(&of(ANNA)), Held::from([("plank".to_owned(), 3)]));
    assert_eq!(desk.accounts.held(&of(BERT)), Held::from([("wood".to_owned(), 1)]));
    assert_eq!(desk.accounts.held(&under_way("t1")), Held::new());
    assert_eq!(desk.accounts.holders().count(), 2, "what holds nothing is forgotten");
}

#[test]
fn a_credit_that_is_read_before_its_debit_is_no_finding_and_one_without_a_debit_is() {
    let mut desk = Desk::new();
    desk.moves(&bag(ANNA), Some("a.1"), &[("plank", 5, Holder::Nobody, of(ANNA))]);
    let debit = desk.entry(&bag(ANNA), Some("a.2"), &[("plank", 2, of(ANNA), under_way("t1"))]);
    desk.moves(&bag(BERT), None, &[("plank", 2, under_way("t1"), of(BERT))]);
    desk.end_pass();
    desk.apply(&debit);
    (0..3).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), Vec::<String>::new());

    desk.moves(&bag(BERT), None, &[("plank", 1, under_way("t2"), of(BERT))]);
    desk.end_pass();
    assert_eq!(desk.told(), Vec::<String>::new(), "its debit may be in a shard that was read before");
    desk.end_pass();
    assert_eq!(desk.told(), ["transfer t2 paid out more than it took in: -1 plank"]);
    desk.end_pass();
    assert_eq!(desk.told(), Vec::<String>::new(), "it is told once");
}

#[test]
fn a_transfer_that_pays_twice_or_too_much_is_found() {
    let mut desk = Desk::new();
    story(&mut desk);
    desk.moves(&bag(BERT), None, &[("plank", 2, under_way("t1"), of(BERT))]);
    (0..2).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), ["transfer t1 paid out more than it took in: -2 plank"]);

    let mut desk = Desk::new();
    desk.moves(&bag(ANNA), Some("a.1"), &[("plank", 5, Holder::Nobody, of(ANNA))]);
    desk.moves(&bag(ANNA), Some("a.2"), &[("plank", 2, of(ANNA), under_way("t1"))]);
    desk.moves(&bag(BERT), None, &[("plank", 3, under_way("t1"), of(BERT))]);
    (0..2).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), ["transfer t1 paid out more than it took in: -1 plank"]);
}

#[test]
fn a_debit_that_is_done_twice_is_found_by_its_act_and_by_its_transfer() {
    let mut desk = Desk::new();
    story(&mut desk);
    desk.moves(&bag(ANNA), Some("a.2"), &[("plank", 2, of(ANNA), under_way("t1"))]);
    let told = desk.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].ends_with("act a.2 was done there before"), "{told:?}");
    assert!(told[1].ends_with("transfer t1 took something in a second time"), "{told:?}");
}

#[test]
fn nobody_gives_away_what_he_has_not() {
    let mut desk = Desk::new();
    let chunk = PartitionKey::chunk(WORLD, IslandId(3), ChunkPos::new(1, 2));
    let ground = Holder::Ground(3, Chunk { x: 1, y: 2 });
    desk.moves(&chunk, None, &[("wood", 1, ground, under_way("t1"))]);
    let told = desk.told();
    assert!(told[0].ends_with("the ground of chunk 3/1/2 gave away more than it had: -1 wood"), "{told:?}");
}

#[test]
fn items_are_moved_only_where_their_holder_is() {
    let mut desk = Desk::new();
    desk.moves(&bag(ANNA), None, &[("wood", 1, Holder::Nobody, of(BERT))]);
    let told = desk.told();
    assert!(told[0].ends_with("moves 1 wood of player 0040000000000008, who is not there"), "{told:?}");
}

#[test]
fn lost_unreadable_and_newer_entries_are_told() {
    let mut desk = Desk::new();
    let lost = desk.entry(&bag(ANNA), None, &[]);
    desk.moves(&bag(ANNA), None, &[]);
    (0..3).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), [format!("the ledger of shard {} lacks the entries 1 to 1", lost.shard.0)]);
    desk.apply(&lost);
    assert_eq!(desk.told(), Vec::<String>::new(), "it was late");
    desk.apply(&lost);
    assert!(desk.told()[0].ends_with("came again or too late"));
    let mut garbage = desk.entry(&bag(ANNA), None, &[]);
    garbage.bytes = Bytes::from_static(b"\xc1");
    desk.apply(&garbage);
    assert!(desk.told()[0].ends_with("can't be read"));
    let mut newer = desk.entry(&bag(ANNA), None, &[]);
    newer.bytes = encode(&Record { v: 3, act: None, lines: Vec::new() }).into();
    desk.apply(&newer);
    assert!(desk.told()[0].ends_with("has version 3, which is not known here"));
}

#[test]
fn balances_go_on_where_they_were_written() {
    let mut desk = Desk::new();
    story(&mut desk);
    let packed = rmp_serde::to_vec_named(&desk.accounts).expect("plain data");
    let read: Accounts = rmp_serde::from_slice(&packed).expect("as it was written");
    desk.accounts = read.restored().expect("ours");
    desk.moves(&bag(ANNA), Some("a.2"), &[("plank", 2, of(ANNA), under_way("t1"))]);
    assert_eq!(desk.told().len(), 2, "acts and ended transfers are remembered");
    assert_eq!(desk.accounts.held(&of(BERT)), Held::from([("plank".to_owned(), 2)]));
}

#[test]
fn memory_is_bounded_and_says_so() {
    let mut desk = Desk::new();
    let tight = Room { holders: 2, remembered: 2 };
    for player in 1..=4 {
        let entry = desk.entry(&bag(player), Some("x.1"), &[("wood", 1, Holder::Nobody, of(player))]);
        desk.accounts.apply(&entry, tight, &mut |finding| desk.told.push(finding.text));
    }
    assert!(desk.accounts.is_full());
    assert_eq!(desk.accounts.holders().count(), 3, "one more than there is room for, then none");
    assert!(desk.accounts.acts.order.len() <= 2);
    assert_eq!(desk.told(), Vec::<String>::new());
}

#[test]
fn books_go_on_from_what_they_were_opened_with() {
    let mut desk = Desk::new();
    let held = Held::from([("plank".to_owned(), 4)]);
    let held = vec![(of(ANNA), held.clone()), (under_way("t1"), held)];
    let opening =
        Opening { v: RECORD_VERSION, store_ms: 5, held, built_before: Vec::new(), opened_before: false };
    assert!(desk.accounts.open_books(&opening.pack()));
    desk.moves(&bag(BERT), None, &[("plank", 4, under_way("t1"), of(BERT))]);
    desk.moves(&bag(ANNA), Some("a.1"), &[("plank", 4, of(ANNA), Holder::Nobody)]);
    (0..2).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), Vec::<String>::new());
    let (made, used_up) = desk.accounts.turnover();
    assert_eq!((made.get("plank"), used_up.get("plank")), (Some(&8), Some(&4)));
    assert!(!desk.accounts.open_books(&Bytes::from_static(b"\xc1")));
}

#[test]
fn an_entry_that_comes_late_is_applied() {
    let mut desk = Desk::new();
    let entries: Vec<LedgerEntry> =
        (1..=5).map(|n| desk.entry(&bag(ANNA), None, &[("wood", n, Holder::Nobody, of(ANNA))])).collect();
    for at in [0, 4, 2, 1] {
        desk.apply(&entries[at]);
    }
    desk.end_pass();
    assert_eq!(desk.accounts.held(&of(ANNA)), Held::from([("wood".to_owned(), 1 + 5 + 3 + 2)]));
    assert_eq!(desk.told(), Vec::<String>::new(), "it may come yet");
    desk.end_pass();
    let shard = bag(ANNA).shard().0;
    assert_eq!(desk.told(), [format!("the ledger of shard {shard} lacks the entries 4 to 4")]);
    desk.apply(&entries[3]);
    assert_eq!(desk.accounts.held(&of(ANNA)), Held::from([("wood".to_owned(), 15)]));
    (0..2).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), Vec::<String>::new());
}

const CHUNK: Chunk = Chunk { x: 1, y: 2 };

fn ground() -> PartitionKey {
    PartitionKey::chunk(WORLD, IslandId(3), ChunkPos::new(CHUNK.x, CHUNK.y))
}

fn structure(name: &str) -> Holder {
    Holder::Structure(3, CHUNK, name.to_owned())
}

/// Anna pays six wood for the hut `a.2`, which stands.
fn build(desk: &mut Desk) {
    let stands = if desk.version < STRUCTURES_SINCE { Holder::Nobody } else { structure("a.2") };
    desk.moves(&bag(ANNA), Some("a.1"), &[("wood", 6, Holder::Nobody, of(ANNA))]);
    desk.moves(&bag(ANNA), Some("a.2"), &[("wood", 6, of(ANNA), under_way("a.2.p.0"))]);
    desk.moves(&ground(), None, &[("wood", 6, under_way("a.2.p.0"), stands)]);
}

/// It gives three of them back by the transfer `id`; the rest is used up.
fn demolish(desk: &mut Desk, id: &str) {
    desk.moves(&ground(), None, &[("wood", 3, structure("a.2"), under_way(id))]);
    desk.moves(&bag(ANNA), None, &[("wood", 3, under_way(id), of(ANNA))]);
    desk.moves(&ground(), None, &[("wood", 3, structure("a.2"), Holder::Nobody)]);
}

#[test]
fn a_structure_holds_what_was_paid_for_it_and_gives_it_back_once() {
    let mut desk = Desk::new();
    build(&mut desk);
    assert_eq!(desk.accounts.held(&structure("a.2")), Held::from([("wood".to_owned(), 6)]));
    assert_eq!(desk.accounts.structures_at(3, CHUNK).count(), 1);
    assert_eq!(desk.accounts.structures_at(3, Chunk { x: 1, y: 3 }).count(), 0);
    demolish(&mut desk, "b.1");
    (0..2).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), Vec::<String>::new());
    assert_eq!(desk.accounts.structures_at(3, CHUNK).count(), 0);
    desk.moves(&ground(), None, &[("wood", 3, structure("a.2"), under_way("b.2"))]);
    let wanted = "structure a.2 of chunk 3/1/2 gave away more than it had: -3 wood";
    assert!(desk.told()[0].ends_with(wanted));
}

#[test]
fn a_structure_that_older_records_booked_as_used_up_is_taken_as_paid() {
    let mut desk = Desk::new();
    desk.version = STRUCTURES_SINCE - 1;
    build(&mut desk);
    assert!(desk.accounts.is_unbooked(&structure("a.2")));
    assert_eq!(desk.accounts.turnover().1.get("wood"), Some(&6));
    // What was exported then is known after an import too.
    let before = desk.accounts.built_before().map(|(holder, paid)| (holder.clone(), paid.clone())).collect();
    let held = desk.accounts.holders().map(|(holder, held)| (holder, held.clone())).collect();
    let opening =
        Opening { v: RECORD_VERSION, store_ms: 5, held, built_before: before, opened_before: false };
    let mut moved = Desk::new();
    assert!(moved.accounts.open_books(&opening.pack()));
    for desk in [&mut desk, &mut moved] {
        desk.version = RECORD_VERSION;
        demolish(desk, "b.1");
        (0..2).for_each(|_| desk.end_pass());
        assert_eq!(desk.told(), Vec::<String>::new());
        assert_eq!(desk.accounts.held(&of(ANNA)), Held::from([("wood".to_owned(), 3)]));
        desk.moves(&ground(), None, &[("wood", 3, structure("a.2"), under_way("b.2"))]);
        assert!(desk.told()[0].ends_with("gave away more than it had: -3 wood"));
    }
}

#[test]
fn of_structures_of_older_openings_nothing_is_said() {
    #[derive(serde::Serialize)]
    struct Older {
        store_ms: u64,
        held: Vec<(Holder, Held)>,
    }
    let mut desk = Desk::new();
    assert!(desk.accounts.open_books(&encode(&Older { store_ms: 5, held: Vec::new() }).into()));
    demolish(&mut desk, "b.1");
    (0..2).for_each(|_| desk.end_pass());
    assert_eq!(desk.told(), Vec::<String>::new());
    let (made, used_up) = desk.accounts.turnover();
    assert_eq!((made.get("wood"), used_up.get("wood")), (Some(&6), Some(&3)));
    // Those that are built since are booked.
    build(&mut desk);
    assert_eq!(desk.accounts.held(&structure("a.2")), Held::from([("wood".to_owned(), 6)]));
}
