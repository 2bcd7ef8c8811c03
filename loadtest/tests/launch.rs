//! The launch day: the crowd is the one that was asked for, nobody is lost, policies fail as they are known to, and what is
//! refused is refused at once.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use chunk_sync::ids::IslandId;
use clap::{Parser, ValueEnum};
use loadtest::launch::allocation::{
    Admission, Allocation, Decision, Forecast, Notice, Second, Terms, Waiter,
};
use loadtest::launch::meter::{Figures, Point};
use loadtest::launch::packing::Packing;
use loadtest::launch::policies::PolicyName;
use loadtest::launch::queue::Queue;
use loadtest::launch::{LaunchArgs, Prepared, Runs, run_all, simulate};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: LaunchArgs,
}

fn prepared(line: &str) -> Prepared {
    let words = std::iter::once("launch").chain(line.split_whitespace());
    Line::parse_from(words).args.prepare().unwrap_or_else(|fault| panic!("{line}: {fault}"))
}

fn runs(line: &str) -> Runs {
    let prepared = prepared(line);
    run_all(&prepared.scenario, &prepared.policies, &AtomicBool::new(false)).expect("nobody interrupts")
}

fn figures<'a>(runs: &'a Runs, policy: &str) -> &'a Figures {
    let of_policy = runs.outcomes.iter().find(|outcome| outcome.label == policy);
    &of_policy.unwrap_or_else(|| panic!("{policy} ran")).figures
}

fn run(line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("launch").args(line).output().expect("loadtest starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_same_seed_gives_the_same_day() {
    let line = "--scale 0.05 --days 2 --hours 2 --node-deaths 3 --allocator-deaths 3 --dispersion 2";
    let (one, again) = (runs(line), runs(line));
    assert_eq!(one.outcomes, again.outcomes);
    assert_eq!(one.outcomes.len(), PolicyName::value_variants().len(), "all policies run by default");
    assert_ne!(one.outcomes, runs(&format!("{line} --seed 2")).outcomes);
}

fn inside_at(points: &[Point], at_s: Second) -> f64 {
    let nearest = points.iter().min_by_key(|point| point.at_s.abs_diff(at_s)).expect("a run has points");
    nearest.sums.inside as f64
}

#[test]
fn with_seats_for_everybody_the_curve_comes_out_as_asked() {
    let line = "--policy clairvoyant --lost-share 0 --tau 80 --rush 1200";
    let runs = runs(line);
    let points = &runs.clairvoyant.points;
    assert!((inside_at(points, 14_399) / 67_000.0 - 1.0).abs() < 0.02);
    // Between the slow curve and the rush on top of it, which is over within the hour.
    for hour in [1.0_f64, 2.0, 3.0] {
        let slow = 67_000.0 * (1.0 - (-hour * 60.0 / 80.0).exp()) / (1.0 - (-3.0_f64).exp());
        let inside = inside_at(points, (hour * 3_600.0) as Second);
        assert!((0.97..1.15).contains(&(inside / slow)), "{hour} h: {inside} of {slow}");
    }
}

#[test]
fn a_file_of_players_inside_comes_out_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inside.csv");
    std::fs::write(&path, "seconds,ccu\n0,0\n1800,4000\n5400,6000\n7200,5500\n").unwrap();
    let line = format!("--policy clairvoyant --lost-share 0 --scale 3 --arrivals {}", path.display());
    let runs = runs(&line);
    for (at_s, inside) in [(900, 6_000.0), (1_800, 12_000.0), (3_600, 15_000.0), (7_190, 16_500.0)] {
        let got = inside_at(&runs.clairvoyant.points, at_s);
        assert!((got / inside - 1.0).abs() < 0.04, "at {at_s} s: {got} of {inside}");
    }
}

#[test]
fn a_file_of_arrivals_is_counted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arrivals.csv");
    std::fs::write(&path, "seconds,arrivals\n0,100\n60,0\n120,50\n").unwrap();
    let crowd = prepared(&format!("--arrivals {}", path.display())).scenario.crowd;
    let from = |least: Second, most: Second| {
        crowd.arrivals.iter().filter(|arrival| (least..most).contains(&arrival.at_s)).count()
    };
    assert_eq!((from(0, 60), from(60, 120), from(120, 180), crowd.arrivals.len()), (100, 0, 50, 150));
}

