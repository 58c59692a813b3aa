//! The table of a run.

use amphi_benches::machine::{headline, versions};
use amphi_benches::{Table, Tally};
use serde_json::{Map, Value};

use super::{BENCH, Case, RUNTIMES};

/// Prints the table on standard output.
pub(crate) fn print(
    tally: &Tally,
    names: &[&'static str],
    absent: &[(&'static str, String)],
    machine: &Map<String, Value>,
) {
    println!("\n{}; {}", headline(BENCH, machine), versions(machine, &RUNTIMES));
    let head = ["From kill -9 to the first answer", "case", "p50 ms", "quartiles", "p99 ms"];
    let mut table = Table::new(head.into_iter().chain(["max ms", "kills", "asked again"]));
    for case in Case::ALL {
        for name in names {
            if let Some(cells) = line(tally, name, case) {
                table.push(cells);
            }
        }
    }
    for (name, _) in absent {
        table.push([name, "NOT MEASURED, see below"]);
    }
    print!(
        "\nA p50 is the median over rounds of each round's p50, with its quartiles; p99 and max \
         are of all kills\n\n{table}"
    );
    for (name, reason) in absent {
        println!("\n{name}: NOT MEASURED, {reason}");
    }
}

fn line(tally: &Tally, name: &str, case: Case) -> Option<[String; 8]> {
    let p50 = tally.spread(name, case.name(), "p50")?;
    let tail = |q| tally.tail(name, case.name(), q).map_or_else(String::new, |ns| ms(ns as f64));
    let again = tally.rounds(name, case.name(), "asked again");
    let asked = again.iter().flatten().sum::<f64>();
    Some([
        name.to_owned(),
        case.name().to_owned(),
        ms(p50.median),
        format!("{} – {}", ms(p50.q1), ms(p50.q3)),
        tail(0.99),
        tail(1.0),
        tally.sample_count(name, case.name()).to_string(),
        if again.is_empty() { "–".to_owned() } else { asked.to_string() },
    ])
}

/// So many nanoseconds in milliseconds.
pub(crate) fn ms(ns: f64) -> String {
    let ms = ns / 1e6;
    match ms {
        _ if ms < 10.0 => format!("{ms:.2}"),
        _ if ms < 100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}
