//! The figures that the project set itself as reach, each beside its bound: computed from this
//! run, or said to be missing.

use amphi_benches::table::{micros, ratio};
use amphi_benches::{Bound, Row, Spread, Table, Tally};

use super::BENCH;
use super::case::Case;
use super::pools::{AMPHI_PROCESSES, AMPHI_THREADS, direct, procspawn_pool, rayon_spawn};
use super::scripts::PYTHON;
use super::vectors;

/// What a system's figure is held against.
#[derive(Debug, Clone, Copy)]
enum Against {
    /// Its rate, as a multiple of that of a peer.
    Rate(&'static str),
    /// Its p50, as a multiple of that of a peer.
    Time(&'static str),
    /// Its p50 beyond that of the direct call: beyond the work. In nanoseconds.
    Work,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    subject: &'static str,
    case: Case,
    against: Against,
    bound: Bound,
}

/// What a mebibyte may cost beyond the work on it.
const PAYLOAD: Bound = Bound::AtMost(150_000.0);
const TENTH: Bound = Bound::AtMost(0.1);

/// All claims; those on payloads are made of both ways.
fn claims() -> Vec<Claim> {
    let claim = |subject, case, against, bound| Claim { subject, case, against, bound };
    let rate = Against::Rate(rayon_spawn::NAME);
    let mut claims = vec![
        claim(AMPHI_PROCESSES, Case::Pipelined, rate, Bound::AtLeast(1.0)),
        claim(AMPHI_THREADS, Case::Pipelined, rate, Bound::AtLeast(1.0)),
    ];
    for case in Case::PAYLOADS {
        let time = Against::Time;
        claims.extend([
            claim(AMPHI_PROCESSES, case, Against::Work, PAYLOAD),
            claim(AMPHI_PROCESSES, case, time(PYTHON), TENTH),
            claim(AMPHI_PROCESSES, case, time(procspawn_pool::NAME), TENTH),
            claim(AMPHI_PROCESSES, case, time(vectors::PROCSPAWN), TENTH),
            claim(vectors::AMPHI, case, Against::Work, Bound::None),
            claim(vectors::AMPHI, case, time(vectors::PROCSPAWN), Bound::None),
        ]);
    }
    claims
}

impl Claim {
    fn measured(&self, tally: &Tally) -> Option<Spread> {
        let figure = |system, metric| (system, self.case.name(), metric);
        match self.against {
            Against::Rate(peer) => tally.ratio(figure(self.subject, "rate"), figure(peer, "rate")),
            Against::Time(peer) => tally.ratio(figure(self.subject, "p50"), figure(peer, "p50")),
            Against::Work => {
                let of = |system| tally.rounds(system, self.case.name(), "p50");
                let pairs = of(self.subject).iter().zip(of(direct::NAME));
                let beyond: Vec<f64> =
                    pairs.filter_map(|(all, work)| Some((*all)? - (*work)?)).collect();
                Spread::of(&beyond)
            }
        }
    }

    fn text(&self, value: f64) -> String {
        match self.against {
            Against::Work => format!("{} µs", micros(value)),
            Against::Rate(_) | Against::Time(_) => ratio(value),
        }
    }

    fn metric(&self) -> String {
        match self.against {
            Against::Rate(peer) => format!("rate / {peer}"),
            Against::Time(peer) => format!("p50 / {peer}"),
            Against::Work => "p50 beyond the work".to_owned(),
        }
    }
}

/// Prints the list.
pub(crate) fn print(tally: &Tally) {
    let mut table = Table::new(["Reach", "median", "quartiles", "min … max", "bound", ""]);
    for claim in claims() {
        let what = format!("{}, {}: {}", claim.subject, claim.case.name(), claim.metric());
        let Some(spread) = claim.measured(tally) else {
            table.push([what, "not measured".to_owned()]);
            continue;
        };
        let text = |value| claim.text(value);
        table.push([
            what,
            text(spread.median),
            format!("{} – {}", text(spread.q1), text(spread.q3)),
            format!("{} … {}", text(spread.min), text(spread.max)),
            claim.bound.text(text),
            claim.bound.verdict(spread.median).to_owned(),
        ]);
    }
    print!(
        "\nReach: medians over rounds; what is compared is compared within each round\n\n{table}"
    );
}

/// The claims that were measured: the median under the metric's name with its quartiles beside it, and
/// `bound METRIC`, unit `at most …` or `at least …`, where there is one.
pub(crate) fn rows(tally: &Tally) -> Vec<Row> {
    let mut rows = Vec::new();
    for claim in claims() {
        let Some(spread) = claim.measured(tally) else { continue };
        let unit = if matches!(claim.against, Against::Work) { "ns" } else { "ratio" };
        let metric = claim.metric();
        let mut push = |metric: &str, value, unit: &str| {
            rows.push(Row::new(BENCH, claim.subject, claim.case.name(), metric, value, unit));
        };
        push(&metric, spread.median, unit);
        push(&format!("{metric} q1"), spread.q1, unit);
        push(&format!("{metric} q3"), spread.q3, unit);
        let Some((bound, way)) = claim.bound.row() else { continue };
        push(&format!("bound {metric}"), bound, &format!("{way}, {unit}"));
    }
    rows
}