#[test]
fn a_reopening_begins_as_real_ones_did() {
    for seed in 1..=10 {
        let prepared = prepared(&format!("--seed {seed}"));
        let demand = &prepared.demand;
        assert!((1_199.0..1_901.0).contains(&demand.first_minutes_per_minute), "seed {seed}: {demand:?}");
        let arrivals = &prepared.scenario.crowd.arrivals;
        let came = arrivals.iter().filter(|arrival| arrival.at_s < 300).count() as f64 / 5.0;
        assert!((came / demand.first_minutes_per_minute - 1.0).abs() < 0.05, "seed {seed}: {came}");
    }
}

#[test]
fn control_policies_show_their_known_failures() {
    let runs = runs("--seed 1");
    let yardstick = figures(&runs, "clairvoyant");
    assert_eq!((yardstick.over_cap_pct, yardstick.over_design_pct), (0.0, 0.0));
    assert_eq!((yardstick.wait_s.p99, yardstick.order_inversions), (0.0, 0));
    assert!(f64::from(yardstick.islands) <= runs.bound as f64 * 1.03, "the yardstick packs well");
    let window = figures(&runs, "activity-window");
    assert!(window.over_cap_pct > 40.0 && window.fullest_island > 1_000, "it overfills: {window:?}");
    let utilisation = figures(&runs, "utilisation");
    assert!(utilisation.wait_s.p99 > 240.0, "it starves the queue: {utilisation:?}");
    assert!(utilisation.islands_vs_clairvoyant > 1.15, "and is generous later: {utilisation:?}");
    let buffer = figures(&runs, "buffer");
    assert!(buffer.wait_s.p99 > 120.0, "a buffer is drained by a rush: {buffer:?}");
    assert!(runs.outcomes.iter().all(|outcome| outcome.figures.fates.is_whole()));
}

#[test]
fn nobody_is_lost_whatever_dies() {
    for seed in 1..=4 {
        let line = format!(
            "--seed {seed} --scale 0.1 --days 2 --hours 3 --node-deaths 6 --allocator-deaths 6 --lost-share 0.1 \
             --design 190 --cap 200"
        );
        let runs = runs(&line);
        for outcome in &runs.outcomes {
            let (label, figures) = (outcome.label, &outcome.figures);
            assert!(figures.fates.is_whole(), "seed {seed}, {label}: {:?}", figures.fates);
            assert!(figures.fates.vanished > 0 && figures.node_losses > 0, "seed {seed}, {label}");
            assert_eq!((figures.split_parties, figures.order_inversions), (0, 0), "seed {seed}, {label}");
            if label != "activity-window" {
                assert_eq!(
                    figures.over_cap_pct, 0.0,
                    "seed {seed}, {label}: seats of lost sessions are held"
                );
            }
        }
        // Where seats are always found, nobody is forgotten in the queue either.
        let yardstick = figures(&runs, "clairvoyant");
        assert_eq!((yardstick.fates.gave_up, yardstick.fates.waiting), (0, 0), "seed {seed}");
    }
}

#[test]
fn residents_come_home_on_the_second_day() {
    let line = "--scale 0.05 --hours 2 --days 2 --policy clairvoyant";
    let homes = |share: &str| runs(&format!("{line} --resident-share {share}"));
    assert_eq!(figures(&homes("0"), "clairvoyant").residents, 0);
    let settled = homes("0.5");
    let yardstick = figures(&settled, "clairvoyant");
    assert!(yardstick.residents > 5_000, "{yardstick:?}");
    assert_eq!(yardstick.guests, 0, "homes have room for those who live there");

    let narrow =
        runs(&format!("{line} --resident-share 0.1 --return-share 0.5 --design 50 --cap 50 --minimum 5"));
    let crowded = figures(&narrow, "clairvoyant");
    assert!(crowded.guests > 0 && crowded.over_cap_pct == 0.0, "newcomers have the seats: {crowded:?}");
}

