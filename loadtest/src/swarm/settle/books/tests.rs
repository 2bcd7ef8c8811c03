//! The books by hand: what each outcome leaves in them, and which bags they allow.

use super::*;
use chunk_sync::ids::{Epoch, IslandId, PlayerId};

fn id(act: u64) -> ActId {
    ActId { player: PlayerId(9), epoch: Epoch(1), island: IslandId(1), act }
}

fn number(act: u64) -> ActNumber {
    ActNumber::new(Epoch(1), act as u32)
}

fn items(rows: &[(ItemKind, u32)]) -> Items {
    Items::from(rows)
}

/// Books of two bots that began with ten wood each.
fn books() -> Books {
    let mut books = Books::new(2);
    books.accounts.iter_mut().for_each(|account| account.start = Some(Items::of(ItemKind::Wood, 10)));
    books
}

fn ask(books: &mut Books, act: u64, moves: Vec<(usize, Change)>, work: Work) {
    let moves = moves.into_iter().collect();
    books.ask(0, number(act), Entry { id: id(act), asked_ms: 0, moves, work, taken: None, absurd: false });
}

fn answer(books: &mut Books, act: u64, fate: Fate) {
    assert!(books.answer(0, number(act), fate).is_some());
}

fn wood(count: i64) -> Change {
    [(ItemKind::Wood, count)].into()
}

fn hut() -> Built {
    let corner = TilePos { x: 130, y: 130 };
    let (raised, felled, claims) = (Fate::Asked, None, Vec::new());
    Built { bot: 0, kind: StructureKind::Hut, island: 1, corner, turned: false, claims, raised, felled }
}

fn laid(count: u32) -> Laid {
    let (laid, lifted, maybe_lifted) = (Fate::Asked, 0, Vec::new());
    let (chunk, item) = (ChunkPos::new(8, 8), ItemKind::Wood);
    Laid { bot: 0, island: 1, chunk, item, count, laid, lifted, maybe_lifted }
}

#[test]
fn acknowledged_acts_count_refused_ones_do_not() {
    let mut books = books();
    ask(&mut books, 1, vec![(0, wood(-3)), (1, wood(3))], Work::None);
    assert_eq!((books.open(), books.open_of(0), books.open_of(1)), (1, 1, 0));
    answer(&mut books, 1, Fate::Done);
    ask(&mut books, 2, vec![(0, wood(-1))], Work::None);
    answer(&mut books, 2, Fate::Refused);
    assert_eq!(books.answer(0, number(2), Fate::Done), None, "a second answer is none");
    let bags = |mine, theirs| {
        [(0, mine), (1, theirs)]
            .map(|(bot, count)| books.accounts[bot].difference(&items(&[(ItemKind::Wood, count)])))
    };
    assert_eq!(bags(7, 13), [(0, 0), (0, 0)]);
    assert_eq!(bags(10, 10), [(0, 3), (3, 0)], "as if it had not been done: doubled here, lost there");
    assert_eq!(bags(4, 16), [(3, 0), (0, 3)], "done twice");
    // What was never there is found too.
    assert_eq!(books.accounts[0].difference(&items(&[(ItemKind::Wood, 7), (ItemKind::Pick, 1)])), (0, 1));
}

#[test]
fn a_gift_of_unknown_outcome_is_in_both_bags_or_in_neither() {
    let mut books = books();
    ask(&mut books, 1, vec![(0, wood(-3)), (1, wood(3))], Work::None);
    ask(&mut books, 2, vec![(0, wood(-1))], Work::None);
    answer(&mut books, 1, Fate::Unknown);
    answer(&mut books, 2, Fate::Unknown);
    let torn = |mine, theirs| {
        let bags = [(0, mine), (1, theirs)].map(|(bot, count)| (bot, Items::of(ItemKind::Wood, count)));
        books.torn(&bags.into()).len()
    };
    assert_eq!([torn(10, 10), torn(7, 13), torn(9, 10), torn(6, 13)], [0; 4]);
    assert_eq!([torn(7, 10), torn(10, 13), torn(6, 10)], [1; 3], "lost on the way, or doubled");
    let one: BTreeMap<usize, Items> = [(0, Items::of(ItemKind::Wood, 7))].into();
    assert!(books.torn(&one).is_empty(), "the other bag isn't seen");
}

