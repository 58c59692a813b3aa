//! The page as Chromium lays it out, on a phone, a tablet, a desktop and on paper, light and dark.

use serde_json::{Value, json};

use crate::devtools::{self, Browser};
use crate::fixture::{self, Room};

const WIDTHS: [u32; 3] = [360, 820, 1400];
const SCHEMES: [&str; 2] = ["light", "dark"];

/// What is laid out badly: a list of sentences. Texts of plots must lie in their plot, apart from
/// each other and large enough to be read; nothing may make the page wider than the screen.
const LAYOUT: &str = r#"(() => {
    const found = [], width = innerWidth, root = document.documentElement;
    if (Math.max(root.scrollWidth, document.body.scrollWidth) > width)
        found.push(`the page is ${root.scrollWidth} wide on a screen of ${width}`);
    const clips = node => node && (getComputedStyle(node).overflowX !== "visible" || clips(node.parentElement));
    for (const node of document.querySelectorAll("body *")) {
        const box = node.getBoundingClientRect();
        if (box.width && (box.right > width + 1 || box.left < -1) && !clips(node.parentElement) && !node.matches(".skip"))
            found.push(`${node.tagName} reaches from ${box.left} to ${box.right}`);
    }
    for (const svg of document.querySelectorAll("svg")) {
        const frame = svg.getBoundingClientRect(), scale = frame.width / svg.viewBox.baseVal.width;
        const texts = [...svg.querySelectorAll("text")].map(node => ({
            said: node.textContent, box: node.getBoundingClientRect(),
            size: parseFloat(getComputedStyle(node).fontSize) * scale }));
        texts.forEach(({said, box, size}, index) => {
            if (box.left < frame.left - 1 || box.right > frame.right + 1
                || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
                found.push(`${svg.querySelector("title").textContent}: "${said}" is cut`);
            if (size < 8) found.push(`"${said}" is ${size} pixels high`);
            for (const other of texts.slice(index + 1)) {
                const wide = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
                const high = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
                if (wide > 1 && high > 4) found.push(`"${said}" overlaps "${other.said}"`);
            }
        });
    }
    return found;
})()"#;

/// Colours that cannot be told apart: text needs 4.5 : 1, marks 3 : 1 (WCAG 2.2, 1.4.3 and 1.4.11).
const CONTRAST: &str = r#"(() => {
    const style = getComputedStyle(document.documentElement);
    const light = name => {
        const hex = style.getPropertyValue("--" + name).trim();
        const [r, g, b] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
    const found = [];
    const check = (names, grounds, least) => {
        for (const name of names) for (const ground of grounds)
            if (!(ratio(name, ground) >= least)) found.push(`${name} on ${ground}: ${ratio(name, ground)}`);
    };
    check(["ink", "soft", "link", "noise"], ["card", "ground"], 4.5);
    check(["ink"], ["p3", "p2", "p1", "even", "t1", "t2", "t3"], 4.5);
    check(["thread", "thread-1", "thread-2", "process", "process-1", "process-2", "process-3",
        "process-4", "process-5", "auto", "peer", "floor"], ["card"], 3);
    return found;
})()"#;

/// On paper tables are open and colours those of paper.
const PAPER: &str = r#"(() => {
    const found = [];
    for (const table of document.querySelectorAll(".plot table"))
        if (!table.checkVisibility({contentVisibilityAuto: true}) || !table.getBoundingClientRect().height)
            found.push(`"${table.caption.textContent}" is not printed`);
    const ink = getComputedStyle(document.body).color;
    if (ink !== "rgb(27, 33, 38)") found.push(`letters are ${ink}`);
    return found;
})()"#;

fn list(found: &Value) -> Vec<&str> {
    found.as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// What a page tells that it should not: requests to anything but itself, errors, exceptions.
fn complaints(told: &[Value], address: &str) -> Vec<String> {
    let complaint = |event: &Value| {
        let params = &event["params"];
        let is_own = |url: &str| url == address || url.starts_with("data:");
        match event["method"].as_str()? {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str()?;
                (!is_own(url)).then(|| format!("it asks for {url}"))
            }
            "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" => Some(params["args"].to_string()),
            "Log.entryAdded" => Some(params["entry"]["text"].to_string()),
            _ => None,
        }
    };
    told.iter().filter_map(complaint).collect()
}

fn address(path: &std::path::Path) -> String {
    format!("file://{}", path.display())
}

/// A page with every fault that the tests look for.
const PLANTED: &str = r#"<!DOCTYPE html><html><head><meta name="viewport" content="width=device-width">
<style>:root { --ink: #777777; --soft: #888888; --card: #808080; }</style></head><body>
<p style="width: 2000px">wide</p><img src="https://example.invalid/a.png">
<script>undefined_name()</script>
<svg viewBox="0 0 100 20" width="100"><title>planted</title>
<text x="0" y="10" font-size="10">one</text><text x="2" y="10" font-size="10">two</text>
<text x="95" y="10" font-size="10">beyond</text><text x="0" y="19" font-size="3">tiny</text></svg>
<div class="plot"><details><summary>s</summary><table><caption>hidden</caption></table></details></div>
</body></html>"#;

/// The tests below can fail: each fault is found in the planted page.
fn shows_that_it_can_fail(browser: &mut Browser) {
    let room = Room::new();
    let address = address(&room.file("planted.html", PLANTED));
    browser.emulate(360, "light", "screen");
    let told = complaints(&browser.open(&address), &address).join("\n");
    for word in ["it asks for https://example.invalid/a.png", "undefined_name"] {
        assert!(told.contains(word), "the test is blind to {word}: {told}");
    }
    let layout = browser.evaluate(LAYOUT);
    let layout = list(&layout).join("\n");
    for word in [
        "wide on a screen",
        "P reaches",
        "\"one\" overlaps \"two\"",
        "\"beyond\" is cut",
        "\"tiny\" is",
    ] {
        assert!(layout.contains(word), "the test is blind to {word}: {layout}");
    }
    assert!(!list(&browser.evaluate(CONTRAST)).is_empty(), "the test is blind to contrast");
    assert_eq!(list(&browser.evaluate(PAPER)).len(), 2, "the test is blind to paper");
}

#[test]
fn the_page_is_whole_at_every_width_in_light_and_dark_and_on_paper() {
    let Some(program) = devtools::find() else { return };
    let room = Room::with(&fixture::all());
    assert!(fixture::run(&room).status.success());
    let file = room.path().join("out/index.html");
    let text = std::fs::read_to_string(&file).unwrap();
    let address = address(&file);
    let mut browser = Browser::start(program);
    shows_that_it_can_fail(&mut browser);
    for width in WIDTHS {
        for scheme in SCHEMES {
            let none: [&str; 0] = [];
            let what = format!("{width} pixels, {scheme}");
            browser.emulate(width, scheme, "screen");
            let told = browser.open(&address);
            assert_eq!(complaints(&told, &address), none, "{what}");
            assert_eq!(list(&browser.evaluate(LAYOUT)), none, "{what}");
            assert_eq!(list(&browser.evaluate(CONTRAST)), none, "{what}");
            browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)");
            assert_eq!(list(&browser.evaluate(LAYOUT)), none, "{what}, tables open");
        }
    }
    // HTML reads the same elements as XML does: nothing was closed or added on the way.
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let count = document.descendants().filter(roxmltree::Node::is_element).count();
    browser.open(&address);
    assert_eq!(browser.evaluate("document.querySelectorAll('*').length"), json!(count));
    browser.emulate(794, "dark", "print"); // A4
    assert_eq!(browser.evaluate(PAPER), json!([]));
}
