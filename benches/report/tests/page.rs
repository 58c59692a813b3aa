//! What stands in the page, by a strict parser: it also reads as XML.

use std::collections::BTreeSet;

use amphi_benches::Row;
use roxmltree::{Document, Node, ParsingOptions};

use crate::fixture::{self, COMMIT, KERNEL, ODD};

const SVG: &str = "http://www.w3.org/2000/svg";

fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}"))
}

fn elements<'a>(document: &'a Document<'_>, name: &str) -> Vec<Node<'a, 'a>> {
    let found = document.root_element().descendants();
    // The lifetimes of a document and of its text are one here.
    found.filter(|node| node.is_element() && node.tag_name().name() == name).collect()
}

/// All text below a node.
fn text(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect()
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn classed<'a>(node: Node<'a, 'a>, class: &str) -> Vec<Node<'a, 'a>> {
    node.descendants().filter(|node| node.attribute("class") == Some(class)).collect()
}

#[test]
fn every_plot_can_be_read_without_being_seen() {
    let (page, _) = fixture::made(&fixture::all());
    let document = parse(&page);
    let plots = elements(&document, "svg");
    // crossover 3, latency 3, throughput 1, payload 1, memory 6, respawn 1, peers 1, regret 1, zebra 1
    assert_eq!(plots.len(), 18);
    for svg in &plots {
        assert_eq!(svg.tag_name().namespace(), Some(SVG));
        assert_eq!(svg.attribute("role"), Some("img"));
        let named: Vec<&str> = svg.attribute("aria-labelledby").unwrap().split(' ').collect();
        for (name, id) in ["title", "desc"].into_iter().zip(named) {
            let told = child(*svg, name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(told.attribute("id"), Some(id));
            assert!(text(told).len() > 3, "{name} of {id}: {:?}", text(told));
        }
        let view: Vec<f64> =
            svg.attribute("viewBox").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        assert!(matches!(view[..], [0.0, 0.0, 300.0..=400.0, 50.0..=900.0]), "{view:?}");
    }
    let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), distinct.len(), "an id stands twice");
    for link in elements(&document, "a") {
        let target = link.attribute("href").unwrap().strip_prefix('#').expect("links stay here");
        assert!(distinct.contains(target), "{target} leads nowhere");
    }
}

#[test]
fn every_axis_has_a_title_and_a_unit() {
    let (page, _) = fixture::made(&fixture::all());
    let document = parse(&page);
    let units =
        [" ns", " µs", " ms", " s", " B", "KiB", "MiB", "bytes", "ratio", "a second", "number"];
    for svg in elements(&document, "svg") {
        let axes: Vec<String> = classed(svg, "axis-title").into_iter().map(text).collect();
        assert!(!axes.is_empty(), "{} has no axis", text(child(svg, "title").unwrap()));
        for axis in axes {
            assert!(units.iter().any(|unit| axis.contains(unit)), "{axis:?} has no unit");
        }
    }
}

#[test]
fn nothing_is_asked_of_anybody_else() {
    let (page, _) = fixture::made(&fixture::all());
    let document = parse(&page);
    let page = page.replace(&format!("xmlns=\"{SVG}\""), "");
    for word in ["http:", "https:", "//", "@import", "<script", "javascript:"] {
        assert_eq!(page.find(word), None, "{word}");
    }
    let policy = elements(&document, "meta").into_iter().find_map(|meta| {
        let is_policy = meta.attribute("http-equiv") == Some("Content-Security-Policy");
        meta.attribute("content").filter(|_| is_policy)
    });
    assert_eq!(policy, Some("default-src 'none'; style-src 'unsafe-inline'; img-src data:"));
    for node in document.descendants() {
        for attribute in node.attributes() {
            assert!(!attribute.name().starts_with("on"), "{attribute:?}");
            assert!(attribute.name() != "src", "{attribute:?}");
            let value = attribute.value();
            assert!(!value.contains("url(") || value.starts_with("url(#"), "{attribute:?}");
        }
    }
}

#[test]
fn a_table_stands_behind_every_plot() {
    let (page, markdown) = fixture::made(&fixture::all());
    let document = parse(&page);
    for figure in elements(&document, "figure") {
        let details = child(figure, "details").expect("a figure has details");
        assert_eq!(details.descendants().filter(|n| n.tag_name().name() == "table").count(), 1);
    }
    let tables = elements(&document, "table");
    assert!(tables.len() > 20, "{}", tables.len());
    for table in &tables {
        assert!(text(child(*table, "caption").unwrap()).len() > 3);
        for cell in table.descendants().filter(|node| node.tag_name().name() == "th") {
            assert!(matches!(cell.attribute("scope"), Some("col" | "row")));
        }
        let lengths: BTreeSet<usize> = table
            .descendants()
            .filter(|node| node.tag_name().name() == "tr")
            .map(|row| row.children().filter(Node::is_element).count())
            .collect();
        assert_eq!(lengths.len(), 1, "{}: rows of {lengths:?} cells", text(*table));
    }
    let rules = markdown.lines().filter(|line| line.starts_with("|---")).count();
    assert_eq!(rules, tables.len(), "both forms have the same tables");
}

