//! A table of text: the first column to the left, the others to the right.

use std::fmt;

/// Rows of cells under a head.
#[derive(Debug, Clone, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these column titles.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells stay empty.
    pub fn push<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// True without a row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    /// Markdown, so that a run can be pasted into a README as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |f: &mut fmt::Formatter<'_>, row: &[String]| {
            for (column, &width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                if column == 0 {
                    write!(f, "| {cell:<width$} |")?;
                } else {
                    write!(f, " {cell:>width$} |")?;
                }
            }
            writeln!(f)
        };
        line(f, &self.head)?;
        for (column, &width) in widths.iter().enumerate() {
            if column == 0 {
                write!(f, "|{:-<width$}--|", "")?;
            } else {
                write!(f, "{:-<width$}-:|", "")?;
            }
        }
        writeln!(f)?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

/// A duration of so many nanoseconds, in microseconds, with three significant digits or so.
pub fn micros(ns: f64) -> String {
    let us = ns / 1000.0;
    match us {
        _ if us < 10.0 => format!("{us:.2}"),
        _ if us < 100.0 => format!("{us:.1}"),
        _ => format!("{us:.0}"),
    }
}

/// A rate of so many a second, in thousands or millions.
pub fn rate(per_second: f64) -> String {
    if per_second >= 1e6 {
        format!("{:.2} M", per_second / 1e6)
    } else {
        format!("{:.1} k", per_second / 1e3)
    }
}

/// A ratio, with two or three significant digits.
pub fn ratio(value: f64) -> String {
    match value {
        _ if value < 0.01 => format!("{value:.4}"),
        _ if value < 0.1 => format!("{value:.3}"),
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["a", "bb"]);
        table.push(["x µs", "1"]);
        table.push(["y"]);
        let text = table.to_string();
        assert_eq!(text, "| a    | bb |\n|------|---:|\n| x µs |  1 |\n| y    |    |\n");
    }

    #[test]
    fn figures_keep_their_digits() {
        assert_eq!(micros(123.0), "0.12");
        assert_eq!(micros(41_230.0), "41.2");
        assert_eq!(micros(3_074_000.0), "3074");
        assert_eq!((rate(4.7e6).as_str(), rate(16_500.0).as_str()), ("4.70 M", "16.5 k"));
        assert_eq!([ratio(0.0123), ratio(0.5), ratio(36.12)], ["0.012", "0.50", "36.1"]);
    }
}
