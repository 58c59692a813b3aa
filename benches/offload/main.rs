//! What `offload hash` costs beside the tools that people use: whole commands, start included, on
//! files that this bench makes itself and keeps in cargo's target directory.
//!
//! `cargo bench -p amphi-benches --bench offload [-- --quick]`

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use amphi_benches::cpu::ended_children;
use amphi_benches::machine::{self, Neighbours};
use amphi_benches::options::{self, Options};
use amphi_benches::table::ratio;
use amphi_benches::{Table, Tally};
use serde_json::json;

const BENCH: &str = "offload";
const LARGE: &str = "BLAKE3, one large file";
const SMALL: &str = "SHA-256, 2000 files of 1 to 64 KiB";
const PLACES: [&str; 3] = ["thread", "auto", "process"];

/// One command line of the comparison.
struct System {
    name: String,
    case: &'static str,
    /// Run by `sh`, in the folder of the files.
    line: String,
    /// The most that it may take, as a multiple of the case's peer.
    bound: Option<f64>,
}

fn main() -> ExitCode {
    options::main(BENCH, run)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let offload = build()?;
    let files = Files::make(if options.quick { 256 << 20 } else { 1 << 30 })?;
    let systems = systems(&offload, options);
    let rounds = options.rounds.unwrap_or(if options.quick { 4 } else { 12 });

    let mut machine = machine::describe();
    let neighbours = Neighbours::watch();
    let mut tally = Tally::new();
    for system in &systems {
        time(system, &files)?; // fills the caches
    }
    for round in 0..rounds {
        options::round_begins(round, rounds);
        for turn in 0..systems.len() {
            let system = &systems[(turn + round) % systems.len()];
            let (wall, cpu) = time(system, &files)?;
            tally.add(round, (&system.name, system.case, "wall"), wall * 1e9, "ns");
            tally.add(round, (&system.name, system.case, "cpu"), cpu * 1e9, "ns");
        }
    }
    options::end_of_rounds();
    machine::note_run(&mut machine, &neighbours, options.quick, rounds);
    machine.insert("large_file_bytes".to_owned(), json!(files.large_bytes));

    let rows = tally.rows(BENCH);
    options.publish(BENCH, rows, &machine, || {
        println!("\n{}", machine::headline(BENCH, &machine));
        report(&tally, &systems, files.large_bytes);
    })?;
    Ok(())
}

/// The example, built in the profile of this bench.
fn build() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", "amphi-examples", "--example", "offload"])
        .arg("--target-dir")
        .arg(target()?)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !status.success() {
        return Err("building the example failed".into());
    }
    Ok(target()?.join("release/examples/offload"))
}

/// Cargo puts a bench into `TARGET/PROFILE/deps`.
fn target() -> Result<PathBuf, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(3).ok_or("this program is not where cargo puts benches")?.into())
}

/// The files that are hashed.
struct Files {
    folder: PathBuf,
    large_bytes: u64,
}

impl Files {
    fn make(large_bytes: u64) -> Result<Self, Box<dyn Error>> {
        let folder = target()?.join("amphi-bench/files");
        let small = folder.join("small");
        fs::create_dir_all(&small)?;
        let mut bytes = noise();
        let large = folder.join("large");
        if fs::metadata(&large).map_or(0, |found| found.len()) != large_bytes {
            let mut left = large_bytes;
            let mut out = std::io::BufWriter::new(fs::File::create(&large)?);
            while left > 0 {
                let piece = left.min(bytes.len() as u64);
                bytes[0] = bytes[0].wrapping_add(1);
                std::io::Write::write_all(&mut out, &bytes[..usize::try_from(piece)?])?;
                left -= piece;
            }
        }
        for index in 0..2000_usize {
            let path = small.join(format!("{index:04}"));
            if !path.exists() {
                let length = 1024 + index * 7919 % (63 << 10);
                fs::write(path, &bytes[index..index + length])?;
            }
        }
        Ok(Self { folder, large_bytes })
    }
}

