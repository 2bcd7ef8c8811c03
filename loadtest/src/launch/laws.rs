//! The laws of chance: how long players stay, how long they wait, how long an island takes to open, how many come.
//!
//! Used by the crowd, the curves and the simulator. What each law rests on stands in `docs/launch.md`.

use chunk_sync::random::Stream;
use rand_distr::{Distribution, Gamma, LogNormal, Poisson, Weibull};

use super::limits::{LEAD_SIGMA, NORMAL_P95, PATIENCE_SIGMA, STAY_S_MAX, STAY_S_MIN};

/// How long sessions last: Weibull. A shape below 1 means that whoever has stayed long stays longer.
#[derive(Clone, Copy, Debug)]
pub struct Sessions {
    scale_s: f64,
    shape: f64,
    law: Weibull<f64>,
}

impl Sessions {
    /// Sessions of this mean and shape.
    ///
    /// # Panics
    /// When one isn't above 0.
    pub fn new(mean_s: f64, shape: f64) -> Self {
        let scale_s = mean_s / gamma(1.0 + 1.0 / shape);
        let law = Weibull::new(scale_s, shape).expect("mean and shape are checked by whoever asks");
        Self { scale_s, shape, law }
    }

    /// The share that lasts longer than `after_s`.
    pub fn survival(&self, after_s: f64) -> f64 {
        (-(after_s / self.scale_s).powf(self.shape)).exp()
    }

    /// One session, whole seconds.
    pub fn draw(&self, random: &mut Stream) -> u32 {
        whole_seconds(self.law.sample(random))
    }
}

/// Log-normal: patience, lead times.
#[derive(Clone, Copy, Debug)]
pub struct LongTail {
    law: LogNormal<f64>,
}

impl LongTail {
    /// How long players wait before they give up, by its median.
    pub fn patience(median_s: f64) -> Self {
        Self::new(median_s, PATIENCE_SIGMA)
    }

    /// How long an island takes to open, by its 95th percentile.
    pub fn lead(p95_s: f64) -> Self {
        Self::new(p95_s / (LEAD_SIGMA * NORMAL_P95).exp(), LEAD_SIGMA)
    }

    fn new(median_s: f64, sigma: f64) -> Self {
        let law = LogNormal::new(median_s.max(STAY_S_MIN).ln(), sigma).expect("sigma is a positive constant");
        Self { law }
    }

    /// One of them, whole seconds.
    pub fn draw(&self, random: &mut Stream) -> u32 {
        whole_seconds(self.law.sample(random))
    }
}

fn whole_seconds(seconds: f64) -> u32 {
    seconds.clamp(STAY_S_MIN, STAY_S_MAX).round() as u32
}

/// A count of this mean whose variance is `dispersion` times as large: Poisson at 1, its gamma mixture above.
pub fn count(mean: f64, dispersion: f64, random: &mut Stream) -> u32 {
    let mean = match dispersion - 1.0 {
        excess if excess > f64::EPSILON && mean > 0.0 => match Gamma::new(mean / excess, excess) {
            Ok(law) => law.sample(random),
            Err(_) => mean,
        },
        _ => mean,
    };
    // A mean of nothing, or too small to be told from it, has no law.
    Poisson::new(mean).map_or(0, |law| law.sample(random) as u32)
}

/// The gamma function for arguments above 0.5 (Lanczos, g = 7, nine terms; good to 15 digits).
fn gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let series = (1..TERMS.len()).map(|nth| TERMS[nth] / (x + nth as f64)).sum::<f64>() + TERMS[0];
    let t = x + 7.5;
    std::f64::consts::TAU.sqrt() * t.powf(x + 0.5) * (-t).exp() * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::random;

    fn mean_and_variance(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let drawn: Vec<f64> = (0..40_000).map(|_| draw()).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        (mean, drawn.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / drawn.len() as f64)
    }

    #[test]
    fn gamma_is_the_factorial_between_whole_numbers_too() {
        assert!((gamma(5.0) - 24.0).abs() < 1e-9);
        assert!((gamma(1.5) - std::f64::consts::PI.sqrt() / 2.0).abs() < 1e-12);
    }

    #[test]
    fn sessions_have_the_mean_and_the_survival_that_were_asked_for() {
        let (law, mut stream) = (Sessions::new(3_600.0, 0.55), random::stream(1, "test"));
        let (mean, _) = mean_and_variance(|| f64::from(law.draw(&mut stream)));
        assert!((mean / 3_600.0 - 1.0).abs() < 0.05, "{mean}");
        let longer = (0..40_000).filter(|_| law.draw(&mut stream) > 1_800).count() as f64 / 40_000.0;
        assert!((longer - law.survival(1_800.0)).abs() < 0.01, "{longer}");
    }

    #[test]
    fn counts_have_mean_and_dispersion() {
        let mut stream = random::stream(2, "test");
        for dispersion in [1.0, 3.0] {
            let (mean, variance) = mean_and_variance(|| f64::from(count(12.0, dispersion, &mut stream)));
            assert!((mean - 12.0).abs() < 0.2 && (variance / mean / dispersion - 1.0).abs() < 0.06);
        }
        assert_eq!(count(0.0, 1.0, &mut stream), 0);
    }

    #[test]
    fn one_island_in_twenty_takes_longer_than_the_lead() {
        let (law, mut stream) = (LongTail::lead(90.0), random::stream(3, "test"));
        let longer = (0..40_000).filter(|_| law.draw(&mut stream) > 90).count() as f64 / 40_000.0;
        assert!((longer - 0.05).abs() < 0.006, "{longer}");
    }
}