#[test]
fn many_unknown_acts_leave_a_range() {
    let mut account = Account { start: Some(items(&[(ItemKind::Wood, 10)])), ..Account::default() };
    account.unknown = vec![(id(1), wood(-1)); UNKNOWN_ACTS_TRIED_MAX + 1];
    let of = |count| account.difference(&items(&[(ItemKind::Wood, count)]));
    assert_eq!((of(10), of(0), of(11)), ((0, 0), (0, 0), (0, 1)));
    let mut books = books();
    for act in 0..=UNKNOWN_ACTS_MAX as u64 {
        ask(&mut books, act + 1, vec![(0, wood(-1))], Work::None);
        answer(&mut books, act + 1, Fate::Unknown);
    }
    assert!(books.accounts[0].lost_count && books.accounts[0].unknown.len() == UNKNOWN_ACTS_MAX);
}

#[test]
fn structures_stand_until_they_are_surely_or_perhaps_gone() {
    let mut books = books();
    ask(&mut books, 1, Vec::new(), Work::Raise(hut()));
    let tile = TilePos { x: 131, y: 131 };
    assert!(books.is_taken(1, tile) && !books.is_taken(2, tile) && books.standing(0).len() == 0);
    answer(&mut books, 1, Fate::Done);
    assert_eq!(books.standing(0).len(), 1);
    ask(&mut books, 2, Vec::new(), Work::Fell(id(1)));
    ask(&mut books, 3, Vec::new(), Work::Fell(id(1)));
    ask(&mut books, 4, Vec::new(), Work::Fell(id(1)));
    answer(&mut books, 2, Fate::Refused);
    assert_eq!((books.standing(0).len(), books.built[&id(1)].felled), (1, None));
    answer(&mut books, 3, Fate::Unknown);
    assert_eq!((books.standing(0).len(), books.built[&id(1)].felled), (0, Some(Fate::Unknown)));
    answer(&mut books, 4, Fate::Done);
    assert_eq!(books.built[&id(1)].felled, Some(Fate::Done));
    assert!(!books.is_taken(1, tile) && books.undue.is_empty());
    ask(&mut books, 5, Vec::new(), Work::Fell(id(1)));
    answer(&mut books, 5, Fate::Done);
    assert_eq!(books.undue, [id(5)], "nothing is demolished twice");
    // A refused building leaves its ground free.
    ask(&mut books, 6, Vec::new(), Work::Raise(hut()));
    answer(&mut books, 6, Fate::Refused);
    assert!(!books.is_taken(1, tile));
}

#[test]
fn stacks_are_counted_with_what_was_picked_up() {
    let mut books = books();
    ask(&mut books, 1, Vec::new(), Work::Lay(laid(6)));
    answer(&mut books, 1, Fate::Done);
    ask(&mut books, 2, Vec::new(), Work::Lift(id(1), 2));
    answer(&mut books, 2, Fate::Done);
    ask(&mut books, 3, Vec::new(), Work::Lift(id(1), 3));
    answer(&mut books, 3, Fate::Unknown);
    let of = |found| books.laid[&id(1)].difference(found);
    assert_eq!([0, 1, 4, 5].map(of), [-1, 0, 0, 1]);
    let refused = Laid { laid: Fate::Refused, ..laid(6) };
    assert_eq!((refused.difference(0), refused.difference(6)), (0, 6));
    let unknown = Laid { laid: Fate::Unknown, ..laid(6) };
    assert_eq!([0, 6, 7].map(|found| unknown.difference(found)), [0, 0, 1]);
    assert_eq!(unknown.difference(5), -1, "if it was laid down, it was whole");
}

