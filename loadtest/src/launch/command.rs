//! The command: its arguments, what is refused, what is printed and written.
//!
//! Called by `cli`. The runs themselves are `launch::run_all`'s.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use clap::{Args, Parser, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::allocation::{Announcement, Terms};
use super::crowd::{Crowd, Shares};
use super::curves::{Curve, Expected, Reopening};
use super::laws::{LongTail, Sessions};
use super::limits::*;
use super::meter::Figures;
use super::policies::PolicyName;
use super::{Demand, Runs, Scenario, file, page, run_all, table};
use crate::cli::Ending;
use crate::interrupt;

/// Arguments of `launch`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct LaunchArgs {
    /// Shape of the day [default: reopen].
    #[arg(long)]
    pub curve: Option<Curve>,
    /// Players inside at the height of the day, before --scale [default: 67000].
    #[arg(long, value_name = "CCU")]
    pub peak: Option<f64>,
    /// Times as many players.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Hours that the doors are open [default: 4].
    #[arg(long)]
    pub hours: Option<f64>,
    /// Time constant of a reopening [default: 70 to 94, drawn from the seed].
    #[arg(long, value_name = "MINUTES")]
    pub tau: Option<f64>,
    /// Players a minute in the first five minutes of a reopening to 67,000 [default: 1200 to 1900, drawn from the seed].
    #[arg(long, value_name = "PER_MINUTE")]
    pub rush: Option<f64>,
    /// Arrivals from a CSV file instead of a curve: seconds,arrivals or seconds,ccu.
    #[arg(long, value_name = "FILE")]
    pub arrivals: Option<PathBuf>,
    /// 1, or 2: the same day again, many players coming home.
    #[arg(long, default_value_t = 1)]
    pub days: u32,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Policies to run; may be repeated [default: all].
    #[arg(long, value_name = "NAME")]
    #[serde(skip)]
    pub policy: Vec<PolicyName>,
    /// Players that an island is made for.
    #[arg(long, default_value_t = DESIGN)]
    pub design: u32,
    /// Players that an island takes.
    #[arg(long, default_value_t = CAP)]
    pub cap: u32,
    /// Players under which an island is sparse.
    #[arg(long, default_value_t = MINIMUM)]
    pub minimum: u32,
    /// 95th percentile of the time from decision to an open island.
    #[arg(long, value_name = "SECONDS", default_value_t = LEAD_S)]
    pub lead: u32,
    /// Islands that may warm at once.
    #[arg(long, default_value_t = WARM_PARALLEL)]
    pub warm_parallel: u32,
    /// Islands that are open from the start.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub prewarm: u32,
    /// Policies know two hours ahead when the doors open and how many will come: they may warm islands before.
    #[arg(long)]
    pub announced: bool,
    /// Mean session.
    #[arg(long, value_name = "MINUTES", default_value_t = SESSION_MEAN_MINUTES)]
    pub session_mean: f64,
    /// Shape of the Weibull law of sessions.
    #[arg(long, default_value_t = SESSION_SHAPE)]
    pub session_shape: f64,
    /// Median patience in the queue.
    #[arg(long, value_name = "MINUTES", default_value_t = PATIENCE_MINUTES)]
    pub patience: f64,
    /// Share of newcomers who come with friends.
    #[arg(long, default_value_t = PARTY_SHARE)]
    pub party_share: f64,
    /// Share of newcomers who make a home where they land.
    #[arg(long, default_value_t = RESIDENT_SHARE)]
    pub resident_share: f64,
    /// Share of the second day's arrivals who were there on the first.
    #[arg(long, default_value_t = RETURN_SHARE)]
    pub return_share: f64,
    /// Share of connections that are lost instead of ended, in the queue and inside.
    #[arg(long, default_value_t = LOST_SHARE)]
    pub lost_share: f64,
    /// Variance of the arrivals of ten seconds over their mean: 1 is Poisson.
    #[arg(long, default_value_t = 1.0)]
    pub dispersion: f64,
    /// Nodes that die, at times drawn from the seed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub node_deaths: u32,
    /// Allocators that die, at times drawn from the seed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub allocator_deaths: u32,
    /// Also write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also draw the run on a page of its own, for a browser.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Arguments of which none was given.