#[test]
fn only_parties_that_no_island_holds_are_split() {
    let tiny = "--scale 0.01 --hours 1 --party-share 1 --minimum 1 --policy clairvoyant";
    let wide = runs(&format!("{tiny} --design 20 --cap 30"));
    assert_eq!(figures(&wide, "clairvoyant").split_parties, 0);
    let narrow = runs(&format!("{tiny} --design 3 --cap 4"));
    let split = figures(&narrow, "clairvoyant");
    assert!(split.split_parties > 100 && split.over_cap_pct == 0.0, "{split:?}");
    assert_eq!(
        (split.fates.gave_up, split.fates.waiting),
        (0, 0),
        "also a party of five on islands for three gets in"
    );
}

/// When [`Prepares`] retires islands.
const RETIRES_S: Second = 1_800;

/// Opens so many islands at once and nothing later, and retires some.
#[derive(Clone)]
struct Prepares {
    islands: u32,
    packing: Packing,
    queue: Queue,
    expects: Option<f64>,
    retires: Vec<IslandId>,
}

impl Allocation for Prepares {
    fn label(&self) -> &'static str {
        "prepares"
    }

    fn explained(&self) -> &'static str {
        "Opens what it is told to, once."
    }

    fn notice(&mut self, notice: &Notice, _now: Second) {
        match notice {
            Notice::Joined(waiter) => self.queue.join(*waiter),
            Notice::GaveUp(first) => self.queue.cancel(*first),
            Notice::Warming(_) => self.islands -= 1,
            Notice::Opened(island) => self.packing.opened(*island),
            Notice::SeatFreed(_, island) => self.packing.give_back(*island),
            Notice::Retired(island) => assert_eq!(*island, IslandId(3), "only the empty island can go"),
            _ => {}
        }
    }

    fn admit(&mut self, _now: Second, admitted: &mut Vec<Admission>) {
        let packing = &mut self.packing;
        self.queue.serve(|waiter| {
            let Some(island) = packing.place(waiter.size) else { return false };
            for arrival in waiter.members() {
                packing.take(island);
                admitted.push(Admission { arrival, island, guest: false });
            }
            true
        });
    }

    fn plan(&mut self, now: Second) -> Decision {
        let retire = if now == RETIRES_S { std::mem::take(&mut self.retires) } else { Vec::new() };
        Decision { open: self.islands, retire }
    }

    fn forecast(&self) -> Option<Forecast> {
        self.expects.map(|homeless| Forecast { horizon_s: 60, homeless })
    }

    fn restored(&self) -> Box<dyn Allocation> {
        Box::new(self.clone())
    }
}

fn prepares(terms: Terms, islands: u32) -> Prepares {
    let (packing, queue) = (Packing::new(terms), Queue::default());
    Prepares { islands, packing, queue, expects: None, retires: Vec::new() }
}

#[test]
fn an_announced_opening_is_known_early_enough_to_prepare_for_it() {
    let line =
        "--announced --peak 20000 --hours 1 --lead 300 --warm-parallel 10 --prewarm 0 --policy clairvoyant";
    let Prepared { scenario, demand, .. } = prepared(line);
    let announcement = scenario.terms.announcement.unwrap();
    assert_eq!(announcement.opens_s, scenario.opens_s);
    assert!((announcement.peak_per_s - demand.peak_per_s).abs() < 1e-9);
    let outcome =
        simulate(&scenario, Box::new(prepares(scenario.terms, 110)), &AtomicBool::new(false)).unwrap();
    assert_eq!(outcome.figures.wait_s.p99, 0.0, "{:?}", outcome.figures);
    assert_eq!(outcome.figures.islands, 110);
    let warming = outcome.points.iter().map(|point| point.sums.warming).max();
    assert_eq!(warming, Some(10), "the slots bound what warms at once");
    let open_at_doors = outcome.points.iter().find(|point| point.at_s >= scenario.opens_s).unwrap();
    assert_eq!(open_at_doors.sums.open, 110);

    let unannounced = prepared(&line.replace("--announced", ""));
    assert_eq!((unannounced.scenario.opens_s, unannounced.scenario.terms.announcement), (0, None));
    let outcome =
        simulate(&unannounced.scenario, Box::new(prepares(scenario.terms, 110)), &AtomicBool::new(false));
    assert!(outcome.unwrap().figures.wait_s.p99 > 30.0, "islands take their time");
}