/// A mebibyte that nothing on the way could shorten (xorshift, Marsaglia 2003).
fn noise() -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..1 << 17).flat_map(|_| next().to_le_bytes()).collect()
}

fn systems(offload: &Path, options: &Options) -> Vec<System> {
    let offload = offload.display();
    let mut all = vec![
        System::peer("b3sum", LARGE, "b3sum large".to_owned()),
        System::peer("xargs -P2 sha256sum", SMALL, list("xargs -P2 sha256sum")),
        System::peer("xargs -P2 -n500 sha256sum", SMALL, list("xargs -P2 -n500 sha256sum")),
    ];
    for place in PLACES {
        let bound = if place == "process" { 1.3 } else { 1.1 };
        let line = format!("{offload} hash --algorithm blake3 --place {place} large");
        // The bound is one of a gibibyte; on less, the start of the program counts for more.
        let bound = (!options.quick).then_some(bound);
        all.push(System { bound, ..System::peer(&amphi(place), LARGE, line) });
        let line = format!("{offload} hash --recursive --place {place} small");
        all.push(System { bound: Some(1.0), ..System::peer(&amphi(place), SMALL, line) });
    }
    all.retain(|system| options.wants_system(&system.name) && options.wants_case(system.case));
    let missing = |tool: &str| Command::new(tool).arg("--version").output().is_err();
    for tool in ["b3sum", "sha256sum", "xargs"].into_iter().filter(|tool| missing(tool)) {
        eprintln!("{tool} is not installed: what needs it is left out");
        all.retain(|system| !system.name.contains(tool));
    }
    all
}

fn amphi(place: &str) -> String {
    format!("offload, {place}")
}

fn list(command: &str) -> String {
    format!("ls -d small/* | {command}")
}

impl System {
    fn peer(name: &str, case: &'static str, line: String) -> Self {
        Self { name: name.to_owned(), case, line, bound: None }
    }
}

/// Wall and processor seconds of one run.
fn time(system: &System, files: &Files) -> Result<(f64, f64), Box<dyn Error>> {
    let before = ended_children();
    let start = Instant::now();
    let status = Command::new("sh")
        .args(["-c", &system.line])
        .current_dir(&files.folder)
        .stdout(Stdio::null())
        .status()?;
    let wall = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(format!("{}: {status}", system.line).into());
    }
    Ok((wall, (ended_children() - before).as_secs_f64()))
}

/// One table a case: medians, and the ratio to the case's first system with its spread.
fn report(tally: &Tally, systems: &[System], large_bytes: u64) {
    println!("\nlarge file: {} MiB; times are medians", large_bytes >> 20);
    for case in [LARGE, SMALL] {
        let of_case: Vec<&System> = systems.iter().filter(|system| system.case == case).collect();
        let Some(peer) = of_case.first() else { continue };
        let head = [case, "wall ms", "CPU ms", "ratio to the first", "bound", "reached"];
        let mut table = Table::new(head);
        for system in &of_case {
            let of = |metric| tally.spread(&system.name, case, metric);
            let ms = |metric| of(metric).map_or(f64::NAN, |spread| spread.median / 1e6);
            let pair = ((&*system.name, case, "wall"), (&*peer.name, case, "wall"));
            let Some(spread) = tally.ratio(pair.0, pair.1) else { continue };
            let text = |value| ratio(value);
            table.push([
                system.name.clone(),
                format!("{:.0}", ms("wall")),
                format!("{:.0}", ms("cpu")),
                format!("{} ({}–{})", text(spread.median), text(spread.min), text(spread.max)),
                system.bound.map_or_else(|| "–".to_owned(), |bound| format!("≤ {}", ratio(bound))),
                system
                    .bound
                    .map_or("", |bound| if spread.median <= bound { "yes" } else { "NO" })
                    .to_owned(),
            ]);
        }
        print!("\n{table}");
    }
}
