//! The table of a run.

use amphi_benches::{Table, Tally};
use serde_json::{Map, Value};

use super::{BENCH, Case, Plan};

/// Cores that others may keep busy before the figures stop being about this bench.
const NOISE: f64 = 0.1;

/// Prints the table on standard output.
pub(crate) fn print(
    tally: &Tally,
    names: &[&'static str],
    absent: &[(&'static str, String)],
    plan: Plan,
    machine: &Map<String, Value>,
) {
    println!("\n{}", headline(machine, plan));
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

/// The run in one line.
fn headline(machine: &Map<String, Value>, plan: Plan) -> String {
    let field = |key: &str| match machine.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "?".to_owned(),
    };
    let runtime = |name: &str| match machine.get(name) {
        Some(Value::String(version)) => version.clone(),
        _ => format!("no {name}"),
    };
    let others = machine.get("busy_cores_of_others").and_then(Value::as_f64);
    format!(
        "{BENCH}: {} cores of {}, kernel {}, commit {}; {} rounds{}; {}, {}; others kept {} cores \
         busy meanwhile{}",
        field("cores"),
        field("cpu"),
        field("kernel"),
        field("commit"),
        plan.rounds,
        if plan.quick { " (--quick)" } else { "" },
        runtime("node"),
        runtime("python"),
        others.map_or_else(|| "?".to_owned(), |cores| format!("{cores:.2}")),
        if others.is_some_and(|cores| cores > NOISE) { ": THIS RUN IS NOISE" } else { "" },
    )
}
