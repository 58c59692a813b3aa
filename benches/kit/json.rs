//! The JSON file of a run: an array of flat rows, one figure each, and one row for the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// One row of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(Map<String, Value>);

impl Row {
    /// A figure.
    pub fn new(
        bench: &str,
        system: &str,
        case: &str,
        metric: &str,
        value: f64,
        unit: &str,
    ) -> Self {
        let mut row = Map::new();
        for (key, text) in
            [("bench", bench), ("system", system), ("case", case), ("metric", metric)]
        {
            row.insert(key.to_owned(), json!(text));
        }
        row.insert("value".to_owned(), json!(round(value)));
        row.insert("unit".to_owned(), json!(unit));
        Self(row)
    }

    /// The row that says where the figures were taken: `"system": "machine"` and free fields.
    pub fn machine(bench: &str, fields: Map<String, Value>) -> Self {
        let mut row = Map::new();
        row.insert("bench".to_owned(), json!(bench));
        row.insert("system".to_owned(), json!("machine"));
        row.extend(fields);
        Self(row)
    }
}

/// Six significant digits are more than any of these figures deserves.
fn round(value: f64) -> f64 {
    if !value.is_finite() || value == 0.0 {
        return 0.0;
    }
    let scale = 10f64.powf(5.0 - value.abs().log10().floor());
    let rounded = (value * scale).round() / scale;
    // At the ends of what a number can be, the scale cannot.
    if rounded.is_finite() { rounded } else { value }
}

/// The rows as a JSON array, one row a line.
pub fn text(rows: &[Row]) -> String {
    let lines: Vec<String> =
        rows.iter().map(|row| format!("  {}", Value::Object(row.0.clone()))).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// Writes the rows to `amphi-bench/NAME.json` in cargo's target directory and says where.
///
/// # Errors
/// If the directory or the file cannot be written.
pub fn write(name: &str, rows: &[Row]) -> io::Result<PathBuf> {
    let folder = target_dir().join("amphi-bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, text(rows))?;
    Ok(path)
}

/// Cargo puts a bench into `TARGET/PROFILE/deps`.
pub fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let deps = program.parent().filter(|folder| folder.ends_with("deps"));
    deps.and_then(Path::parent)
        .and_then(Path::parent)
        .map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_flat_and_one_a_line() {
        let rows = [
            Row::new("b", "s \"q\"", "c", "p50", 1_234.567_8, "ns"),
            Row::machine("b", Map::from_iter([("cores".to_owned(), json!(2))])),
        ];
        let text = text(&rows);
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed[0]["system"], "s \"q\"");
        assert_eq!(parsed[0]["value"], 1234.57);
        assert_eq!(parsed[1]["system"], "machine");
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn rounding_keeps_zero_and_drops_what_is_no_number() {
        assert_eq!([round(0.0), round(f64::NAN), round(0.123_456_789)], [0.0, 0.0, 0.123_457]);
        assert_eq!([round(1.5e308), round(5e-324)], [1.5e308, 5e-324]);
    }
}
