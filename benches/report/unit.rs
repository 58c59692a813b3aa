//! Units of rows, brought to one base each, and how a figure is written for people.

/// What is measured. Its base: nanoseconds, bytes, things a second, a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dimension {
    Time,
    Bytes,
    Rate,
    Ratio,
    Other,
}

/// The unit of a row, understood as far as it can be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unit {
    pub(crate) dimension: Dimension,
    /// How many of the base one of this unit is.
    pub(crate) factor: f64,
    /// What stands behind the figure besides: ` a task`, ` tasks`.
    pub(crate) suffix: String,
}

impl Unit {
    /// `ns`, `µs/task`, `KiB`, `tasks/s`, `ratio`; anything else is left as it stands.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some(things) = text.strip_suffix("/s") {
            let (factor, what) = match things.split_once(' ') {
                Some((unit, rest)) => (prefix(unit).unwrap_or(1.0), rest),
                None => bytes(things).map_or((1.0, things), |factor| (factor, "B")),
            };
            return Self { dimension: Dimension::Rate, factor, suffix: what.trim().to_owned() };
        }
        let (unit, of) = match text.split_once('/') {
            Some((unit, of)) => (unit, format!(" a {of}")),
            None => (text, String::new()),
        };
        if let Some(factor) = nanoseconds(unit) {
            Self { dimension: Dimension::Time, factor, suffix: of }
        } else if let Some(factor) = bytes(unit) {
            Self { dimension: Dimension::Bytes, factor, suffix: of }
        } else if matches!(text, "ratio" | "x" | "×") {
            Self { dimension: Dimension::Ratio, factor: 1.0, suffix: String::new() }
        } else {
            let what = if text == "count" { "" } else { text };
            Self { dimension: Dimension::Other, factor: 1.0, suffix: what.to_owned() }
        }
    }

    /// The figure `base` (in the base of the dimension) with its unit.
    pub(crate) fn write(&self, base: f64) -> String {
        let suffix = &self.suffix;
        match self.dimension {
            Dimension::Time => format!("{}{suffix}", time(base)),
            Dimension::Bytes => format!("{}{suffix}", size(base)),
            Dimension::Rate if suffix == "B" => format!("{}/s", size(base)),
            Dimension::Rate => format!("{}/s", short(base)),
            Dimension::Ratio => ratio(base),
            Dimension::Other if suffix.is_empty() => short(base),
            Dimension::Other => format!("{} {suffix}", short(base)),
        }
    }
}

fn nanoseconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" | "sec" => 1e9,
        _ => return None,
    })
}

fn bytes(unit: &str) -> Option<f64> {
    Some(match unit {
        "B" | "byte" | "bytes" => 1.0,
        "kB" | "KB" => 1e3,
        "KiB" => 1024.0,
        "MB" => 1e6,
        "MiB" => 1024.0 * 1024.0,
        "GB" => 1e9,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    })
}

fn prefix(unit: &str) -> Option<f64> {
    Some(match unit {
        "k" => 1e3,
        "M" => 1e6,
        _ => return None,
    })
}

/// Every size and time that a name of a case tells, in bytes and in nanoseconds: `64 KiB, 10 µs`.
pub(crate) fn told_by(case: &str) -> (Option<f64>, Option<f64>) {
    let (mut size, mut time) = (None, None);
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let mut rest = case;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let digits = &rest[at..];
        let end = digits.find(|letter| !is_number(letter)).unwrap_or(digits.len());
        let (number, behind) = digits.split_at(end);
        let unit = behind.trim_start_matches([' ', '\u{a0}', '_', '-']);
        let unit = &unit[..unit.find(|letter: char| !letter.is_alphabetic()).unwrap_or(unit.len())];
        if let Ok(number) = number.parse::<f64>() {
            size = size.or_else(|| bytes(unit).map(|factor| number * factor));
            time = time.or_else(|| nanoseconds(unit).map(|factor| number * factor));
        }
        rest = behind;
    }
    (size, time)
}