#[test]
fn a_trade_is_closed_once() {
    let mut books = books();
    let deal =
        Deal { from: 0, to: 1, give: Items::of(ItemKind::Wood, 1), want: Items::default(), open: false };
    ask(&mut books, 1, Vec::new(), Work::Offer(deal.clone()));
    assert!(!books.deals[&id(1)].open, "nobody can accept what isn't there yet");
    answer(&mut books, 1, Fate::Done);
    assert!(books.deals[&id(1)].open);
    for act in 2..=4 {
        ask(&mut books, act, Vec::new(), Work::Close(id(1)));
    }
    answer(&mut books, 2, Fate::Unknown);
    assert!(books.deals.get(&id(1)).is_some_and(|deal| !deal.open), "perhaps it was closed");
    answer(&mut books, 3, Fate::Done);
    assert!(books.undue.is_empty() && books.deals.is_empty());
    answer(&mut books, 4, Fate::Done);
    assert_eq!(books.undue, [id(4)], "accepted and called off");
    assert_eq!(books.take_closed(1), Some(id(1)));
    ask(&mut books, 5, Vec::new(), Work::Offer(deal));
    answer(&mut books, 5, Fate::Unknown);
    assert!(books.deals.is_empty(), "nobody is told of an offer that may not be there");
}

#[test]
fn nobody_builds_who_asked_after_a_revocation_was_acknowledged() {
    let corner = TilePos { x: 133, y: 133 };
    let totem = Built { kind: StructureKind::Totem, corner, claims: vec![corner.chunk()], ..hut() };
    let guest = |x| Work::Raise(Built { bot: 1, corner: TilePos { x, y: 128 }, ..hut() });
    let allow = |leave| Work::Allow(id(1), 1, leave);
    let mut books = books();
    let done = |books: &mut Books, act, work| {
        ask(books, act, Vec::new(), work);
        answer(books, act, Fate::Done);
    };
    done(&mut books, 1, Work::Raise(totem));
    done(&mut books, 2, allow(Leave::Given));
    done(&mut books, 3, guest(128));
    // Asked for before the owner was told that it is revoked.
    ask(&mut books, 4, Vec::new(), guest(130));
    done(&mut books, 5, allow(Leave::Revoked));
    answer(&mut books, 4, Fate::Done);
    // Leave was asked for once more before it was answered.
    ask(&mut books, 6, Vec::new(), guest(132));
    assert!(books.is_forbidden_act(0, number(6)));
    done(&mut books, 7, allow(Leave::Given));
    answer(&mut books, 6, Fate::Done);
    done(&mut books, 8, allow(Leave::Revoked));
    assert!(books.undue.is_empty());
    ask(&mut books, 9, Vec::new(), guest(134));
    answer(&mut books, 9, Fate::Refused);
    done(&mut books, 10, guest(128 - 32));
    assert!(books.undue.is_empty(), "refused, or off the estate");
    done(&mut books, 11, guest(134));
    assert_eq!(books.undue, [id(11)]);
    // The estate may be gone.
    ask(&mut books, 12, Vec::new(), guest(134));
    ask(&mut books, 13, Vec::new(), Work::Fell(id(1)));
    answer(&mut books, 12, Fate::Done);
    answer(&mut books, 13, Fate::Done);
    done(&mut books, 14, guest(134));
    assert_eq!(books.undue, [id(11)]);
}

#[test]
fn what_no_rule_allows_is_noted_when_it_is_done() {
    let mut books = books();
    for (act, fate) in [(1, Fate::Refused), (2, Fate::Unknown), (3, Fate::Done)] {
        let entry = Entry {
            id: id(act),
            asked_ms: 0,
            moves: Default::default(),
            work: Work::None,
            taken: None,
            absurd: true,
        };
        books.ask(0, number(act), entry);
        answer(&mut books, act, fate);
    }
    assert_eq!(books.undue, [id(3)]);
}