#[test]
fn only_empty_islands_can_be_retired() {
    let line = "--policy clairvoyant --peak 80 --hours 1 --prewarm 0 --lead 5 --lost-share 0";
    let Prepared { scenario, .. } = prepared(line);
    let retires = vec![IslandId(1), IslandId(3), IslandId(3), IslandId(9)];
    let policy = Prepares { retires, ..prepares(scenario.terms, 3) };
    let outcome = simulate(&scenario, Box::new(policy), &AtomicBool::new(false)).unwrap();
    let open_at = |at_s: Second| outcome.points.iter().find(|point| point.at_s >= at_s).unwrap().sums.open;
    assert_eq!((open_at(RETIRES_S - 60), open_at(RETIRES_S + 60)), (3, 2));
    assert!(outcome.figures.fates.is_whole() && outcome.figures.islands == 3);
}

/// Lets in one party a second, the last that came, by turns to the first island and the second.
#[derive(Clone, Default)]
struct LastFirst {
    waiting: Vec<Waiter>,
}

impl Allocation for LastFirst {
    fn label(&self) -> &'static str {
        "last-first"
    }

    fn explained(&self) -> &'static str {
        "Everything that a queue must not be."
    }

    fn notice(&mut self, notice: &Notice, _now: Second) {
        match notice {
            Notice::Joined(waiter) => self.waiting.push(*waiter),
            Notice::GaveUp(first) => self.waiting.retain(|waiter| waiter.first != *first),
            _ => {}
        }
    }

    fn admit(&mut self, _now: Second, admitted: &mut Vec<Admission>) {
        let Some(waiter) = self.waiting.pop() else { return };
        for (nth, arrival) in waiter.members().enumerate() {
            admitted.push(Admission { arrival, island: IslandId(1 + nth as u32 % 2), guest: false });
        }
    }

    fn plan(&mut self, _now: Second) -> Decision {
        Decision::default()
    }

    fn restored(&self) -> Box<dyn Allocation> {
        Box::new(self.clone())
    }
}

#[test]
fn a_queue_that_is_none_is_found_out() {
    let line = "--policy clairvoyant --prewarm 2 --peak 5000 --hours 1 --party-share 0.5";
    let Prepared { scenario, .. } = prepared(line);
    let outcome = simulate(&scenario, Box::new(LastFirst::default()), &AtomicBool::new(false)).unwrap();
    let Figures { order_inversions, split_parties, fates, over_cap_pct, .. } = outcome.figures;
    assert!(fates.is_whole() && fates.gave_up > 0, "{fates:?}");
    assert!(order_inversions > 1_000, "{order_inversions}");
    assert!(split_parties > 300, "{split_parties}");
    assert!(over_cap_pct > 50.0, "two islands for thousands: {over_cap_pct}");
}

#[test]
fn figures_of_a_day_that_can_be_reckoned_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("few.csv");
    // Players who come in the first second and stay for the hour.
    let line = format!(
        "--session-mean 1440 --session-shape 5 --lost-share 0 --party-share 0 --arrivals {} --policy clairvoyant --policy \
         activity-window",
        path.display()
    );
    std::fs::write(&path, "seconds,arrivals\n0,10\n1,0\n3598,0\n3599,0\n").unwrap();
    let few = runs(&line);
    let yardstick = figures(&few, "clairvoyant");
    assert!(
        (yardstick.sparse_pct - 83.3).abs() < 0.3,
        "sparse from the tenth minute on: {}",
        yardstick.sparse_pct
    );
    assert!((yardstick.spare_seat_minutes - 190.0 * 60.0).abs() < 30.0, "{}", yardstick.spare_seat_minutes);
    assert_eq!((yardstick.islands, few.bound, yardstick.fullest_island), (1, 1, 10));

    std::fs::write(&path, "seconds,arrivals\n0,250\n1,0\n3598,0\n3599,0\n").unwrap();
    let more = runs(&line);
    let crammed = figures(&more, "activity-window");
    assert!(crammed.over_design_pct > 99.0 && crammed.over_cap_pct == 0.0, "{crammed:?}");
    assert_eq!((crammed.islands_vs_clairvoyant, more.bound), (0.5, 2));
    assert_eq!(figures(&more, "clairvoyant").over_design_pct, 0.0);

    std::fs::write(&path, "seconds,arrivals\n0,350\n1,0\n3598,0\n3599,0\n").unwrap();
    assert!(figures(&runs(&line), "activity-window").over_cap_pct > 99.0);
}

