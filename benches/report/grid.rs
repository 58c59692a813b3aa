//! A table of figures, as HTML and as Markdown.

use maud::{Markup, html};

/// Rows of cells under a head; the first cell of a row names it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Grid {
    pub(crate) caption: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// What stands where nothing was measured.
pub(crate) const NONE: &str = "–";

impl Grid {
    /// An empty table with these column titles.
    pub(crate) fn new<S: Into<String>>(
        caption: impl Into<String>,
        head: impl IntoIterator<Item = S>,
    ) -> Self {
        let head = head.into_iter().map(Into::into).collect();
        Self { caption: caption.into(), head, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn push<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Takes away the columns, but the first, in which no row has anything.
    pub(crate) fn without_empty_columns(mut self) -> Self {
        let keep: Vec<bool> = (0..self.head.len())
            .map(|column| {
                let says = |row: &Vec<String>| row.get(column).is_some_and(|cell| cell != NONE);
                column == 0 || self.rows.iter().any(says)
            })
            .collect();
        for row in std::iter::once(&mut self.head).chain(&mut self.rows) {
            let mut column = 0;
            row.retain(|_| {
                column += 1;
                keep.get(column - 1).copied().unwrap_or(true)
            });
        }
        self
    }

    /// A table in a box of its own, which scrolls where the page is narrower; `id` names the box.
    pub(crate) fn html(&self, id: &str) -> Markup {
        html! {
            div class="scroll" role="region" tabindex="0" aria-labelledby={ (id) "-caption" } {
                table {
                    caption id={ (id) "-caption" } { (self.caption) }
                    thead { tr { @for cell in &self.head { th scope="col" { (cell) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (column, cell) in row.iter().enumerate() {
                                    @if column == 0 { th scope="row" { (cell) } }
                                    @else { td { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// The same as a table of Markdown, under its caption.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}:\n\n", escape(&self.caption));
        let mut line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        };
        line(&self.head);
        let rule: Vec<&str> =
            (0..self.head.len()).map(|column| if column == 0 { "---" } else { "--:" }).collect();
        text.push_str(&format!("|{}|\n", rule.join("|")));
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        text
    }
}

/// A text that Markdown shows as it is.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '[' | ']' | '~' => escaped.extend(['\\', letter]),
            '\n' | '\r' => escaped.push(' '),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_keep_odd_names_and_drop_empty_columns() {
        let mut grid = Grid::new("a <b>", ["system", "none", "p50"]);
        grid.push(["x | \"y\" & <z>", NONE, "1 µs"]);
        let grid = grid.without_empty_columns();
        assert_eq!(
            grid.markdown(),
            "a &lt;b&gt;:\n\n| system | p50 |\n|---|--:|\n| x \\| \"y\" &amp; &lt;z&gt; | 1 µs |\n"
        );
        let html = grid.html("t").into_string();
        assert!(
            html.contains("<th scope=\"row\">x | &quot;y&quot; &amp; &lt;z&gt;</th>"),
            "{html}"
        );
        assert!(html.contains("<th scope=\"col\">p50</th>"), "{html}");
    }
}
