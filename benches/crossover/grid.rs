//! The grid: how many bytes a task carries, how long it works, and how.

use std::time::Duration;

use amphi_benches::Options;

/// What is done with the work of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Arithmetic that anybody may run at any time.
    Plain,
    /// The same behind a key: one at a time in each process.
    Keyed,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::Keyed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Keyed => "not_thread_safe",
        }
    }
}

/// Bytes that a task carries there, as they are called.
pub(crate) const LENGTHS: [(&str, usize); 5] = [
    ("64 B", 64),
    ("1 KiB", 1 << 10),
    ("16 KiB", 16 << 10),
    ("256 KiB", 256 << 10),
    ("4 MiB", 4 << 20),
];

/// How long a task works, as it is called.
pub(crate) const SERVICES: [(&str, Duration); 5] = [
    ("1 µs", Duration::from_micros(1)),
    ("10 µs", Duration::from_micros(10)),
    ("100 µs", Duration::from_micros(100)),
    ("1 ms", Duration::from_millis(1)),
    ("10 ms", Duration::from_millis(10)),
];

/// Tasks in flight at most, and bytes of them.
const WINDOW: usize = 256;
const WINDOW_BYTES: usize = 64 << 20;

/// One cell: places in [`LENGTHS`] and [`SERVICES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) length: usize,
    pub(crate) service: usize,
}

impl Cell {
    /// The name in filters and in the JSON file.
    pub(crate) fn name(self) -> String {
        let (length, service) = (LENGTHS[self.length].0, SERVICES[self.service].0);
        format!("{}, {length}, {service}", self.kind.name())
    }

    /// How many of `count` tasks are in flight: enough to keep every core in work, few enough that
    /// most of a slice runs with all of them.
    pub(crate) fn window(self, count: usize, cores: usize) -> usize {
        let most = (WINDOW_BYTES / LENGTHS[self.length].1).min(WINDOW);
        (count / 4).clamp(2 * cores, most.max(2 * cores))
    }
}

/// How much of the grid is done, and how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
    /// Rounds: every ratio is a median over so many pairs.
    pub(crate) rounds: usize,
    pub(crate) cells: Vec<Cell>,
    /// What one slice should take in the slower place.
    pub(crate) slice: Duration,
    pub(crate) cores: usize,
}

impl Plan {
    pub(crate) fn of(options: &Options) -> Self {
        let quick = options.quick;
        let step = if quick { 2 } else { 1 };
        let mut cells = Vec::new();
        for kind in Kind::ALL {
            for length in (0..LENGTHS.len()).step_by(step) {
                for service in (0..SERVICES.len()).step_by(step) {
                    cells.push(Cell { kind, length, service });
                }
            }
        }
        cells.retain(|cell| options.wants_case(&cell.name()));
        Self {
            quick,
            rounds: options.rounds.unwrap_or(if quick { 4 } else { 12 }),
            cells,
            slice: Duration::from_millis(if quick { 40 } else { 240 }),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}
