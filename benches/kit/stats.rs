//! Order statistics over small sets of figures. No figure is thrown away as an outlier.

/// Where the figures of several rounds lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// A quarter lies below.
    pub q1: f64,
    /// Half lies below.
    pub median: f64,
    /// A quarter lies above.
    pub q3: f64,
    /// The largest.
    pub max: f64,
    /// How many figures there were.
    pub count: usize,
}

impl Spread {
    /// The spread of some figures; `None` without any.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Some(Self {
            min: *sorted.first()?,
            q1: quantile(&sorted, 0.25)?,
            median: quantile(&sorted, 0.5)?,
            q3: quantile(&sorted, 0.75)?,
            max: *sorted.last()?,
            count: sorted.len(),
        })
    }

    /// The spread of `a/b` taken pair by pair: figures of the same round stand at the same place.
    /// Rounds in which one of both is missing, or `b` is zero, are left out.
    pub fn of_ratios(a: &[Option<f64>], b: &[Option<f64>]) -> Option<Self> {
        let ratios: Vec<f64> = a
            .iter()
            .zip(b)
            .filter_map(|(a, b)| match (*a, *b) {
                (Some(a), Some(b)) if b != 0.0 => Some(a / b),
                _ => None,
            })
            .collect();
        Self::of(&ratios)
    }
}

/// The `q`-quantile (0 to 1) of figures in ascending order, interpolated between neighbours.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    let low = *sorted.get(below)?;
    let high = *sorted.get(above)?;
    Some(low + (high - low) * place.fract())
}

/// The `q`-quantile of samples in any order: the nearest sample at or above, never a mixture.
/// For tails, where interpolation would invent latencies that nobody saw.
pub fn nearest(samples: &mut [u64], q: f64) -> Option<u64> {
    let last = samples.len().checked_sub(1)?;
    let place = ((q.clamp(0.0, 1.0) * last as f64).ceil() as usize).min(last);
    Some(*samples.select_nth_unstable(place).1)
}

/// The 95 % interval of the median by the percentile bootstrap (Efron 1979): medians of as many
/// figures drawn with repetition, many times. The same `seed` draws the same. `None` without any.
pub fn bootstrap_median(figures: &[f64], seed: u64) -> Option<(f64, f64)> {
    const RESAMPLES: usize = 4_000;
    let mut state = seed | 1; // xorshift (Marsaglia 2003) has no way out of zero
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let index = state % figures.len() as u64;
        figures[usize::try_from(index).unwrap_or(0)]
    };
    let mut drawn = vec![0.0; figures.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        drawn.fill_with(&mut draw);
        drawn.sort_unstable_by(f64::total_cmp);
        medians.push(quantile(&drawn, 0.5)?);
    }
    medians.sort_unstable_by(f64::total_cmp);
    Some((quantile(&medians, 0.025)?, quantile(&medians, 0.975)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let figures = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&figures, 0.5), Some(2.5));
        assert_eq!(quantile(&figures, 0.0), Some(1.0));
        assert_eq!(quantile(&figures, 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn tails_are_samples() {
        let mut samples: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(nearest(&mut samples, 0.99), Some(100));
        assert_eq!(nearest(&mut samples, 0.5), Some(51));
        assert_eq!(nearest(&mut [7], 0.99), Some(7));
        assert_eq!(nearest(&mut [], 0.99), None);
    }

    #[test]
    fn ratios_pair_rounds_and_skip_holes() {
        let a = [Some(2.0), None, Some(9.0), Some(4.0)];
        let b = [Some(1.0), Some(1.0), Some(3.0), Some(0.0)];
        let spread = Spread::of_ratios(&a, &b).unwrap();
        assert_eq!((spread.min, spread.median, spread.max, spread.count), (2.0, 2.5, 3.0, 2));
        assert_eq!(Spread::of_ratios(&a, &[]), None);
    }

    #[test]
    fn intervals_hold_the_median_and_repeat() {
        let figures: Vec<f64> = (0..12).map(f64::from).collect();
        let (low, high) = bootstrap_median(&figures, 7).unwrap();
        assert!(0.0 < low && low < 5.5 && 5.5 < high && high < 11.0, "{low} {high}");
        assert_eq!(bootstrap_median(&figures, 7), Some((low, high)));
        assert_eq!(bootstrap_median(&[2.0], 0), Some((2.0, 2.0)));
        assert_eq!(bootstrap_median(&[], 7), None);
    }
}
