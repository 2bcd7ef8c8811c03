//! `loadtest launch`: a launch day in virtual time. Everybody comes, waits, plays and leaves by laws drawn from a seed; policies
//! let them in and open islands; how it went stands side by side in a table, in JSON and on a page.
//!
//! Called by the command line and by tests. It opens no socket and starts no server. What is assumed, and why, stands in
//! `docs/launch.md`.

pub mod allocation;
mod chart;
mod command;
pub mod crowd;
pub mod curves;
mod desk;
mod file;
pub mod islands;
pub mod laws;
pub mod limits;
pub mod meter;
pub mod packing;
mod page;
pub mod policies;
pub mod queue;
mod simulator;
mod table;

pub use command::{LaunchArgs, LaunchError, Prepared, json, run};
pub use simulator::{Outcome, Scenario, simulate};

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde::Serialize;

use policies::PolicyName;

/// What is known of the demand, whatever the policy.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Demand {
    /// Everybody who comes.
    pub arrivals: u64,
    /// Different players among them.
    pub players: u64,
    /// Players a minute who are expected in the first five minutes.
    pub first_minutes_per_minute: f64,
    /// Players a second who are expected in the busiest minute.
    pub peak_per_s: f64,
    /// A reopening's two numbers.
    pub reopening: Option<curves::Reopening>,
    /// Islands that could open a second at most, times the design population: what the warming slots can keep up with.
    pub slots_per_s: f64,
    /// Announced openings: islands that the rule of the announced peak asks for before the doors open.
    pub announced_islands: Option<u64>,
}

/// Runs of all policies on one scenario.
#[derive(Clone, Debug)]
pub struct Runs {
    /// In the order in which they were asked for.
    pub outcomes: Vec<Outcome>,
    /// The yardstick's, asked for or not.
    pub clairvoyant: Outcome,
    /// No policy can do with fewer islands.
    pub bound: u64,
    /// How long each run took, real seconds.
    pub simulated_in_s: BTreeMap<&'static str, f64>,
}

/// Runs policies on all cores; `None` when interrupted.
pub fn run_all(scenario: &Scenario, names: &[PolicyName], interrupted: &AtomicBool) -> Option<Runs> {
    let mut wanted = names.to_vec();
    if !wanted.contains(&PolicyName::Clairvoyant) {
        wanted.push(PolicyName::Clairvoyant);
    }
    let results: Vec<Mutex<Option<(Outcome, f64)>>> = wanted.iter().map(|_| Mutex::new(None)).collect();
    let todo = Mutex::new(wanted.iter().zip(&results));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let next = || todo.lock().ok()?.next();
                while let Some((name, result)) = next() {
                    let began = Instant::now();
                    let outcome = simulate(scenario, name.build(scenario.terms), interrupted);
                    if let (Some(outcome), Ok(mut result)) = (outcome, result.lock()) {
                        *result = Some((outcome, began.elapsed().as_secs_f64()));
                    }
                }
            });
        }
    });
    let done = results.into_iter().map(|result| result.into_inner().ok().flatten());
    let mut done: Vec<(Outcome, f64)> = done.collect::<Option<_>>()?;
    let clairvoyant = wanted.iter().position(|name| *name == PolicyName::Clairvoyant)?;
    let clairvoyant = done[clairvoyant].0.clone();
    done.truncate(names.len());
    let simulated_in_s = done.iter().map(|(outcome, seconds)| (outcome.label, *seconds)).collect();
    let mut outcomes: Vec<Outcome> = done.into_iter().map(|(outcome, _)| outcome).collect();
    for outcome in &mut outcomes {
        let islands = f64::from(outcome.figures.islands) / f64::from(clairvoyant.figures.islands.max(1));
        outcome.figures.islands_vs_clairvoyant = (islands * 1_000.0).round() / 1_000.0;
    }
    let design = u64::from(scenario.terms.design);
    let figures = &clairvoyant.figures;
    // A resident takes a seat of the design population while nothing shows that fewer are there at once.
    let bound = figures.peak_inside.div_ceil(design).max(figures.residents.div_ceil(design));
    Some(Runs { outcomes, clairvoyant, bound, simulated_in_s })
}
