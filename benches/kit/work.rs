//! Work for jobs that should take so long and touch nothing, fitted to this machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Steps of xorshift (Marsaglia 2003): no memory, no system call.
pub fn arithmetic(seed: u64, steps: u32) -> u64 {
    let mut state = seed + 88_172_645_463_325_252;
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// How many units of `work` take about `target`: at least one.
pub fn amount(work: fn(u64, u32) -> u64, target: Duration) -> u32 {
    let mut units = 1;
    loop {
        let time = median_time(|| work(black_box(0), units));
        if time >= Duration::from_millis(1) {
            let fitting = f64::from(units) * target.as_secs_f64() / time.as_secs_f64();
            return (fitting.round() as u32).max(1);
        }
        units *= 2;
    }
}

/// How long it takes on a thread that has nothing else to do: the median of nine.
pub fn median_time<T>(mut once: impl FnMut() -> T) -> Duration {
    let mut times: [Duration; 9] = std::array::from_fn(|_| {
        let start = Instant::now();
        black_box(once());
        start.elapsed()
    });
    times.sort_unstable();
    times[times.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_fitted_within_a_factor_of_two() {
        let target = Duration::from_millis(2);
        let steps = amount(arithmetic, target);
        let fits = || {
            let time = median_time(|| arithmetic(black_box(1), steps));
            target / 2 < time && time < target * 2
        };
        // Others may have the processor at any moment, but not always.
        assert!((0..20).any(|_| fits()), "{steps} steps");
        assert_ne!(arithmetic(1, steps), arithmetic(2, steps));
    }
}
