//! Rows of every bench, built here and written by the kit, and the program that reads them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use amphi_benches::{Row, json as file};
use serde_json::{Map, json};

/// A name that every escape has to leave whole.
pub(crate) const ODD: &str = "peer <b>&amp; \"quoted\" 'single' | ] ` \\ end";
/// What the machine rows say.
pub(crate) const KERNEL: &str = "6.1.2-fixture";
pub(crate) const COMMIT: &str = "0123456789ab";

/// A directory of its own, removed at the end.
pub(crate) struct Room(PathBuf);

impl Room {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("amphi-report-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A room with a file for each bench.
    pub(crate) fn with(benches: &[(&str, Vec<Row>)]) -> Self {
        let room = Self::new();
        for (bench, rows) in benches {
            room.file(&format!("{bench}.json"), &file::text(rows));
        }
        room
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program, away from the settings of whoever runs the tests.
pub(crate) fn report() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_report"));
    command.stdin(Stdio::null()).env_remove("NO_COLOR");
    command
}

/// The program on the rows of a room, writing beside them.
pub(crate) fn run(room: &Room) -> Output {
    let out = room.path().join("out");
    report().arg("--from").arg(room.path()).arg("--out").arg(out).output().unwrap()
}

/// The page and the Markdown that the program makes of these rows.
pub(crate) fn made(benches: &[(&str, Vec<Row>)]) -> (String, String) {
    let room = Room::with(benches);
    let output = run(&room);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {told}", output.status);
    assert_eq!(told, "");
    let page = room.path().join("out/index.html");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", page.display()));
    let markdown = fs::read_to_string(room.path().join("out/report.md")).unwrap();
    (fs::read_to_string(page).unwrap(), markdown)
}

fn machine(bench: &str, busy: f64) -> Row {
    let fields = [
        ("cores", json!(2)),
        ("cpu", json!("Fixture CPU")),
        ("kernel", json!(KERNEL)),
        ("commit", json!(COMMIT)),
        ("busy_cores_of_others", json!(busy)),
        ("quick", json!(true)),
        ("rounds", json!(6)),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Row::machine(bench, Map::from_iter(fields))
}

/// Two systems of ours, two peers and a floor.
const SYSTEMS: [(&str, f64); 5] = [
    ("amphi threads", 1.0),
    ("amphi processes", 3.0),
    ("rayon spawn + channel", 2.0),
    (ODD, 150.0),
    ("direct call", 0.05),
];

pub(crate) fn dispatch() -> Vec<Row> {
    let mut rows = vec![machine("dispatch", 0.02)];
    for (system, cost) in SYSTEMS {
        let mut add = |case, metric: &str, value: f64, unit| {
            rows.push(Row::new("dispatch", system, case, metric, value * cost, unit));
        };
        for (case, ns) in [("hot u64", 200.0), ("hot 1 MiB", 2e4), ("parked u64", 6e3)] {
            add(case, "p50", ns, "ns");
            add(case, "p50_q1", ns * 0.9, "ns");
            add(case, "p50_q3", ns * 1.2, "ns");
            add(case, "p99", ns * 4.0, "ns");
            add(case, "samples", 1000.0, "count");
            add(case, "cpu", ns * 1.5, "ns/task");
        }
        let rate = 4e6 / cost / cost;
        add("pipelined u64", "rate", rate, "tasks/s");
    }
    let hot = ("amphi processes", "hot u64");
    rows.push(Row::new("dispatch", hot.0, hot.1, "bound p50", 1500.0, "at most, ns"));
    rows.push(Row::new("dispatch", hot.0, hot.1, "p50 / rayon spawn + channel", 1.5, "ratio"));
    rows
}

pub(crate) fn crossover() -> Vec<Row> {
    let mut rows = vec![machine("crossover", 0.0)];
    let sizes = [("64 B", 1e3), ("64 KiB", 2e4), ("1 MiB", 2e5), ("16 MiB", 4e6)];
    let times = [("1 µs", 1e3), ("10 µs", 1e4), ("100 µs", 1e5), ("1 ms", 1e6), ("10 ms", 1e7)];
    for (size, cross) in sizes {
        for (time, ns) in times {
            let plain = if ns > 5e5 && cross < 1e5 { ns * 0.8 } else { ns + cross };
            let keyed = ns / 2.0 + cross;
            for (system, plain, keyed) in [("thread", ns, ns), ("process", plain, keyed)] {
                for (kind, wall) in [("plain", plain), ("keyed", keyed)] {
                    let case = format!("{kind}, {size}, {time}");
                    rows.push(Row::new("crossover", system, &case, "wall", wall, "ns/task"));
                }
                let case = format!("plain, {size}, {time}");
                rows.push(Row::new("crossover", system, &case, "cpu", plain, "ns/task"));
            }
        }
    }
    rows
}

pub(crate) fn payload() -> Vec<Row> {
    let mut rows = vec![machine("payload", 0.0)];
    let systems = [
        ("amphi threads", 0.3, 1e-9),
        ("amphi processes, Bytes", 0.7, 2e-4),
        ("amphi processes, Blob", 9.0, 2e-6),
    ];
    let sizes = [("64 B", 64.0), ("4 KiB", 4096.0), ("1 MiB", 1e6), ("256 MiB", 256e6)];
    for (system, call, byte) in systems {
        for (case, bytes) in sizes {
            rows.push(Row::new("payload", system, case, "p50_us", call + bytes * byte, "us"));
        }
    }
    rows
}

fn memory() -> Vec<Row> {
    let mut rows = vec![machine("memory", 0.0)];
    for (system, each) in [("amphi threads", 0.1), ("amphi processes", 2.0), ("Node cluster", 30.0)]
    {
        let mut add = |case: &str, metric: &str, mib: f64, unit| {
            rows.push(Row::new("memory", system, case, metric, mib, unit));
        };
        for (metric, share) in [("rss", 1.6), ("pss", 1.0), ("uss", 0.7)] {
            for workers in [1.0, 8.0] {
                let all = (4.0 + each * workers) * share;
                add(&format!("{workers} workers, started"), metric, all / 2.0, "MiB");
                add(&format!("{workers} workers, worked"), metric, all, "MiB");
                add(
                    &format!("{workers} workers, worked"),
                    &format!("worker {metric}"),
                    each,
                    "MiB",
                );
            }
            add("each further of the workers, worked", metric, each * share, "MiB/worker");
        }
        add("burst, 1 KiB kept", "pss held", 512.0, "MiB");
        add("burst, 1 KiB kept", "pss at once", 128.0, "MiB");
        if system == "amphi processes" {
            add("burst, 1 KiB kept", "pss renewed", 4.0, "MiB");
        }
    }
    rows
}

fn respawn() -> Vec<Row> {
    let mut rows = vec![machine("respawn", 0.0)];
    for (system, ms) in [("amphi, 1 worker", 1.2), ("exec respawn by hand", 4.0)] {
        rows.push(Row::new("respawn", system, "killed idle", "p50", ms, "ms"));
        rows.push(Row::new("respawn", system, "killed idle", "p99", ms * 3.0, "ms"));
    }
    rows
}

fn regret() -> Vec<Row> {
    let mut rows = vec![machine("regret", 0.6)];
    for (case, thread, process) in [("hash", 1.0, 1.02), ("payload", 1.0, 6.0), ("keyed", 2.0, 1.0)]
    {
        for (system, ms) in [("thread", thread), ("process", process)] {
            rows.push(Row::new("regret", system, case, "wall", ms, "ms"));
        }
        for (system, ratio) in [("auto, warm", 1.02), ("auto, cold", 1.15)] {
            for (metric, factor) in [("", 1.0), (" low", 0.97), (" high", 1.06)] {
                let metric = format!("cost / better fixed mode{metric}");
                rows.push(Row::new("regret", system, case, &metric, ratio * factor, "ratio"));
            }
        }
        let metric = "bound cost / better fixed mode";
        rows.push(Row::new("regret", "auto, warm", case, metric, 1.1, "at most, ratio"));
    }
    rows
}

fn peers() -> Vec<Row> {
    let systems = [("amphi processes", 2e5), ("rayon", 3e5), ("procspawn", 1e4)];
    let row = |(system, rate)| Row::new("peers", system, "hash 64 KiB", "rate", rate, "tasks/s");
    std::iter::once(machine("peers", 0.0)).chain(systems.map(row)).collect()
}

/// A bench that the report was never told of.
fn unknown() -> Vec<Row> {
    let mut rows = vec![machine("zebra", 0.0)];
    for (system, value) in [("stripes", 3.0), ("spots", 5.0)] {
        rows.push(Row::new("zebra", system, "gallop", "rate", value, "jumps/s"));
        rows.push(Row::new("zebra", system, "gallop", "colour", value, "shades"));
    }
    rows
}

/// All of them; `offload`, `overhead` and `regret_mimalloc` are left out, to be told as missing.
pub(crate) fn all() -> Vec<(&'static str, Vec<Row>)> {
    vec![
        ("dispatch", dispatch()),
        ("crossover", crossover()),
        ("payload", payload()),
        ("memory", memory()),
        ("respawn", respawn()),
        ("peers", peers()),
        ("regret", regret()),
        ("zebra", unknown()),
    ]
}
