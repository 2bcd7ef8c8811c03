//! One rule in a separate process that shares no code with this crate: what goes in and comes out is plain data, and
//! its answers are this crate's, byte for meaning.

use super::town::{ISLAND, Town};
use chunk_sync::ids::PlayerId;
use chunk_sync::random::{RngExt, stream};
use chunk_sync::records::{decode, encode};
use chunk_sync::time::Tick;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::BAG_SLOTS;
use world_node::rules::recipes::Recipe;
use world_node::rules::{Action, Actor, Effects, RuleReject, View, decide, reads};

#[derive(Serialize)]
struct Request<'a> {
    actor: &'a Actor,
    action: &'a Action,
    view: &'a View,
}

struct RuleProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl RuleProcess {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rules/rule_in_python.py");
        let mut command = Command::new("python3");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    fn decide(&mut self, actor: &Actor, action: &Action, view: &View) -> Result<Effects, RuleReject> {
        let body = encode(&Request { actor, action, view });
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(&(body.len() as u32).to_be_bytes()).unwrap();
        stdin.write_all(&body).unwrap();
        stdin.flush().unwrap();
        let mut length = [0; 4];
        self.stdout.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.stdout.read_exact(&mut answer).expect("a whole answer");
        decode(&answer).unwrap_or_else(|| panic!("not effects: {answer:02x?}"))
    }

    fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for RuleProcess {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_rule_in_another_process_decides_the_same() {
    let mut python = RuleProcess::start();
    let mut answers: BTreeMap<Option<RuleReject>, u32> = BTreeMap::new();
    for seed in 0..300u64 {
        let mut draws = stream(seed, "process");
        let mut town = Town::new(1);
        let mut items = Items::default();
        for kind in [ItemKind::Wood, ItemKind::Stone, ItemKind::Fibre, ItemKind::Rope] {
            let most = [5, 30, 300][draws.random_range(0..3)];
            items.add(kind, draws.random_range(0..=most));
        }
        if draws.random_range(0..2) == 0 {
            // Filled up to the last slots, so that what is made doesn't always fit.
            let free = BAG_SLOTS.saturating_sub(items.slots_with(&[]));
            items.add(ItemKind::Pick, (free as u32).saturating_sub(draws.random_range(0..2)));
        }
        let me = PlayerId(1);
        if draws.random_range(0..8) > 0 && items.slots_with(&[]) <= BAG_SLOTS {
            town.endow(me, &items);
        }
        for _ in 0..30 {
            town.now = Tick(town.now.0 + draws.random_range(0..15));
            let recipe = Recipe::ALL[draws.random_range(0..Recipe::ALL.len())];
            let (actor, action) = (town.actor(me), Action::Craft { recipe });
            let seen = town.load(&reads(&actor, &action), ISLAND);
            let here = decide(&actor, &action, &seen.view);
            let there = python.decide(&actor, &action, &seen.view);
            assert_eq!(here, there, "seed {seed}: {action:?}");
            *answers.entry(here.as_ref().err().copied()).or_default() += 1;
            if let Ok(effects) = there {
                // The foreign answer is what is committed.
                town.store.commit(&effects.commit, &seen, Some(actor.act));
            }
        }
        assert_eq!(super::audit::wrong(&town.store), None, "seed {seed}");
    }
    python.end();
    for reason in [None, Some(RuleReject::Lacking), Some(RuleReject::BagFull), Some(RuleReject::Tired)] {
        assert!(answers.get(&reason).is_some_and(|count| *count >= 10), "too few {reason:?}: {answers:?}");
    }
}