#[test]
fn forecasts_are_held_against_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("even.csv");
    let rows: String = (0..3_600).map(|second| format!("{second},5\n")).collect();
    std::fs::write(&path, format!("seconds,arrivals\n{rows}")).unwrap();
    let Prepared { scenario, .. } =
        prepared(&format!("--party-share 0 --resident-share 0 --arrivals {}", path.display()));
    let error = |expects: f64| {
        let policy = Prepares { expects: Some(expects), ..prepares(scenario.terms, 5) };
        let outcome = simulate(&scenario, Box::new(policy), &AtomicBool::new(false)).unwrap();
        let point = outcome.points[10];
        assert_eq!((point.forecast_per_s, point.came_per_s), (Some(expects / 60.0), Some(5.0)));
        let error = outcome.figures.forecast_error.unwrap();
        (error.mae, error.p99_under)
    };
    assert_eq!(error(300.0), (0.0, 0.0));
    assert_eq!(error(240.0), (60.0, 60.0));
    assert_eq!(error(400.0), (100.0, 0.0), "too many is no shortfall");
}

#[test]
fn longer_leads_make_longer_waits() {
    let waits = ["30", "90", "300"].map(|lead| {
        let runs = runs(&format!("--scale 0.5 --policy utilisation --lead {lead}"));
        figures(&runs, "utilisation").wait_s.p99
    });
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_nothing_runs() {
    let line = [
        "--scale",
        "0",
        "--design",
        "400",
        "--resident-share",
        "1.5",
        "--days=3",
        "--patience=-1",
        "--arrivals",
        "/nowhere/to/be/found.csv",
        "--peak",
        "NaN",
        "--json",
        "/nowhere/to/be/found.json",
    ];
    let output = run(&line);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    let said = stderr(&output);
    for fault in [
        "--scale must be 0.001 to 1000, not 0",
        "--design 400, that at most --cap 300",
        "--resident-share must be 0 to 1, not 1.5",
        "--days must be 1 to 2, not 3",
        "--patience must be 0.1 to 1440, not -1",
        "--peak must be 1 to 5000000, not NaN",
        "--peak says nothing beside --arrivals",
        "--arrivals /nowhere/to/be/found.csv: No such file",
        "--json /nowhere/to/be/found.json: no file can be written there",
    ] {
        assert!(said.contains(fault), "{fault}\nin {said}");
    }
    for line in [&["--curve", "sideways"][..], &["--policy", "hope"], &["--lead", "soon"]] {
        assert_eq!(run(line).status.code(), Some(2), "{line:?}");
    }
    assert_eq!(run(&["--scale", "900", "--peak", "5000", "--hours", "24"]).status.code(), Some(2));
}

#[test]
fn a_bad_file_is_refused_with_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.csv");
    let path = path.to_str().unwrap();
    for (text, faults) in [
        ("", &["the file is empty"][..]),
        ("time,players\n", &["line 1: the header must be seconds,arrivals or seconds,ccu"]),
        ("seconds,ccu\n0,1\n", &["1 of at least 2 rows"]),
        (
            "seconds,arrivals\n0,5\nten,5\n20,-5\n\n10,1\n5,1\n30\n",
            &["line 3: \"ten\"", "line 4: -5", "line 7: second 5", "line 8: 1 columns"],
        ),
    ] {
        std::fs::write(path, text).unwrap();
        let output = run(&["--arrivals", path]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{text}");
        let said = stderr(&output);
        assert!(faults.iter().all(|fault| said.contains(fault)), "{text}\n{said}");
    }
    std::fs::write(path, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(run(&["--arrivals", path]).status.code(), Some(2), "bytes that are no text");
}

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn the_json_has_the_names_that_others_rely_on() {
    let folder = tempfile::tempdir().unwrap();
    let (json, page) = (folder.path().join("launch.json"), folder.path().join("launch.html"));
    let line =
        ["--scale", "0.02", "--hours", "1", "--seed", "7", "--policy", "utilisation", "--policy", "buffer"];
    let files = ["--json", json.to_str().unwrap(), "--report", page.to_str().unwrap()];
    let output = run(&[&line[..], &files].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("utilisation") && table.contains("bound: "), "{table}");
    assert!(!table.contains("activity-window"), "only what was asked for is shown: {table}");

    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(keys(&report["policies"]), ["buffer", "utilisation"]);
    let figures = &report["policies"]["utilisation"];
    for name in [
        "over_cap_pct",
        "over_design_pct",
        "sparse_pct",
        "gave_up_pct",
        "islands",
        "islands_vs_clairvoyant",
        "spare_seat_minutes",
        "guests",
        "split_parties",
        "order_inversions",
    ] {
        assert!(figures[name].is_number(), "{name} in {figures}");
    }
    assert_eq!(keys(&figures["wait_s"]), ["p50", "p90", "p99"]);
    assert!(
        figures.as_object().unwrap().contains_key("forecast_error") && figures["forecast_error"].is_null()
    );
    assert!(report["bound"].is_u64() && report["demand"]["arrivals"].is_u64());
    assert_eq!(report["launch"]["seed"], 7);
    is_whole_page(&page, &["buffer", "utilisation"]);
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("loadtest launch --hours 1.0 --scale 0.02 --seed 7</code>"), "how to get it again");
}

/// The page has a part for each policy, and needs nothing from anywhere.
fn is_whole_page(path: &Path, policies: &[&str]) {
    let page = std::fs::read_to_string(path).expect("the page was written");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for policy in policies {
        assert!(page.contains(&format!("id=\"{policy}\"")), "{policy}");
    }
    assert_eq!(page.matches("<svg").count(), 2 + 5 * policies.len());
    for outside in ["http:", "https:", "src=", "url(", "@import", "<script", "NaN", "inf "] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn every_policy_has_the_name_that_the_option_takes() {
    let terms = Terms { design: 200, cap: 300, minimum: 60, ..Terms::default() };
    for name in PolicyName::value_variants() {
        let option = name.to_possible_value().unwrap();
        assert_eq!(name.build(terms).label(), option.get_name());
    }
}

#[test]
fn atoll_keeps_its_targets_on_days_with_and_without_deaths() {
    for line in [
        "--policy atoll --policy clairvoyant",
        "--policy atoll --policy clairvoyant --scale 3 --announced --seed 2",
        "--policy atoll --policy clairvoyant --curve step --seed 3",
        "--policy atoll --policy clairvoyant --seed 4 --node-deaths 5 --allocator-deaths 3",
    ] {
        let runs = runs(line);
        let (atoll, yardstick) = (figures(&runs, "atoll"), figures(&runs, "clairvoyant"));
        let ratio = f64::from(atoll.islands) / f64::from(yardstick.islands);
        let shown = format!("{line}: {atoll:?}, {ratio} times the yardstick's islands");
        assert_eq!(atoll.over_cap_pct, 0.0, "{shown}");
        assert!(atoll.over_design_pct <= 0.5 && atoll.sparse_pct <= 1.0, "{shown}");
        assert!(ratio <= 1.06, "{shown}");
        // Nobody is let in while there is no allocator.
        let deaths = if line.contains("allocator-deaths") { 1.0 } else { 0.0 };
        assert!(atoll.wait_s.p99 <= 30.0 + deaths * 20.0, "{shown}");
    }
}
