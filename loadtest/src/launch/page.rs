//! The report: one page for a browser, with everything in it. It explains itself to whoever has read nothing else.

use std::fmt::Write as _;

use super::chart::{Chart, NARROW, WIDE};
use super::command::{LaunchArgs, Prepared};
use super::meter::{Figures, Point};
use super::table::{described, grouped};
use super::{Outcome, Runs};

const STYLE: &str = include_str!("page.css");

/// What a policy must reach (see `docs/launch.md`).
const OVER_DESIGN_PCT_MAX: f64 = 0.5;
const SPARSE_PCT_MAX: f64 = 1.0;
const WAIT_P99_S_MAX: f64 = 30.0;
const VS_CLAIRVOYANT_MAX: f64 = 1.06;

struct Page<'a> {
    args: &'a LaunchArgs,
    prepared: &'a Prepared,
    runs: &'a Runs,
    hours: Vec<f64>,
    /// What would be inside if everybody got in at once.
    wanted: Vec<f64>,
}

/// Draws the report.
pub(super) fn page(args: &LaunchArgs, prepared: &Prepared, runs: &Runs) -> String {
    let points = &runs.clairvoyant.points;
    let opens_s = f64::from(prepared.scenario.opens_s);
    let hours = points.iter().map(|point| (f64::from(point.at_s) - opens_s) / 3_600.0).collect();
    let wanted = values(points, |point| point.sums.inside as f64);
    let page = Page { args, prepared, runs, hours, wanted };
    let policies: String = runs.outcomes.iter().map(|outcome| page.policy(outcome)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>A launch day, simulated</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}{}{}{policies}{}</body>\n</html>\n",
        page.opening(),
        page.comparison(),
        page.guide(),
        page.closing(),
    )
}

