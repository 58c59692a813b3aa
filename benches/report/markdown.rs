//! The report as Markdown: the same sentences and tables, for places that show no SVG.

use crate::findings::{Finding, NEED};
use crate::grid::escape;
use crate::page::Report;
use crate::plots::Section;

impl Report {
    /// The whole report.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Threads or processes?\n\n");
        for (name, value) in &self.machine {
            text.push_str(&format!("- {name}: {}\n", escape(value)));
        }
        text.push_str("\n## In a minute\n");
        let need = [Finding { text: NEED.to_owned(), section: "" }];
        let process: Vec<&Finding> = need.iter().chain(&self.verdict.process).collect();
        list(&mut text, "When a thread is right", self.verdict.thread.iter());
        list(&mut text, "When a process is right", process.into_iter());
        list(&mut text, "What the way costs", self.verdict.cost.iter());
        section(&mut text, &self.map);
        for part in &self.sections {
            section(&mut text, part);
        }
        text.push_str("\n## Every figure\n\n");
        text.push_str(&self.machines.markdown());
        for grid in &self.every {
            text.push_str(&format!("\n### {}\n\n{}", escape(&grid.caption), grid.markdown()));
        }
        text
    }
}

fn list<'a>(text: &mut String, title: &str, findings: impl Iterator<Item = &'a Finding>) {
    text.push_str(&format!("\n**{title}**\n\n"));
    let before = text.len();
    for finding in findings {
        text.push_str(&format!("- {}", escape(&finding.text)));
        if !finding.section.is_empty() {
            text.push_str(&format!(" ({})", finding.section));
        }
        text.push('\n');
    }
    if text.len() == before {
        text.push_str("No figures say so yet; the parts below tell how to get them.\n");
    }
}

fn section(text: &mut String, section: &Section) {
    text.push_str(&format!("\n## {}\n", section.title));
    if let Some(missing) = &section.missing {
        text.push_str(&format!("\n{missing}\n"));
        return;
    }
    if !section.lead.is_empty() {
        text.push_str(&format!("\n{}\n", section.lead));
    }
    for plot in &section.plots {
        text.push_str(&format!("\n### {}\n", escape(&plot.title)));
        if !plot.about.is_empty() {
            text.push_str(&format!("\n{}\n", escape(&plot.about)));
        }
        text.push_str(&format!("\n{}", plot.grid.markdown()));
    }
}
