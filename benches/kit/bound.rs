//! What a figure should be: the bounds that the project set itself as reach.

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Reported only.
    None,
}

impl Bound {
    /// The word beside a figure; empty where there is no bound.
    pub fn verdict(self, value: f64) -> &'static str {
        let holds = match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
            Self::None => return "",
        };
        if holds { "holds" } else { "FAILS" }
    }

    /// The bound for a table, its value in the words of its figure.
    pub fn text(self, words: impl FnOnce(f64) -> String) -> String {
        match self {
            Self::AtMost(bound) => format!("≤ {}", words(bound)),
            Self::AtLeast(bound) => format!("≥ {}", words(bound)),
            Self::None => "–".to_owned(),
        }
    }

    /// Its value and, for a row's unit, which way it goes; `None` where there is none.
    pub const fn row(self) -> Option<(f64, &'static str)> {
        match self {
            Self::AtMost(bound) => Some((bound, "at most")),
            Self::AtLeast(bound) => Some((bound, "at least")),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_up_to_itself_and_says_so() {
        let (most, least) = (Bound::AtMost(1.5), Bound::AtLeast(1.5));
        assert_eq!([most.verdict(1.5), most.verdict(1.6)], ["holds", "FAILS"]);
        assert_eq!([least.verdict(1.5), least.verdict(1.4)], ["holds", "FAILS"]);
        assert_eq!((Bound::None.verdict(9.0), Bound::None.row()), ("", None));
        assert_eq!(least.text(|value| format!("{value} µs")), "≥ 1.5 µs");
        assert_eq!(most.row(), Some((1.5, "at most")));
    }
}
