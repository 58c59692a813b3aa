//! What every bench of this house shares: flags, rounds, statistics, CPU time, memory, deadlines, work
//! of known length, peers in other languages, the table and the JSON file. A bench measures and fills
//! a [`Tally`]; everything printed is computed from it.
//!
//! # Rules
//! 1. Systems are measured **interleaved**: one slice of each in a round, many rounds in one run.
//! 2. A ratio is the median over rounds of the ratio *within* a round, printed with its spread.
//! 3. Nothing is hard-coded: a figure that was not taken in this run is not printed.

pub mod bound;
pub mod cpu;
pub mod deadline;
pub mod faults;
pub mod json;
pub mod machine;
pub mod memory;
pub mod options;
pub mod runtime;
pub mod stats;
pub mod table;
pub mod tally;
pub mod work;

pub use self::bound::Bound;
pub use self::json::Row;
pub use self::memory::Memory;
pub use self::options::Options;
pub use self::runtime::{Runtime, Script};
pub use self::stats::Spread;
pub use self::table::Table;
pub use self::tally::Tally;
