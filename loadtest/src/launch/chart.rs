//! Charts over time as SVG: areas, bands, lines and rules on one pair of axes. Colours are classes of the page's style.

use std::fmt::Write as _;

use super::table::grouped;

/// Width of a chart of which two stand side by side, its margins included.
pub(super) const WIDE: f64 = 500.0;
/// Of one of three.
pub(super) const NARROW: f64 = 370.0;
const HEIGHT: f64 = 205.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Lines across, about.
const RULES: f64 = 4.0;

/// A chart that is being drawn.
pub(super) struct Chart<'a> {
    width: f64,
    hours: &'a [f64],
    top: f64,
    body: String,
}

impl<'a> Chart<'a> {
    /// Empty axes, from 0 to `most`, over these moments.
    pub(super) fn new(width: f64, hours: &'a [f64], most: f64) -> Self {
        let step = round_step(most.max(1.0) / RULES);
        let top = (most.max(1.0) / step).ceil() * step;
        let mut chart = Self { width, hours, top, body: String::new() };
        let mut at = 0.0;
        while at <= top + step / 2.0 {
            let y = chart.y(at);
            chart.put(format_args!(
                r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                width - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                short(at),
            ));
            at += step;
        }
        chart.put_hours();
        chart
    }

    fn put_hours(&mut self) {
        let (Some(first), Some(last)) = (self.hours.first().copied(), self.hours.last().copied()) else {
            return;
        };
        let step = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
            .into_iter()
            .find(|step| (last - first) / step <= self.width / 60.0)
            .unwrap_or(24.0);
        let mut at = (first / step).ceil() * step;
        while at <= last + step / 20.0 {
            let x = self.x(at.min(last));
            let y = HEIGHT - BOTTOM;
            self.put(format_args!(
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{y:.1}" y2="{:.1}"/><text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{} h</text>"#,
                y + 4.0,
                HEIGHT - 8.0,
                // Never -0.
                at + 0.0,
            ));
            at += step;
        }
        if first < 0.0 {
            let x = self.x(0.0);
            self.put(format_args!(
                r#"<line class="doors" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{:.1}"/>"#,
                HEIGHT - BOTTOM
            ));
        }
    }

    /// A filled area under these values.
    pub(super) fn area(self, class: &str, values: &[f64]) -> Self {
        let floor = vec![0.0; values.len()];
        self.band(class, &floor, values)
    }

    /// A filled band between two rows of values.
    pub(super) fn band(mut self, class: &str, lower: &[f64], upper: &[f64]) -> Self {
        let mut path = String::new();
        self.trace(&mut path, upper.iter().copied().enumerate());
        self.trace(&mut path, lower.iter().copied().enumerate().rev());
        self.put(format_args!(r#"<path class="fill {class}" d="M{}Z"/>"#, &path[1..]));
        self
    }

    /// A line through these values.
    pub(super) fn line(mut self, class: &str, values: &[f64]) -> Self {
        let mut path = String::new();
        self.trace(&mut path, values.iter().copied().enumerate());
        self.put(format_args!(r#"<path class="line {class}" d="M{}"/>"#, &path[1..]));
        self
    }

    /// A dashed line across, with its name at the right.
    pub(super) fn rule(mut self, class: &str, value: f64, name: &str) -> Self {
        let (y, end) = (self.y(value), self.width - RIGHT);
        self.put(format_args!(
            r#"<line class="rule {class}" x1="{LEFT}" x2="{end:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="name {class}" x="{:.1}" y="{:.1}" text-anchor="end">{name}</text>"#,
            end - 4.0,
            y - 4.0,
        ));
        self
    }

    /// The drawing; `told` is what it shows, for those who can't see it.
    pub(super) fn svg(self, told: &str) -> String {
        format!(
            r#"<svg viewBox="0 0 {} {HEIGHT}" role="img" aria-label="{told}">{}</svg>"#,
            self.width, self.body
        )
    }

    fn trace(&self, path: &mut String, values: impl Iterator<Item = (usize, f64)>) {
        for (nth, value) in values {
            // Writing to a String can't fail.
            let _ = write!(path, "L{:.1} {:.1}", self.x(self.hours[nth]), self.y(value));
        }
        if path.is_empty() {
            path.push_str("L0 0");
        }
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(what);
    }

    fn x(&self, hour: f64) -> f64 {
        let (first, last) =
            (self.hours.first().copied().unwrap_or(0.0), self.hours.last().copied().unwrap_or(1.0));
        LEFT + (hour - first) / (last - first).max(1e-9) * (self.width - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value / self.top).min(1.0) * (HEIGHT - BOTTOM - TOP)
    }
}

/// The next of 1, 2, 2.5, 5, 10, 20 and so on.
fn round_step(least: f64) -> f64 {
    let power = 10.0_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|times| times * power)
        .find(|step| *step >= least)
        .unwrap_or(least)
}

/// A number of an axis.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}m", trimmed(value / 1e6)),
        value if value >= 10_000.0 => format!("{}k", trimmed(value / 1e3)),
        value if value >= 10.0 || value.fract() == 0.0 => grouped(value.round() as u64),
        value => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    format!("{value:.1}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!([0.3, 7.0, 16_750.0, 100.0].map(round_step), [0.5, 10.0, 20_000.0, 100.0]);
        assert_eq!([0.5, 2.0, 1_500.0, 20_000.0, 2.5e6].map(short), ["0.5", "2", "1,500", "20k", "2.5m"]);
    }

    #[test]
    fn a_chart_of_nothing_is_a_chart() {
        let svg = Chart::new(WIDE, &[], 0.0).line("inside", &[]).area("seats", &[]).svg("nothing");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"));
    }
}