#[derive(Debug, Parser)]
struct Defaults {
    #[command(flatten)]
    args: LaunchArgs,
}

/// Why `launch` failed.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Arguments that can't be run, all of them.
    #[error("{}", .0.join("\n       "))]
    BadInput(Vec<String>),
    /// A file can't be written.
    #[error("can't write {what} {}: {source}", path.display())]
    Write {
        /// The option that named it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nobody takes what is printed.
    #[error("printing: {0}")]
    Print(#[from] io::Error),
}

impl LaunchError {
    /// Whether the caller can fix it by other arguments.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::BadInput(_))
    }
}

/// Everything that is settled before the first run.
#[derive(Debug)]
pub struct Prepared {
    /// What happens.
    pub scenario: Scenario,
    /// What is known of it.
    pub demand: Demand,
    /// Which policies run.
    pub policies: Vec<PolicyName>,
}

/// Runs the policies and says how they did.
///
/// # Errors
/// When arguments are refused, a file can't be written, or nobody takes what is printed.
pub fn run(args: &LaunchArgs) -> Result<Ending, LaunchError> {
    let interrupted: Arc<AtomicBool> = interrupt::watch()?;
    let prepared = args.prepare()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", table::heading(args, &prepared))?;
    let Some(runs) = run_all(&prepared.scenario, &prepared.policies, &interrupted) else {
        return Ok(Ending::Interrupted);
    };
    writeln!(out, "{}", table::table(&runs))?;
    if let Some(path) = &args.json {
        write(path, "--json", &json(args, &prepared, &runs))?;
    }
    if let Some(path) = &args.report {
        write(path, "--report", &page::page(args, &prepared, &runs))?;
    }
    Ok(if interrupted.load(Relaxed) { Ending::Interrupted } else { Ending::Done })
}

fn write(path: &PathBuf, what: &'static str, text: &str) -> Result<(), LaunchError> {
    std::fs::write(path, text).map_err(|source| LaunchError::Write { what, path: path.clone(), source })
}

/// The figures as JSON.
pub fn json(args: &LaunchArgs, prepared: &Prepared, runs: &Runs) -> String {
    #[derive(Serialize)]
    struct Report<'a> {
        launch: &'a LaunchArgs,
        demand: &'a Demand,
        bound: u64,
        policies: std::collections::BTreeMap<&'static str, &'a Figures>,
        simulated_in_s: &'a std::collections::BTreeMap<&'static str, f64>,
    }
    let policies = runs.outcomes.iter().map(|outcome| (outcome.label, &outcome.figures)).collect();
    let (demand, bound, simulated_in_s) = (&prepared.demand, runs.bound, &runs.simulated_in_s);
    let report = Report { launch: args, demand, bound, policies, simulated_in_s };
    let mut json = serde_json::to_string_pretty(&report).expect("a report has only string keys");
    json.push('\n');
    json
}