#[test]
fn the_first_screen_is_computed_from_the_figures() {
    let (page, markdown) = fixture::made(&fixture::all());
    let document = parse(&page);
    let first = classed(document.root_element(), "first all").pop().unwrap();
    let told = text(first).replace('\u{a0}', " ");
    for sentence in [
        "200 ns on a thread and 600 ns in a process while all are awake; 6 µs and 18 µs when",
        "more for plain work shorter than 10 µs with 64 B, 1 ms with 64 KiB, 10 ms with 1 MiB; and \
         even for 10 ms with 16 MiB.",
        "Most of all 4001 times as much, with 16 MiB and 1 µs of work.",
        "at most a tenth more for plain work from 10 µs with 64 B, 1 ms with 64 KiB, 10 ms with 1 MiB on.",
        "It costs 0.80 of a thread at best, with 64 B and 1 ms of work.",
        "keyed work: clearly cheaper in processes in 10 of 20 cells of its map, at best 0.50",
        "more in processes than on threads: payload 6×.",
        "(as a share of threads): keyed 0.50.",
        "1.02 (hash) to 1.02 (keyed) of what the better fixed mode costs, over 3 workloads",
        "(burst, 1 KiB kept): of 512 MiB workers keep 4 MiB once they are replaced; with threads 128",
        "Each further worker has 1.4 MiB for itself (USS), a thread 71.7 KiB.",
        "After a worker is killed, its successor answers in 1.2 ms (killed idle).",
    ] {
        assert!(told.contains(sentence), "{sentence:?} is not in {told}");
        assert!(markdown.contains(sentence), "{sentence:?} is not in {markdown}");
    }
    let cells = classed(first, "cell");
    assert_eq!(cells.len(), 20);
    assert!(cells.iter().any(|cell| text(*cell) == "0.80"));
    let machine = text(classed(document.root_element(), "machine").pop().unwrap());
    for word in [KERNEL, COMMIT, "Fixture CPU", "NOISE", "regret (0.60)"] {
        assert!(machine.contains(word), "{word} is not in {machine}");
    }
}

#[test]
fn what_nobody_has_drawn_is_there_all_the_same() {
    let (page, markdown) = fixture::made(&fixture::all());
    let document = parse(&page);
    let body = text(document.root_element());
    for word in [ODD, "zebra", "gallop", "3 shades", "stripes", "p50 / rayon spawn + channel"] {
        assert!(body.contains(word), "{word} is not in the page");
    }
    assert!(markdown.contains("peer &lt;b&gt;&amp;amp; \"quoted\" 'single' \\| \\] \\` \\\\ end"));
    for bench in ["offload", "overhead", "regret_mimalloc"] {
        let how = format!("cargo bench -p amphi-benches --bench {bench} -- --quick");
        assert!(body.contains(&how), "nobody says how to get {bench}");
    }
    assert!(!body.contains("--bench dispatch -- --quick"), "dispatch is there");
}

#[test]
fn one_bench_alone_makes_a_whole_report() {
    for (bench, rows) in fixture::all() {
        let (page, markdown) = fixture::made(&[(bench, rows)]);
        let document = parse(&page);
        assert!(!elements(&document, "svg").is_empty(), "{bench}");
        let body = text(document.root_element());
        assert!(body.contains("cargo bench -p amphi-benches"), "{bench}");
        assert!(markdown.contains("## Every figure"), "{bench}");
    }
}

#[test]
fn figures_of_any_size_leave_the_page_whole() {
    let mut rows = Vec::new();
    for (index, value) in
        [0.0, -1.0, 5e-324, 1e-300, 1.0, 1e18, 1e300, f64::MAX].into_iter().enumerate()
    {
        let system = format!("amphi threads {index} {}", "long ".repeat(index * 20));
        for (bench, case, metric, unit) in [
            ("dispatch", "hot u64", "p50", "ns"),
            ("dispatch", "hot u64", "p99", "s"),
            ("dispatch", "hot u64", "cpu", "ns/task"),
            ("dispatch", "pipelined u64", "rate", "tasks/s"),
            ("memory", "1 worker", "rss", "GiB"),
            ("regret", "hash", "cost / better fixed mode", "ratio"),
            ("regret", "hash", "cost / better fixed mode high", "ratio"),
            ("payload", "1 KiB", "p50", "ns"),
            ("payload", "0 B", "p50", "ns"),
            ("payload", "999999999999999999 GiB", "p50", "ns"),
        ] {
            rows.push(Row::new(bench, &system, case, metric, value, unit));
        }
        let case = format!("{index} GiB, {value} s");
        rows.push(Row::new(
            "crossover",
            "amphi processes",
            &case,
            "wall / threads",
            value,
            "ratio",
        ));
    }
    let (page, markdown) = fixture::made(&[("all", rows)]);
    let document = parse(&page);
    assert!(elements(&document, "svg").len() >= 5);
    for svg in elements(&document, "svg") {
        for attribute in svg.descendants().flat_map(|node| node.attributes().collect::<Vec<_>>()) {
            let value = attribute.value();
            assert!(!value.contains("NaN") && !value.contains("inf"), "{attribute:?}");
        }
        for label in svg.descendants().filter(|node| node.tag_name().name() == "text") {
            assert!(text(label).chars().count() < 60, "{:?}", text(label));
        }
    }
    assert!(!markdown.contains("NaN"), "{markdown}");
}
