//! Golden stories: `golden/NAME.story` tells what happens, `golden/NAME.decisions` what the allocator decided. A change
//! of behaviour shows up as a diff to read. `ATOLL_GOLDEN=write` records anew.
//!
//! A story is lines of `VERB ARGUMENT…`; `#` begins a comment. `policy` comes first. The verbs are the arms of
//! [`Teller::tell`].

use crate::cluster::{Cluster, START_MS, node_of, small};
use chunk_sync::wire::Seat;
use population_allocator::policy::{Policy, Seating};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

struct Teller {
    cluster: Cluster,
    seats: BTreeMap<String, Seat>,
    plan: u64,
    out: String,
}

impl Teller {
    fn new(policy: Policy) -> Self {
        Teller { cluster: Cluster::new(policy), seats: BTreeMap::new(), plan: 0, out: String::new() }
    }

    fn say(&mut self, text: &str) {
        let ms = self.cluster.now_ms - START_MS;
        writeln!(self.out, "{:>7.1}s  {text}", ms as f64 / 1_000.0).unwrap();
    }

    /// Lets time pass, and tells of every plan when it comes.
    fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.cluster.run(10);
            let Some(plan) = self.cluster.core.plan_record().filter(|plan| plan.number > self.plan).cloned()
            else {
                continue;
            };
            self.plan = plan.number;
            let islands: Vec<String> = plan
                .islands
                .iter()
                .map(|island| {
                    format!("{}{:?}", island.island, island.nodes.iter().map(|n| n.0).collect::<Vec<_>>())
                })
                .collect();
            self.say(&format!("plan {}: {}", plan.number, islands.join(" ")));
            for reason in &plan.reasons {
                self.say(&format!("  {reason}"));
            }
        }
    }

    fn join(&mut self, name: &str, wish: Option<u32>) {
        let request = self.cluster.join_with(name, wish);
        let mut waited = 0;
        while !self.cluster.answers.contains_key(&request) {
            self.wait(10);
            waited += 10;
        }
        let after = if waited == 0 { String::new() } else { format!(" after {waited} ms") };
        match self.cluster.answers.remove(&request).unwrap() {
            Ok(seat) => {
                let nodes: Vec<u32> = seat.nodes.iter().map(|node| node_of(node)).collect();
                self.say(&format!("{name}: island {}, nodes {nodes:?}{after}", seat.island));
                self.seats.insert(name.to_owned(), seat);
            }
            Err(code) => self.say(&format!("{name}: {}{after}", code.label())),
        }
    }

    fn show(&mut self) {
        let state = self.cluster.core.state(self.cluster.now_ms);
        for island in &state.islands {
            self.say(&format!(
                "island {}: {} of {}, at most {}",
                island.id, island.population, island.design, island.cap
            ));
        }
        for node in &state.nodes {
            let life = if node.alive { "" } else { ", not heard" };
            self.say(&format!("node {}: {} sessions{life}", node.id, node.sessions));
        }
        for reason in &state.plan.reasons {
            self.say(&format!("  {reason}"));
        }
    }

    fn tell(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u32>().unwrap_or_else(|_| panic!("{line}: not a number"));
        match words[0] {
            "node" => self.cluster.start_node(number(1)),
            "kill" => self.cluster.kill_node(number(1)),
            "sleep" => self.cluster.nodes.get_mut(&number(1)).unwrap().awake = false,
            "wake" => self.cluster.nodes.get_mut(&number(1)).unwrap().awake = true,
            "join" => self.join(words[1], (words.len() > 2).then(|| number(2))),
            "enter" => {
                let seat = self.seats[words[1]].clone();
                let node = if words.len() > 2 { number(2) } else { node_of(&seat.nodes[0]) };
                let entered = self.cluster.enter(&seat, node);
                self.say(&format!(
                    "{} {} node {node}",
                    words[1],
                    if entered { "enters" } else { "is refused by" }
                ));
            }
            "leave" => self.cluster.leave(self.seats[words[1]].player),
            "wait" => self.wait(u64::from(number(1))),
            "store" => self.cluster.store_away = words[1] == "away",
            "allocator" if words[1] == "dies" => self.cluster.restart_allocator(),
            "allocator" if words[1] == "restarts" => self.cluster.replace_allocator(),
            "show" => self.show(),
            _ => panic!("unknown line: {line}"),
        }
    }
}

fn policy(line: &str) -> Policy {
    let mut policy = small();
    for setting in line.split_whitespace().skip(1) {
        let (key, value) = setting.split_once('=').unwrap();
        let number = || value.parse().unwrap();
        match key {
            "design" => policy.design = number(),
            "cap" => policy.cap = number(),
            "minimum" => policy.minimum = number(),
            "islands" => policy.islands = number(),
            "islands_max" => policy.islands_max = number(),
            "seating" if value == "pack" => policy.seating = Seating::Pack,
            "seating" if value == "spread" => policy.seating = Seating::Spread,
            _ => panic!("unknown setting: {setting}"),
        }
    }
    policy
}

fn tell(story: &str) -> String {
    let mut lines =
        story.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty());
    let mut teller = Teller::new(policy(lines.next().unwrap()));
    for line in lines {
        writeln!(teller.out, "> {line}").unwrap();
        teller.tell(line);
    }
    teller.out
}

#[test]
fn stories_are_decided_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut stories: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "story"))
        .collect();
    stories.sort();
    assert!(!stories.is_empty());
    for path in stories {
        let told = tell(&std::fs::read_to_string(&path).unwrap());
        let recorded = path.with_extension("decisions");
        if std::env::var_os("ATOLL_GOLDEN").is_some_and(|how| how == "write") {
            std::fs::write(&recorded, &told).unwrap();
        }
        let wanted = std::fs::read_to_string(&recorded).unwrap_or_default();
        let differs = told.lines().zip(wanted.lines()).position(|(told, wanted)| told != wanted);
        let name = path.display();
        if let Some(line) = differs {
            let (told, wanted) = (told.lines().nth(line).unwrap(), wanted.lines().nth(line).unwrap());
            panic!(
                "{name}, decision line {}:\n  recorded {wanted}\n  now      {told}\n(ATOLL_GOLDEN=write records anew)",
                line + 1
            );
        }
        assert_eq!(
            told.lines().count(),
            wanted.lines().count(),
            "{name}: length (ATOLL_GOLDEN=write records anew)"
        );
    }
}
