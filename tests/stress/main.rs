//! What holds for long and under violence. Each test runs in a process of its own (this test
//! binary, started again), so that descriptors, memory and wake-ups are those of one engine alone.

mod alone;
mod flat;
mod idle;
mod kills;

use amphi::{App, Ctx, Error, Job};

amphi::app!(app);

fn app() -> App {
    App::new().job::<Double>()
}

/// Doubles a number, after some work.
#[derive(serde::Serialize, serde::Deserialize)]
struct Double {
    number: u64,
    rounds: u32,
}

impl Job for Double {
    type Output = u64;
    type Error = Error;

    fn run(self, _cx: &Ctx) -> Result<u64, Error> {
        let work = (0..self.rounds).fold(0_u64, |sum, round| {
            std::hint::black_box(sum.wrapping_mul(31).wrapping_add(u64::from(round)))
        });
        std::hint::black_box(work);
        Ok(2 * self.number)
    }
}