impl LaunchArgs {
    /// Checks everything, then draws the crowd.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn prepare(&self) -> Result<Prepared, LaunchError> {
        let mut faults = self.faults();
        if !faults.is_empty() {
            if let Some(path) = &self.arrivals {
                let any = Sessions::new(SESSION_MEAN_MINUTES * 60.0, SESSION_SHAPE);
                faults.extend(file::read(path, 1.0, &any).err().into_iter().flatten());
            }
            return Err(LaunchError::BadInput(faults));
        }
        let sessions = Sessions::new(self.session_mean * 60.0, self.session_shape);
        let (expected, reopening) = self.expected(&sessions)?;
        let terms = self.terms(&expected);
        let shares = Shares {
            party: self.party_share,
            resident: self.resident_share,
            returning: self.return_share,
            lost: self.lost_share,
        };
        let patience = LongTail::patience(self.patience * 60.0);
        let crowd = Crowd::draw(&expected, self.dispersion, &sessions, &patience, shares, self.seed);
        let demand = self.demand(&expected, &crowd, terms, reopening);
        let opens_s = terms.announcement.map_or(0, |announcement| announcement.opens_s);
        let scenario = Scenario {
            terms,
            crowd,
            opens_s,
            end_s: opens_s + expected.end_s(),
            prewarm: self.prewarm,
            node_deaths: self.node_deaths,
            allocator_deaths: self.allocator_deaths,
            seed: self.seed,
        };
        Ok(Prepared { scenario, demand, policies: self.policies() })
    }

    fn policies(&self) -> Vec<PolicyName> {
        let mut policies = match self.policy.is_empty() {
            true => PolicyName::value_variants().to_vec(),
            false => self.policy.clone(),
        };
        policies.sort_unstable();
        policies.dedup();
        policies
    }

    /// The options that make a run what it is, as they would be typed: those that differ from what they are by themselves.
    pub(super) fn given(&self) -> Vec<String> {
        let bare = serde_json::to_value(Defaults::parse_from(["launch"]).args).unwrap_or_default();
        let own = serde_json::to_value(self).unwrap_or_default();
        let (Some(bare), Some(own)) = (bare.as_object(), own.as_object()) else { return Vec::new() };
        let is_other = |(name, value): &(&String, &Value)| {
            bare.get(*name) != Some(value) && !["json", "report"].contains(&name.as_str())
        };
        let typed = |(name, value): (&String, &Value)| match value {
            Value::Bool(_) => format!("--{}", name.replace('_', "-")),
            Value::String(text) => format!("--{} {text}", name.replace('_', "-")),
            other => format!("--{} {other}", name.replace('_', "-")),
        };
        own.iter().filter(is_other).map(typed).collect()
    }

    /// The curve that is drawn, unless a file is.
    pub(super) fn shape(&self) -> Curve {
        self.curve.unwrap_or(Curve::Reopen)
    }

    /// Players inside at the height of the day, scaled.
    pub(super) fn height(&self) -> f64 {
        self.peak.unwrap_or(f64::from(PEAK)) * self.scale
    }

    fn expected(&self, sessions: &Sessions) -> Result<(Expected, Option<Reopening>), LaunchError> {
        let (day, reopening) = match &self.arrivals {
            Some(path) => (file::read(path, self.scale, sessions).map_err(LaunchError::BadInput)?, None),
            None => {
                let reopening = Reopening::drawn(self.seed, self.tau, self.rush);
                let day_s = (self.hours.unwrap_or(HOURS) * 3_600.0) as u32;
                let day = Expected::of_curve(self.shape(), self.height(), day_s, reopening, sessions);
                (day, (self.shape() == Curve::Reopen).then_some(reopening))
            }
        };
        let mut faults = Vec::new();
        if self.days > 1 && f64::from(day.end_s()) > DAY_HOURS_BEFORE_ANOTHER_MAX * 3_600.0 {
            faults.push(format!(
                "a day of more than {DAY_HOURS_BEFORE_ANOTHER_MAX} hours leaves no night before --days 2"
            ));
        }
        let expected = if self.days > 1 && faults.is_empty() { day.twice() } else { day };
        if expected.total() > ARRIVALS_MAX {
            faults.push(format!("{:.0} arrivals are more than {ARRIVALS_MAX:.0}", expected.total()));
        }
        if faults.is_empty() { Ok((expected, reopening)) } else { Err(LaunchError::BadInput(faults)) }
    }

    fn terms(&self, expected: &Expected) -> Terms {
        let announcement =
            Announcement { opens_s: ANNOUNCED_S, peak_per_s: expected.peak_per_s(), burst_s: RUSH_S };
        Terms {
            design: self.design,
            cap: self.cap,
            minimum: self.minimum,
            lead_s: self.lead,
            warm_parallel: self.warm_parallel,
            plan_every_s: PLAN_EVERY_S,
            announcement: self.announced.then_some(announcement),
        }
    }

    fn demand(
        &self,
        expected: &Expected,
        crowd: &Crowd,
        terms: Terms,
        reopening: Option<Reopening>,
    ) -> Demand {
        let design = f64::from(terms.design);
        let slots_per_s = f64::from(terms.warm_parallel) * design / f64::from(terms.lead_s);
        let announced = |announcement: Announcement| {
            let beyond = (announcement.peak_per_s - slots_per_s).max(0.0) * f64::from(announcement.burst_s);
            let lead = announcement.peak_per_s * f64::from(terms.lead_s);
            ((beyond / design).ceil() + (lead / design).ceil()) as u64
        };
        Demand {
            arrivals: crowd.arrivals.len() as u64,
            players: crowd.players.into(),
            first_minutes_per_minute: expected.rush() * 60.0 / f64::from(RUSH_S),
            peak_per_s: expected.peak_per_s(),
            reopening,
            slots_per_s,
            announced_islands: terms.announcement.map(announced),
        }
    }

    /// Everything that is wrong with the numbers.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut within = |name: &str, value: f64, least: f64, most: f64| {
            if !(least..=most).contains(&value) {
                faults.push(format!("--{name} must be {least} to {most}, not {value}"));
            }
        };
        within("scale", self.scale, 0.001, SCALE_MAX);
        within("peak", self.peak.unwrap_or(f64::from(PEAK)), 1.0, PEAK_MAX);
        within("hours", self.hours.unwrap_or(HOURS), *HOURS_ALLOWED.start(), *HOURS_ALLOWED.end());
        within("tau", self.tau.unwrap_or(TAU_MINUTES.0), 1.0, 1_440.0);
        within("rush", self.rush.unwrap_or(RUSH_PER_MINUTE.0), 0.0, 1e6);
        within("days", self.days.into(), 1.0, DAYS_MAX.into());
        within("cap", self.cap.into(), 1.0, CAP_MAX.into());
        within("design", self.design.into(), 1.0, CAP_MAX.into());
        within("lead", self.lead.into(), 1.0, LEAD_S_MAX.into());
        within("warm-parallel", self.warm_parallel.into(), 1.0, ISLANDS_MAX.into());
        within("prewarm", self.prewarm.into(), 0.0, ISLANDS_MAX.into());
        within("session-mean", self.session_mean, 1.0, 1_440.0);
        within("session-shape", self.session_shape, 0.3, 5.0);
        within("patience", self.patience, 0.1, 1_440.0);
        within("party-share", self.party_share, 0.0, 1.0);
        within("resident-share", self.resident_share, 0.0, 1.0);
        within("return-share", self.return_share, 0.0, 1.0);
        within("lost-share", self.lost_share, 0.0, 1.0);
        within("dispersion", self.dispersion, 1.0, 100.0);
        within("node-deaths", self.node_deaths.into(), 0.0, DEATHS_MAX.into());
        within("allocator-deaths", self.allocator_deaths.into(), 0.0, DEATHS_MAX.into());
        if self.height() > PEAK_MAX {
            faults.push(format!("--peak times --scale must be at most {PEAK_MAX}, not {}", self.height()));
        }
        if self.minimum >= self.design || self.design > self.cap {
            let (minimum, design, cap) = (self.minimum, self.design, self.cap);
            faults.push(format!(
                "--minimum {minimum} must be under --design {design}, that at most --cap {cap}"
            ));
        }
        self.faults_of_files(&mut faults);
        faults
    }

    fn faults_of_files(&self, faults: &mut Vec<String>) {
        let shape = [
            ("curve", self.curve.is_some()),
            ("peak", self.peak.is_some()),
            ("hours", self.hours.is_some()),
            ("tau", self.tau.is_some()),
            ("rush", self.rush.is_some()),
        ];
        for (name, _) in shape.iter().filter(|(_, given)| *given && self.arrivals.is_some()) {
            faults.push(format!("--{name} says nothing beside --arrivals: the file has it all but --scale"));
        }
        for (name, path) in [("json", &self.json), ("report", &self.report)] {
            let Some(path) = path else { continue };
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) || path.is_dir() {
                faults.push(format!("--{name} {}: no file can be written there", path.display()));
            }
        }
    }
}
