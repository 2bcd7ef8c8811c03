//! What is printed: one line on the demand, a table of the policies.

use std::fmt::Write as _;

use super::command::{LaunchArgs, Prepared};
use super::curves::Reopening;
use super::meter::Figures;
use super::{Demand, Outcome, Runs};

/// What comes, in a few lines.
pub(super) fn heading(args: &LaunchArgs, prepared: &Prepared) -> String {
    let demand = &prepared.demand;
    let announced = demand.announced_islands.map_or(String::new(), |islands| {
        format!("; announced: {islands} islands wanted when the doors open")
    });
    format!(
        "{}; seed {}\n{} arrivals of {} players, {:.1}/s in the busiest minute; {} warming slots at {} s give {:.1} \
         seats/s{announced}",
        described(args, demand),
        args.seed,
        grouped(demand.arrivals),
        grouped(demand.players),
        demand.peak_per_s,
        args.warm_parallel,
        args.lead,
        demand.slots_per_s,
    )
}

/// The day in a few words.
pub(super) fn described(args: &LaunchArgs, demand: &Demand) -> String {
    let height = grouped(args.height() as u64);
    let mut day = match (&args.arrivals, demand.reopening) {
        (Some(path), _) => format!("{} × {}", path.display(), args.scale),
        (None, Some(Reopening { tau_minutes, .. })) => {
            let rush = demand.first_minutes_per_minute;
            format!("reopen to {height} players: τ {tau_minutes:.0} min, {rush:.0} players/min at the doors")
        }
        (None, None) => format!("{} to {height} players", name_of(args)),
    };
    if args.days > 1 {
        day += ", and again the next day";
    }
    day
}

/// The name of the curve, as the option takes it.
fn name_of(args: &LaunchArgs) -> String {
    use clap::ValueEnum;
    args.shape().to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
}

type Column = (&'static str, fn(&Figures) -> String);

const COLUMNS: [Column; 13] = [
    ("over cap %", |figures| percent(figures.over_cap_pct)),
    ("over design %", |figures| percent(figures.over_design_pct)),
    ("sparse %", |figures| percent(figures.sparse_pct)),
    ("wait p50 s", |figures| grouped(figures.wait_s.p50 as u64)),
    ("p90", |figures| grouped(figures.wait_s.p90 as u64)),
    ("p99", |figures| grouped(figures.wait_s.p99 as u64)),
    ("gave up %", |figures| percent(figures.gave_up_pct)),
    ("islands", |figures| grouped(figures.islands.into())),
    ("÷ clairv.", |figures| format!("{:.3}", figures.islands_vs_clairvoyant)),
    ("spare seat-min", |figures| grouped(figures.spare_seat_minutes as u64)),
    ("guests, split, inverted", |figures| {
        format!("{} {} {}", figures.guests, figures.split_parties, figures.order_inversions)
    }),
    ("forecast off, p99 under", |figures| {
        figures
            .forecast_error
            .map_or("–".to_owned(), |error| format!("{:.0} {:.0}", error.mae, error.p99_under))
    }),
    ("fullest", |figures| grouped(figures.fullest_island.into())),
];

/// The policies' figures, a line each.
pub(super) fn table(runs: &Runs) -> String {
    let mut rows: Vec<Vec<String>> = vec![vec!["policy".to_owned()]];
    rows[0].extend(COLUMNS.iter().map(|(name, _)| (*name).to_owned()));
    rows[0].push("simulated in s".to_owned());
    rows.extend(runs.outcomes.iter().map(|outcome| row(outcome, runs)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (nth, cell) in row.iter().enumerate() {
            // Writing to a String can't fail.
            let _ = match nth {
                0 => write!(out, "{cell:<width$}", width = widths[0]),
                _ => write!(out, "  {cell:>width$}", width = widths[nth]),
            };
        }
        out.push('\n');
    }
    let clairvoyant = &runs.clairvoyant.figures;
    let _ = write!(
        out,
        "bound: {} islands for {} players at once and {} residents; clairvoyant: {}",
        grouped(runs.bound),
        grouped(clairvoyant.peak_inside),
        grouped(clairvoyant.residents),
        grouped(clairvoyant.islands.into()),
    );
    out
}

fn row(outcome: &Outcome, runs: &Runs) -> Vec<String> {
    let mut row = vec![outcome.label.to_owned()];
    row.extend(COLUMNS.iter().map(|(_, cell)| cell(&outcome.figures)));
    let seconds = runs.simulated_in_s.get(outcome.label).copied().unwrap_or(0.0);
    row.push(format!("{seconds:.2}"));
    row
}

fn percent(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.3}") }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