fn values(points: &[Point], of: impl Fn(&Point) -> f64) -> Vec<f64> {
    points.iter().map(of).collect()
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn figure(title: &str, caption: &str, svg: &str) -> String {
    format!("<figure><h3>{title}</h3>\n{svg}\n<figcaption>{caption}</figcaption></figure>\n")
}

fn key(class: &str, name: &str) -> String {
    format!(r#"<span class="key"><i class="{class}"></i>{name}</span>"#)
}

impl Page<'_> {
    fn opening(&self) -> String {
        let Self { args, prepared, runs, .. } = self;
        let (demand, figures) = (&prepared.demand, &runs.clairvoyant.figures);
        let facts = [
            (grouped(demand.arrivals), "arrivals"),
            (grouped(figures.peak_inside), "would be inside at once, at most"),
            (format!("{:.1}", demand.peak_per_s), "arrivals a second in the busiest minute"),
            (format!("{:.1}", demand.slots_per_s), "seats a second that warming islands can give"),
            (grouped(runs.bound), "islands at the least"),
        ];
        let facts: String =
            facts.iter().map(|(value, name)| format!("<li><b>{value}</b><span>{name}</span></li>")).collect();
        let joined = values(&runs.clairvoyant.points, |point| point.joined_per_s);
        let rate = Chart::new(WIDE, &self.hours, most(&joined)).area("queue", &joined).line("queue", &joined);
        let inside = Chart::new(WIDE, &self.hours, most(&self.wanted))
            .area("open", &self.wanted)
            .line("inside", &self.wanted);
        let charts = figure(
            "Who comes",
            "Players a second who come to the doors.",
            &rate.svg("arrivals a second over time"),
        ) + &figure(
            "How many would be inside",
            "If everybody got in at once: those who came and haven't left yet.",
            &inside.svg("players inside over time, if nobody had to wait"),
        );
        format!(
            "<h1>A launch day, simulated</h1>\n<p class=\"soft\">{}; seed {}.</p>\n<p>Players come to the doors, wait in a queue \
             if there is no seat, play on an <b>island</b> for a while, and leave. An island is made for {} players, takes {} at \
             most, and is sparse with fewer than {}. A new one is ready up to {} seconds after somebody decided to open it, and {} \
             can be made at once. A <b>policy</b> decides when to open islands and who gets in where. The policies below met the \
             very same players.</p>\n<section class=\"card\"><ul class=\"facts\">{facts}</ul>\n<div \
             class=\"charts\">{charts}</div></section>\n",
            escaped(&described(args, demand)),
            args.seed,
            args.design,
            args.cap,
            args.minimum,
            args.lead,
            args.warm_parallel,
        )
    }

    /// Whether the wait is promised: slots keep up with the busiest minute, or the opening was announced.
    fn promises_the_wait(&self) -> bool {
        let demand = &self.prepared.demand;
        demand.slots_per_s >= demand.peak_per_s || demand.announced_islands.is_some()
    }

    fn comparison(&self) -> String {
        let wait_goal = match self.promises_the_wait() {
            true => format!("≤ {WAIT_P99_S_MAX}"),
            false => "as it is".to_owned(),
        };
        let head = [
            "Policy",
            "over the cap, % of player-minutes",
            "over the design, %",
            "sparse, %",
            "wait p50, s",
            "p90",
            "p99",
            "gave up, %",
            "islands",
            "÷ clair&shy;voyant",
            "unused seat-hours",
            "guests",
            "split parties",
            "let in out of turn",
        ];
        let head: String = head.iter().map(|name| format!("<th>{name}</th>")).collect();
        let rows: String = self.runs.outcomes.iter().map(|outcome| self.row(outcome)).collect();
        format!(
            "<section class=\"card\"><h2>How the policies did</h2>\n<div class=\"scroll\"><table>\n<tr>{head}</tr>\n{rows}<tr \
             class=\"goal\"><td>to reach</td><td>0</td><td>≤ {OVER_DESIGN_PCT_MAX}</td><td>≤ \
             {SPARSE_PCT_MAX}</td><td></td><td></td><td>{wait_goal}</td><td></td><td></td><td>≤ \
             {VS_CLAIRVOYANT_MAX}</td><td></td><td></td><td></td><td>0</td></tr>\n</table></div></section>\n"
        )
    }

    fn row(&self, outcome: &Outcome) -> String {
        let figures = &outcome.figures;
        let percent = |value: f64| if value == 0.0 { "0".to_owned() } else { format!("{value:.2}") };
        let count = |value: f64| grouped(value as u64);
        let wait_holds = self.promises_the_wait().then_some(figures.wait_s.p99 <= WAIT_P99_S_MAX);
        let cells = [
            (percent(figures.over_cap_pct), Some(figures.over_cap_pct == 0.0)),
            (percent(figures.over_design_pct), Some(figures.over_design_pct <= OVER_DESIGN_PCT_MAX)),
            (percent(figures.sparse_pct), Some(figures.sparse_pct <= SPARSE_PCT_MAX)),
            (count(figures.wait_s.p50), None),
            (count(figures.wait_s.p90), None),
            (count(figures.wait_s.p99), wait_holds),
            (percent(figures.gave_up_pct), None),
            (grouped(figures.islands.into()), None),
            (
                format!("{:.3}", figures.islands_vs_clairvoyant),
                Some(figures.islands_vs_clairvoyant <= VS_CLAIRVOYANT_MAX),
            ),
            (count(figures.spare_seat_minutes / 60.0), None),
            (grouped(figures.guests), None),
            (grouped(figures.split_parties), None),
            (grouped(figures.order_inversions), Some(figures.order_inversions == 0)),
        ];
        let mut row = format!("<tr><td>{}</td>", outcome.label);
        for (text, holds) in cells {
            let class = holds.map_or("", |holds| if holds { " class=\"good\"" } else { " class=\"bad\"" });
            // Writing to a String can't fail.
            let _ = write!(row, "<td{class}>{text}</td>");
        }
        row + "</tr>\n"
    }

    fn guide(&self) -> String {
        let entries = [
            (
                "Seats",
                "What the open islands are made for, together. The room above the line of players is unused.",
            ),
            (
                "Queue",
                "Who stands at the doors. A policy that sees it grow and doesn't answer loses them: players give up.",
            ),
            (
                "Islands",
                "Open ones, and on top of them those that are being made. The dashed line is the least that any policy needs.",
            ),
            (
                "Crowding",
                "How many are on an island: the palest band spans from the emptiest to the fullest, the darker one leaves out a \
                 tenth on either side, the line is the middle one.",
            ),
            (
                "Where players are",
                "The share of players on sparse, lively, busy and overfull islands. All green is what one wants.",
            ),
            (
                "Wait",
                "From joining the queue to being let in. p99: ninety-nine of a hundred waited no longer. Who gave up isn't in it; \
                 who still waits at the end is, with the wait so far.",
            ),
            (
                "Sparse",
                "Time of players on islands under the minimum that have been open for more than ten minutes.",
            ),
        ];
        let night = (
            "Night",
            "Between the days islands empty, and residents come back one by one: sparse islands that no policy can help. Compare with \
             the yardstick.",
        );
        let entries = entries.iter().chain((self.args.days > 1).then_some(&night));
        let entries: String = entries.map(|(name, text)| format!("<dt>{name}</dt><dd>{text}</dd>")).collect();
        format!(
            "<section class=\"card\"><h2>How to read this</h2>\n<p>Hours count from \
             the opening of the doors. Charts of the same name have the same scale for every policy, but for crowding.</p>\n<dl>{entries}</dl></section>\n"
        )
    }

    fn policy(&self, outcome: &Outcome) -> String {
        let forecast = self.forecast(outcome);
        let (class, width) = if forecast.is_some() { ("six", NARROW) } else { ("five", WIDE) };
        let verdict: String =
            self.verdict(&outcome.figures).iter().map(|line| format!("<li>{line}</li>")).collect();
        format!(
            "<section class=\"card\" id=\"{0}\"><h2>{0}</h2>\n<p class=\"soft\">{1}</p>\n<ul class=\"verdict\">{verdict}</ul>\n<div \
             class=\"charts {class}\">{2}{3}{4}{5}{6}{7}</div></section>\n",
            outcome.label,
            outcome.explained,
            self.seats(outcome, width),
            self.queue(outcome, width),
            self.islands(outcome),
            self.crowding(outcome),
            self.bands(outcome),
            forecast.unwrap_or_default(),
        )
    }

    fn verdict(&self, figures: &Figures) -> Vec<String> {
        let crowd = match figures.over_cap_pct {
            0.0 => format!("No island ever had more than {} inside.", grouped(figures.fullest_island.into())),
            percent => format!(
                "<b>{percent:.1} % of all player-minutes</b> were spent on islands above the cap of {}; the fullest had {}.",
                self.args.cap,
                grouped(figures.fullest_island.into())
            ),
        };
        let wait = format!(
            "Half of the players were let in within {}, ninety-nine of a hundred within {}; {} gave up.",
            spoken(figures.wait_s.p50),
            spoken(figures.wait_s.p99),
            grouped(figures.fates.gave_up),
        );
        let islands = format!(
            "{} islands at the height: {:.2} times the yardstick's, with {} seat-hours unused.",
            grouped(figures.islands.into()),
            figures.islands_vs_clairvoyant,
            grouped((figures.spare_seat_minutes / 60.0) as u64),
        );
        let forecast = figures.forecast_error.map(|error| {
            format!(
                "Its forecasts were off by {:.0} players on average; one in a hundred fell short by more than {:.0}.",
                error.mae, error.p99_under
            )
        });
        [crowd, wait, islands].into_iter().chain(forecast).collect()
    }

    /// The largest value over all policies, so that their charts can be compared.
    fn most_of_all(&self, of: impl Fn(&Point) -> f64) -> f64 {
        let points = self.runs.outcomes.iter().flat_map(|outcome| &outcome.points);
        points.map(of).fold(0.0, f64::max)
    }

    /// What was expected against what came, of policies that forecast.
    fn forecast(&self, outcome: &Outcome) -> Option<String> {
        let known: Vec<&Point> = outcome.points.iter().filter(|point| point.came_per_s.is_some()).collect();
        let (first, last) = (known.first()?.at_s, known.last()?.at_s);
        let is_between = |point: &&Point| (first..=last).contains(&point.at_s);
        let points: Vec<Point> = outcome.points.iter().filter(is_between).copied().collect();
        let opens_s = f64::from(self.prepared.scenario.opens_s);
        let hours = values(&points, |point| (f64::from(point.at_s) - opens_s) / 3_600.0);
        let came = values(&points, |point| point.came_per_s.unwrap_or(0.0));
        let forecast = values(&points, |point| point.forecast_per_s.unwrap_or(0.0));
        let chart = Chart::new(NARROW, &hours, most(&came).max(most(&forecast)))
            .area("queue", &came)
            .line("inside", &forecast);
        let caption =
            key("queue", "newcomers a second who then came") + &key("stroke inside", "as it expected");
        Some(figure("Forecast", &caption, &chart.svg("forecast and what came, over time")))
    }

    fn seats(&self, outcome: &Outcome, width: f64) -> String {
        let design = f64::from(self.args.design);
        let seats_of = |point: &Point| f64::from(point.sums.open) * design;
        let seats = values(&outcome.points, seats_of);
        let inside = values(&outcome.points, |point| point.sums.inside as f64);
        let top = self
            .most_of_all(seats_of)
            .max(most(&self.wanted))
            .max(self.most_of_all(|point| point.sums.inside as f64));
        let chart = Chart::new(width, &self.hours, top)
            .area("seats", &seats)
            .line("inside", &inside)
            .line("demand", &self.wanted);
        let caption = key("seats", "seats of open islands")
            + &key("stroke inside", "players inside")
            + &key("stroke dashed demand", "who would be inside if nobody waited");
        figure("Seats and players", &caption, &chart.svg("seats and players inside over time"))
    }

    fn queue(&self, outcome: &Outcome, width: f64) -> String {
        let waiting = values(&outcome.points, |point| point.waiting as f64);
        let top = self.most_of_all(|point| point.waiting as f64);
        let chart = Chart::new(width, &self.hours, top).area("queue", &waiting).line("queue", &waiting);
        let caption =
            key("queue", "players who wait") + &format!("at most {}", grouped(outcome.figures.peak_waiting));
        figure("Queue", &caption, &chart.svg("players in the queue over time"))
    }

    fn islands(&self, outcome: &Outcome) -> String {
        let open = values(&outcome.points, |point| f64::from(point.sums.open));
        let with_warming = values(&outcome.points, |point| f64::from(point.sums.open + point.sums.warming));
        let top = self
            .most_of_all(|point| f64::from(point.sums.open + point.sums.warming))
            .max(self.runs.bound as f64);
        let chart = Chart::new(NARROW, &self.hours, top)
            .area("open", &open)
            .band("warming", &open, &with_warming)
            .line("inside", &open)
            .rule("demand", self.runs.bound as f64, "the least");
        let caption = key("open", "open") + &key("warming", "being made");
        figure("Islands", &caption, &chart.svg("open and warming islands over time"))
    }

    fn crowding(&self, outcome: &Outcome) -> String {
        let at = |nth: usize| values(&outcome.points, |point| f64::from(point.spread.inside[nth]));
        let fullest = at(4);
        let chart = Chart::new(NARROW, &self.hours, most(&fullest).max(f64::from(self.args.cap) * 1.1))
            .band("all", &at(0), &fullest)
            .band("most", &at(1), &at(3))
            .line("inside", &at(2))
            .rule("sparse", self.args.minimum.into(), "minimum")
            .rule("busy", self.args.design.into(), "design")
            .rule("over", self.args.cap.into(), "cap");
        let caption = key("all", "emptiest to fullest island")
            + &key("most", "without a tenth on either side")
            + &key("stroke inside", "the middle one");
        figure("Crowding: players on an island", &caption, &chart.svg("players per island over time"))
    }

    fn bands(&self, outcome: &Outcome) -> String {
        let upto = |band: usize| {
            values(&outcome.points, |point| {
                let below: u64 = point.spread.players[..band].iter().sum();
                below as f64 * 100.0 / (point.sums.inside as f64).max(1.0)
            })
        };
        let names = [
            ("sparse", "under the minimum"),
            ("lively", "up to the design"),
            ("busy", "up to the cap"),
            ("over", "above the cap"),
        ];
        let mut chart = Chart::new(NARROW, &self.hours, 100.0);
        for (nth, (class, _)) in names.iter().enumerate() {
            chart = chart.band(class, &upto(nth), &upto(nth + 1));
        }
        let caption: String = names.iter().map(|(class, name)| key(class, name)).collect();
        figure("Where players are, %", &caption, &chart.svg("share of players by how full their island is"))
    }

    fn closing(&self) -> String {
        let command: String = self.args.given().iter().map(|part| format!(" {}", escaped(part))).collect();
        format!(
            "<section class=\"card\"><h2>What this is not</h2>\n<p>Nobody played here: players, sessions and patience are drawn \
             from laws, the same for every policy, and time is virtual. The laws and where they come from stand in \
             <code>docs/launch.md</code>. The same command gives the same figures:</p>\n<p><code>loadtest \
             launch{command}</code></p></section>\n"
        )
    }
}

fn spoken(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => "a second".to_owned(),
        seconds if seconds < 120.0 => format!("{seconds:.0} seconds"),
        seconds => format!("{:.0} minutes", seconds / 60.0),
    }
}
