//! From figures to places, and the ticks between.

use crate::unit::{self, Dimension};

/// Figures from a thousandth of this on are long in a unit.
const LONG: f64 = 500.0;
/// Ticks stand at least so far apart, besides their labels.
const GAP: f64 = 8.0;

/// A straight line of places for figures from `low` to `high`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scale {
    /// The place of `low`.
    pub(crate) from: f64,
    /// The place of `high`.
    pub(crate) to: f64,
    low: f64,
    high: f64,
    log: bool,
    /// Ticks are written as multiples of this.
    factor: f64,
}

/// The unit that an axis is written in: its name, and how many of the base it is. The largest figure
/// decides; the smallest, where it would be a long number, too.
pub(crate) fn axis_unit(dimension: Dimension, scale: &Scale) -> (&'static str, f64) {
    let high = scale.high.max(scale.low * LONG);
    let pick = |units: &[(&'static str, f64, f64)]| {
        let found = units.iter().find(|(_, _, below)| high < *below).or_else(|| units.last());
        found.map_or(("", 1.0), |&(name, factor, _)| (name, factor))
    };
    let kib = 1024.0;
    match dimension {
        // From zero on, small figures are short in a large unit, too.
        Dimension::Time if !scale.log => {
            pick(&[("ns", 1.0, 1.5e3), ("µs", 1e3, 1.5e6), ("ms", 1e6, 1.5e9), ("s", 1e9, 0.0)])
        }
        Dimension::Time => {
            pick(&[("ns", 1.0, 1.5e3), ("µs", 1e3, 1.5e8), ("ms", 1e6, 1.5e10), ("s", 1e9, 0.0)])
        }
        Dimension::Bytes => pick(&[
            ("B", 1.0, 2.0 * kib),
            ("KiB", kib, 2.0 * kib * kib),
            ("MiB", kib * kib, 4e3 * kib * kib),
            ("GiB", kib * kib * kib, 0.0),
        ]),
        Dimension::Rate => ("a second", 1.0),
        Dimension::Ratio => ("ratio", 1.0),
        Dimension::Other => ("number", 1.0),
    }
}

impl Scale {
    /// A logarithmic scale around the figures above zero; `None` without any.
    pub(crate) fn log(figures: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let usable = figures.into_iter().filter(|figure| figure.is_finite() && *figure > 0.0);
        let (low, high) = ends(usable)?;
        let (low, high) = if high / low < 1.2 { (low / 1.3, high * 1.3) } else { (low, high) };
        // Half a mark of room at either end.
        let spare = (high / low).powf(0.03).min(10.0);
        let (low, high) = ((low / spare).max(f64::MIN_POSITIVE), (high * spare).min(f64::MAX));
        Some(Self { from, to, low, high, log: true, factor: 1.0 })
    }

    /// A scale from zero to the largest figure; `None` without a figure above zero.
    pub(crate) fn linear(
        figures: impl IntoIterator<Item = f64>,
        from: f64,
        to: f64,
    ) -> Option<Self> {
        let (_, high) = ends(figures.into_iter().filter(|figure| figure.is_finite()))?;
        (high > 0.0).then_some(Self { from, to, low: 0.0, high, log: false, factor: 1.0 })
    }

    /// With ticks written as multiples of `factor`.
    pub(crate) fn in_units_of(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// The largest figure.
    pub(crate) fn high(&self) -> f64 {
        self.high
    }

    /// The place of a figure; of one beyond an end, that end.
    pub(crate) fn at(&self, figure: f64) -> f64 {
        let share = if self.log {
            (figure.max(f64::MIN_POSITIVE).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (figure - self.low) / (self.high - self.low)
        };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.from + share * (self.to - self.from)
    }

    /// Places and labels of round figures, as many as have room beside each other.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        self.ticks_with(|label| super::width(label, super::TICK))
    }

    /// The same where lines stand below each other.
    pub(crate) fn ticks_upright(&self) -> Vec<(f64, String)> {
        self.ticks_with(|_| super::TICK)
    }

    fn ticks_with(&self, room: impl Fn(&str) -> f64) -> Vec<(f64, String)> {
        let label = |figure: f64| unit::short(figure / self.factor);
        let placed = |figures: Vec<f64>| -> Vec<(f64, String)> {
            figures.into_iter().map(|figure| (self.at(figure), label(figure))).collect()
        };
        let fits = |ticks: &[(f64, String)]| {
            ticks.windows(2).all(|pair| {
                let [(a, one), (b, other)] = pair else { return true };
                (b - a).abs() >= f64::midpoint(room(one), room(other)) + GAP
            })
        };
        let candidates = if self.log { self.log_candidates() } else { self.linear_candidates() };
        let sets = candidates.into_iter().map(placed);
        sets.into_iter().find(|ticks| ticks.len() >= 2 && fits(ticks)).unwrap_or_else(|| {
            // Not even two round figures: the ends themselves.
            placed(vec![self.low, self.high])
        })
    }

    /// Sets of round figures within the ends, the densest first.
    fn log_candidates(&self) -> Vec<Vec<f64>> {
        let (low, high) = (self.low / self.factor, self.high / self.factor);
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let decades = last - first;
        let within = |digits: &[f64], step: i32| -> Vec<f64> {
            let powers = (first..=last).filter(|power| power.rem_euclid(step) == 0);
            let all = powers.flat_map(|power| digits.iter().map(move |d| d * 10f64.powi(power)));
            all.filter(|figure| (low..=high).contains(figure)).map(|f| f * self.factor).collect()
        };
        let mut sets = Vec::new();
        if decades <= 3 {
            sets.push(within(&[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 1));
            sets.push(within(&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], 1));
            sets.push(within(&[1.0, 2.0, 5.0], 1));
        }
        sets.extend((1..=decades.max(1)).map(|step| within(&[1.0], step)));
        sets
    }

    fn linear_candidates(&self) -> Vec<Vec<f64>> {
        let high = self.high / self.factor;
        let power = 10f64.powf(high.log10().floor());
        let steps = [0.2, 0.25, 0.5, 1.0, 2.0, 5.0].map(|digit| digit * power);
        let set = |step: f64| {
            let count = (high / step).floor() as usize;
            (0..=count).map(|index| index as f64 * step * self.factor).collect()
        };
        steps.into_iter().filter(|step| *step > 0.0).map(set).collect()
    }
}

fn ends(figures: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    figures.fold(None, |ends, figure| match ends {
        None => Some((figure, figure)),
        Some((low, high)) => Some((figure.min(low), figure.max(high))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn decades_have_a_tick_each_where_there_is_room() {
        let scale = Scale::log([20.0, 3e6], 0.0, 240.0).unwrap().in_units_of(1e3);
        assert_eq!(labels(&scale), ["0.1", "1", "10", "100", "1000"]);
        let narrow = Scale::log([0.97, 1.5], 0.0, 240.0).unwrap();
        assert_eq!(labels(&narrow), ["1", "1.2", "1.5"]);
    }

    #[test]
    fn linear_ticks_begin_with_zero() {
        let scale = Scale::linear([24.66e6], 0.0, 300.0).unwrap();
        assert_eq!(labels(&scale), ["0", "5 M", "10 M", "15 M", "20 M"]);
    }

    #[test]
    fn an_axis_of_time_has_the_unit_of_its_figures() {
        let unit = |scale: Option<Scale>| axis_unit(Dimension::Time, &scale.unwrap()).0;
        assert_eq!(unit(Scale::linear([4.0, 86.7e6], 0.0, 300.0)), "ms");
        assert_eq!(unit(Scale::linear([117e3], 0.0, 300.0)), "µs");
        assert_eq!(unit(Scale::log([400.0, 86.7e6], 0.0, 300.0)), "µs");
    }

    #[test]
    fn no_figure_leaves_the_scale_and_none_breaks_it() {
        let sets: [&[f64]; 5] =
            [&[1e-300, 1e308], &[f64::MAX], &[f64::MIN_POSITIVE], &[1.0, 1.0], &[f64::NAN, 3.0]];
        for figures in sets {
            for scale in [Scale::log, Scale::linear].map(|new| new(figures.to_vec(), 10.0, 90.0)) {
                let scale = scale.unwrap();
                for figure in figures.iter().copied().chain([0.0, -1.0, f64::INFINITY]) {
                    assert!((10.0..=90.0).contains(&scale.at(figure)), "{figures:?}: {figure}");
                }
                let ticks = scale.ticks();
                assert!((2..=12).contains(&ticks.len()), "{figures:?}: {ticks:?}");
                assert!(ticks.iter().all(|(at, _)| (10.0..=90.0).contains(at)), "{ticks:?}");
            }
        }
        assert_eq!(Scale::log([0.0, -1.0], 0.0, 1.0), None);
        assert_eq!(Scale::linear([0.0], 0.0, 1.0), None);
    }
}
