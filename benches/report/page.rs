//! The report as one HTML page: nothing is loaded from elsewhere, no script, and the same bytes
//! also read as XML, so that the tests can take it apart with a strict parser.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use crate::chart::Family;
use crate::findings::{Finding, NEED, Verdict};
use crate::grid::Grid;
use crate::plots::{self, Plot, Section};
use crate::rows::Data;
use crate::{findings, machine};

/// Everything that the report says; the page and the Markdown are two ways to write it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) machine: Vec<(&'static str, String)>,
    pub(crate) machines: Grid,
    pub(crate) verdict: Verdict,
    pub(crate) map: Section,
    pub(crate) sections: Vec<Section>,
    /// Every figure of every bench.
    pub(crate) every: Vec<Grid>,
}

impl Report {
    /// From rows; `absent` says of benches why they have none.
    pub(crate) fn of(data: &Data, absent: &BTreeMap<String, String>) -> Self {
        let measured = data.runs.iter().filter(|run| !run.measures.is_empty());
        Self {
            machine: machine::line(data),
            machines: machine::grid(data),
            verdict: findings::of(data),
            map: plots::map(data, absent),
            sections: plots::sections(data, absent),
            every: measured.map(plots::every).collect(),
        }
    }

    /// The page.
    pub(crate) fn html(&self) -> String {
        let page = html! {
            (PreEscaped(HEAD))
            (PreEscaped("<style>")) (PreEscaped(STYLE)) (PreEscaped("</style>"))
            (PreEscaped("</head>"))
            body {
                a class="skip" href="#main" { "To the figures" }
                header {
                    h1 { "Threads or processes?" }
                    p class="sub" {
                        "What the benches of amphi measured: when a task belongs on a thread, and \
                         when in a forked process."
                    }
                    (machine_line(&self.machine))
                }
                (self.contents())
                main id="main" {
                    (self.first_screen())
                    @for section in &self.sections { (section_html(section)) }
                    (self.appendix())
                }
                footer {
                    p {
                        "Made by " code { "cargo run --release -p amphi-benches --bin report" }
                        " from the rows in " code { "amphi-bench" } " of cargo's target directory. "
                        code { "benches/README.md" } " says how each figure is taken."
                    }
                }
            }
            (PreEscaped("</html>"))
        };
        page.into_string()
    }

    fn contents(&self) -> Markup {
        html! {
            nav aria-label="Contents" {
                ul {
                    @for section in std::iter::once(&self.map).chain(&self.sections) {
                        li { a href={ "#" (section.id) } { (section.short) } }
                    }
                    li { a href="#every" { "Every figure" } }
                }
            }
        }
    }

    fn first_screen(&self) -> Markup {
        let Verdict { thread, process, cost } = &self.verdict;
        let need = [Finding { text: NEED.to_owned(), section: "" }];
        let process = need.iter().chain(process);
        html! {
            section id=(self.map.id) class="first all" aria-labelledby="first-title" {
                h2 id="first-title" { "In a minute" }
                div class="columns" {
                    div class="verdict" {
                        (card("thread", Family::Thread, "When a thread is right", thread.iter()))
                        (card("process", Family::Process, "When a process is right", process))
                    }
                    div class="map" {
                        @for plot in &self.map.plots { (figure(plot)) }
                        @if let Some(missing) = &self.map.missing {
                            p class="missing" { (marked(missing)) }
                        }
                    }
                    (card("cost", Family::Auto, "What the way costs", cost.iter()))
                }
            }
        }
    }

    fn appendix(&self) -> Markup {
        html! {
            section id="every" class="all" aria-labelledby="every-title" {
                h2 id="every-title" { "Every figure" }
                p class="lead" { "Where each bench was measured, and all that it wrote." }
                (self.machines.html("machines"))
                @for (index, grid) in self.every.iter().enumerate() {
                    details class="raw" {
                        summary { (grid.caption) " (" (grid.rows.len()) ")" }
                        (grid.html(&format!("every-{index}")))
                    }
                }
            }
        }
    }
}

/// Up to and into the head: `meta` and `link` are closed, as HTML allows and XML demands.
const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<link rel="icon" href="data:,"/>
<title>amphi: threads or processes?</title>
"#;

const STYLE: &str = include_str!("style.css");

fn machine_line(fields: &[(&str, String)]) -> Markup {
    html! {
        dl class="machine" {
            @for (name, value) in fields {
                @let class = value.starts_with("NOISE").then_some("noise");
                div class=[class] { dt { (name) } dd { (value) } }
            }
        }
    }
}

fn card<'a>(
    class: &str,
    family: Family,
    title: &str,
    findings: impl Iterator<Item = &'a Finding>,
) -> Markup {
    let mut findings = findings.peekable();
    html! {
        div class={ "card " (class) } {
            h3 { span class="glyph" aria-hidden="true" { (family.glyph()) } " " (title) }
            @if findings.peek().is_none() {
                p { "No figures say so yet; the parts below tell how to get them." }
            } @else {
                ul {
                    @for finding in findings {
                        li {
                            (unbroken(&finding.text))
                            @if !finding.section.is_empty() {
                                " " a href={ "#" (finding.section) } { (finding.section) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn section_html(section: &Section) -> Markup {
    let title = format!("{}-heading", section.id);
    html! {
        section id=(section.id) class=(columns(section)) aria-labelledby=(title) {
            h2 id=(title) { (section.title) }
            @if let Some(missing) = &section.missing {
                p class="missing" { (marked(missing)) }
            } @else {
                p class="lead" { (marked(section.lead)) }
                div class="plots" { @for plot in &section.plots { (figure(plot)) } }
            }
        }
    }
}

/// How many columns of the page a part takes.
fn columns(section: &Section) -> &'static str {
    match section.plots.len() {
        0 | 1 => "one",
        2 => "two",
        _ => "all",
    }
}

fn figure(plot: &Plot) -> Markup {
    html! {
        figure id=(plot.id) class="plot" {
            figcaption {
                h3 { (plot.title) }
                @if !plot.about.is_empty() { p { (plot.about) } }
            }
            (plot.svg)
            details {
                summary { "The figures as a table" }
                (plot.grid.html(&format!("{}-table", plot.id)))
            }
        }
    }
}

/// Text whose figures stay in one line with their units.
fn unbroken(text: &str) -> String {
    const UNITS: [&str; 9] = ["ns", "µs", "ms", "s", "B", "KiB", "MiB", "GiB", "TiB"];
    let mut words = text.split(' ').peekable();
    let mut joined = String::with_capacity(text.len() + 16);
    while let Some(word) = words.next() {
        joined.push_str(word);
        let Some(next) = words.peek() else { break };
        let is_unit =
            UNITS.contains(&next.trim_end_matches(|letter: char| !letter.is_alphabetic()));
        let is_figure = word.ends_with(|letter: char| letter.is_ascii_digit());
        joined.push(if is_figure && is_unit { '\u{a0}' } else { ' ' });
    }
    joined
}

/// Text in which what stands between backticks is code, of which no word is broken: at a hyphen of a
/// flag a browser would.
fn marked(text: &str) -> Markup {
    html! {
        @for (index, piece) in text.split('`').enumerate() {
            @if index % 2 == 1 {
                code {
                    @for (index, word) in piece.split(' ').enumerate() {
                        @if index > 0 { " " }
                        span { (word) }
                    }
                }
            } @else { (piece) }
        }
    }
}