/// A duration in the unit in which it is short.
pub(crate) fn time(ns: f64) -> String {
    let (value, unit) = match ns.abs() {
        abs if abs < 999.5 => (ns, "ns"),
        abs if abs < 999.5e3 => (ns / 1e3, "µs"),
        abs if abs < 999.5e6 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// A size in the binary unit in which it is short.
pub(crate) fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut index) = (bytes, 0);
    while value.abs() >= 1000.0 && index + 1 < units.len() {
        (value, index) = (value / 1024.0, index + 1);
    }
    format!("{} {}", digits(value), units[index])
}

/// A number with `k`, `M`, `G` for thousands.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        abs if abs < 9_999.5 => digits(value),
        abs if abs < 999.5e3 => format!("{} k", digits(value / 1e3)),
        abs if abs < 999.5e6 => format!("{} M", digits(value / 1e6)),
        _ => format!("{} G", digits(value / 1e9)),
    }
}

/// A ratio: two digits behind the point up to ten.
pub(crate) fn ratio(value: f64) -> String {
    match value.abs() {
        abs if abs < 0.095 => digits(value),
        abs if abs < 9.995 => format!("{value:.2}"),
        _ => digits(value),
    }
}

/// Three significant digits; a power of ten where that would be a long row of zeros.
pub(crate) fn digits(value: f64) -> String {
    let text = match value.abs() {
        0.0 => return "0".to_owned(),
        abs if !(1e-4..1e6).contains(&abs) => return format!("{value:.1e}"),
        abs if abs < 0.000_995 => format!("{value:.6}"),
        abs if abs < 0.009_95 => format!("{value:.5}"),
        abs if abs < 0.099_5 => format!("{value:.4}"),
        abs if abs < 0.995 => format!("{value:.3}"),
        abs if abs < 9.995 => format!("{value:.2}"),
        abs if abs < 99.95 => format!("{value:.1}"),
        _ => return format!("{value:.0}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(unit: &str, value: f64) -> String {
        let unit = Unit::parse(unit);
        unit.write(value * unit.factor)
    }

    #[test]
    fn units_come_to_one_base_and_are_written_short() {
        assert_eq!(written("ns", 640.0), "640 ns");
        assert_eq!(written("µs", 640.0), "640 µs");
        assert_eq!(written("ms/task", 0.0185), "18.5 µs a task");
        assert_eq!(written("KiB", 2048.0), "2 MiB");
        assert_eq!(written("tasks/s", 2.46e6), "2.46 M/s");
        assert_eq!(written("MiB/s", 3.0), "3 MiB/s");
        assert_eq!(written("ratio", 0.975), "0.97");
        assert_eq!(written("count", 12.0), "12");
        assert_eq!(written("descriptors", 4.0), "4 descriptors");
    }

    #[test]
    fn figures_of_any_length_have_few_letters() {
        for value in [0.0, 1e-300, 1e-4, 0.1234, 9.999, 99.99, 1e6, 1e300, f64::MAX] {
            for write in [time, size, short, ratio] {
                let text = write(value);
                assert!(text.chars().count() <= 13, "{value:e}: {text}");
            }
        }
        assert_eq!([digits(20.7), digits(100.0), digits(0.13)], ["20.7", "100", "0.13"]);
    }

    #[test]
    fn a_case_tells_its_size_and_its_time() {
        assert_eq!(told_by("64 KiB, 10 µs"), (Some(65536.0), Some(10e3)));
        assert_eq!(told_by("payload 1MiB service 2.5 ms"), (Some(1_048_576.0), Some(2.5e6)));
        assert_eq!(told_by("hot u64"), (None, None));
        assert_eq!(told_by("open 100/s"), (None, None));
        assert_eq!(told_by("0 B"), (Some(0.0), None));
    }
}
