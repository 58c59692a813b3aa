//! The house rules that a machine can check (DESIGN §9): each rule is one `#[test]`, which first
//! shows on planted text that it can fail.

#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use source::{Source, is_name, name, paths, repository, root, words};

/// Modules of `engine/src`, from the top down: each may name those of lower rows and the
/// vocabulary. **The table of layers stands here and nowhere else.**
const LAYERS: &[&[&str]] = &[
    &["app"],
    &["cluster", "command", "stream"],
    &["engine"],
    &["processes", "threads"],
    &["sys"],
];

/// Named by all; names only itself and the bottom row. A task reaches its engine through a trait
/// that `task` defines.
const VOCABULARY: &[&str] = &[
    "beside",
    "blob",
    "budget",
    "bytes",
    "ctx",
    "error",
    "fd",
    "home",
    "job",
    "keys",
    "limits",
    "outcome",
    "payload",
    "policy",
    "room",
    "scheduler",
    "stats",
    "task",
];

/// What may stand at the top of the repository.
const TOP: &[&str] = &[
    ".ci",
    ".clippy.toml",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "engine",
    "examples",
    "protocol",
    "tests",
];

const FILE_LINES_MAX: usize = 400;
const TEST_FILE_LINES_MAX: usize = 600;
const CRATES_MAX: usize = 39;

/// Lines above a non-relaxed ordering in which its comment may stand.
const ORDERING_COMMENT_LINES: usize = 6;

/// A rule looks at one file and tells its offences.
type Rule<'a> = &'a dyn Fn(&Source) -> Vec<String>;

/// Shows that `rule` finds each `planted` text and leaves each `sound` one, then checks the
/// repository.
fn check(rule: Rule<'_>, planted: &[(&str, &str)], sound: &[(&str, &str)]) {
    for (path, text) in planted {
        let found = rule(&Source::new(path, text));
        assert!(!found.is_empty(), "the rule is blind to this, planted in {path}:\n{text}");
    }
    for (path, text) in sound {
        let found = rule(&Source::new(path, text));
        assert!(found.is_empty(), "the rule sees ghosts in {path}:\n{text}\n{found:?}");
    }
    report(repository().iter().flat_map(rule).collect());
}

fn report(offences: Vec<String>) {
    let count = offences.len();
    assert!(offences.is_empty(), "{count} offences:\n{}\n", offences.join("\n"));
}

/// The first part of a module path of `engine/src`.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("engine/src/")?;
    Some(name(inside)).filter(|module| *module != "lib")
}

/// The names that `engine/src/lib.rs` hands on, each with its module.
fn handed_on(lib: &str) -> BTreeMap<String, String> {
    let lib = Source::new("engine/src/lib.rs", lib);
    let mut names = BTreeMap::new();
    for (offset, _) in lib.code.match_indices("use crate::") {
        let path = &lib.code[offset + "use crate::".len()..];
        let path = &path[..path.find(';').unwrap_or(path.len())];
        let items = path.split(|letter| !is_name(letter)).filter(|item| !item.is_empty());
        let items = items.filter(|item| !is_known(item));
        names.extend(items.map(|item| (item.to_owned(), name(path).to_owned())));
    }
    names
}

/// The first names of a path or of a `{..}` group of paths, with their offsets.
fn first_names(text: &str) -> Vec<(usize, &str)> {
    if !text.starts_with('{') {
        return vec![(0, name(text))];
    }
    let (mut depth, mut expects, mut found) = (0, false, Vec::new());
    for (offset, letter) in text.char_indices() {
        match letter {
            '{' => (depth, expects) = (depth + 1, depth == 0),
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' => expects = depth == 1,
            _ if expects && is_name(letter) => {
                found.push((offset, name(&text[offset..])));
                expects = false;
            }
            _ => {}
        }
    }
    found
}

/// Every module of the crate's root that `source` names, by `crate::` or by enough `super::`.
fn named_modules<'a>(
    source: &'a Source,
    names: &'a BTreeMap<String, String>,
) -> Vec<(usize, &'a str)> {
    let inside = source.path.trim_start_matches("engine/src/");
    let depth = inside.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let from_root = "super::".repeat(depth);
    let mut found = Vec::new();
    for (start, through) in [("crate::", true), (from_root.as_str(), false)] {
        for offset in words(&source.code, start) {
            let before = &source.code[..offset];
            if before.ends_with('$') || before.ends_with("::") {
                continue; // a macro's text is the user's; a path that goes on, not one that begins
            }
            let behind = &source.code[offset + start.len()..];
            let behind = behind.trim_start_matches("super::");
            let at = source.code.len() - behind.len();
            for (offset, item) in first_names(behind) {
                if behind[offset + item.len()..].starts_with('!') {
                    continue;
                }
                let module = names.get(item).map_or(item, String::as_str);
                let is_module = module.starts_with(|first: char| first.is_lowercase());
                if is_known(module) || (through && is_module && !module.starts_with("__")) {
                    found.push((at + offset, module));
                }
            }
        }
    }
    found
}

fn is_known(module: &str) -> bool {
    rank(module).is_some() || VOCABULARY.contains(&module)
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// May `from` name `to`? `Err` with what is wrong.
fn may_name(from: &str, to: &str) -> Result<(), String> {
    if let Some(module) = [from, to].into_iter().find(|module| !is_known(module)) {
        return Err(format!(
            "the module `{module}` has no layer; add it to the table in tests/tidy.rs"
        ));
    }
    let bottom = LAYERS.len() - 1;
    let allowed = match (rank(from), rank(to)) {
        (_, None) => true,
        (None, Some(to)) => to == bottom,
        (Some(above), Some(below)) => above < below || from == to,
    };
    if allowed {
        Ok(())
    } else {
        Err(format!("`{from}` must not name `{to}`: see the table in tests/tidy.rs"))
    }
}

#[test]
fn layers_name_only_what_stands_below() {
    let lib = std::fs::read_to_string(root().join("engine/src/lib.rs")).unwrap();
    let names = handed_on(&lib);
    let rule = |source: &Source| match module_of(&source.path).filter(|_| source.is_rust()) {
        None => Vec::new(),
        Some(from) => {
            let own = may_name(from, from).err().map(|what| source.at(0, &what));
            let paths = named_modules(source, &names).into_iter().filter_map(|(offset, to)| {
                may_name(from, to).err().map(|what| source.at(offset, &what))
            });
            own.into_iter().chain(paths).collect()
        }
    };
    assert_eq!(handed_on("pub use crate::b::{c::D, E};")["E"], "b");
    let planted = [
        ("engine/src/sys/memory.rs", "use crate::processes::Pool;"),
        ("engine/src/task.rs", "fn f(e: &crate::Engine) {}"),
        ("engine/src/threads.rs", "use crate::{error::Error, processes};"),
        ("engine/src/job.rs", "use crate::{\n    task::{A, B},\n    threads::Threads,\n};"),
        ("engine/src/processes/link.rs", "use super::super::engine::Shared;"),
        ("engine/src/errand.rs", "fn f() {}"),
        ("engine/src/engine.rs", "use crate::errand::Run;"),
    ];
    let sound = [
        ("engine/src/app.rs", "use crate::{engine::Engine, error::Error};"),
        ("engine/src/threads.rs", "/// See [`crate::Engine`].\nuse crate::sys::clock;"),
        ("engine/src/sys/entry.rs", "macro_rules! m { () => { $crate::__private::enter() } }"),
        ("engine/src/processes/link.rs", "use super::super::task; use super::engine::X;"),
        ("engine/src/task/core.rs", "use crate::task::cell::Cell; use crate::sys;"),
        ("engine/src/lib.rs", "pub use crate::app::App;"),
    ];
    check(&rule, &planted, &sound);
}

/// Offences where one of `banned` words stands in the code of a file.
fn banned(source: &Source, banned: &[&str], why: &str) -> Vec<String> {
    let find = |word| source.words(word).map(move |at| source.at(at, &format!("`{word}`: {why}")));
    banned.iter().flat_map(|word| find(word).collect::<Vec<_>>()).collect()
}

#[test]
fn unsafe_stays_in_sys() {
    let rule = |source: &Source| match source.is_rust() && !source.is_in(&["engine/src/sys"]) {
        true => banned(source, &["unsafe"], "only engine/src/sys may be"),
        false => Vec::new(),
    };
    let text = "fn f() { unsafe { g() } }";
    let sound = "#![forbid(unsafe_code)] // unsafe\nfn f() -> &str { \"unsafe\" }";
    check(
        &rule,
        &[("engine/src/job.rs", text)],
        &[("engine/src/sys/fork.rs", text), ("engine/src/job.rs", sound)],
    );
}

#[test]
fn clocks_are_read_in_sys() {
    const CLOCKS: &[&str] = &["Instant::now", "SystemTime", "clock_gettime", "elapsed()"];
    let rule = |source: &Source| {
        let pure = source.is_in(&["engine/src", "protocol/src"]);
        match pure && !source.is_in(&["engine/src/sys"]) {
            true => banned(source, CLOCKS, "take the time as an argument, or from sys::clock"),
            false => Vec::new(),
        }
    };
    let text = "let now = std::time::Instant::now();";
    check(
        &rule,
        &[("protocol/src/life.rs", text), ("engine/src/task.rs", "t.elapsed()")],
        &[("engine/src/sys/clock.rs", text), ("benches/a.rs", text)],
    );
}

/// The code of a file before its unit tests.
fn product(source: &Source) -> &str {
    let tests = source
        .code
        .match_indices("#[cfg(test)]")
        .find(|(offset, text)| source.code[offset + text.len()..].trim_start().starts_with("mod "));
    tests.map_or(&source.code, |(offset, _)| &source.code[..offset])
}

fn unpaired_orderings(source: &Source) -> Vec<String> {
    if !source.is_in(&["engine/src", "protocol/src"]) || source.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let comments: Vec<&str> = source.comments.lines().map(plain).collect();
    let is_strong = |line: &str| {
        let strong = ["Acquire", "Release", "AcqRel", "SeqCst"];
        strong.iter().any(|word| words(line, word).next().is_some())
            && !line.trim_start().starts_with("use ")
    };
    let named = |line: usize| {
        let above =
            comments.iter().take(line + 1).skip(line.saturating_sub(ORDERING_COMMENT_LINES));
        let said = above.copied().collect::<Vec<_>>().join(" ");
        said.to_lowercase().contains("pairs with") || said.contains("PAIRS")
    };
    let lines = product(source).lines().enumerate();
    lines
        .filter(|(number, line)| is_strong(line) && !named(*number))
        .map(|(number, line)| format!("{}:{}: {}", source.path, number + 1, line.trim()))
        .collect()
}

/// A line of a comment without its marks.
fn plain(line: &str) -> &str {
    line.trim().trim_start_matches(['/', '!', '*']).trim()
}

#[test]
fn orderings_name_their_other_end() {
    let planted = "let x = a.load(Ordering::Acquire);";
    let far = format!("// pairs with b\n{}{planted}", "\n".repeat(6));
    let sound = format!("// Acquire pairs\n// with `store`.\n{planted} b.load(Ordering::Relaxed);");
    check(
        &unpaired_orderings,
        &[("engine/src/a.rs", planted), ("protocol/src/a.rs", &far)],
        &[
            ("engine/src/a.rs", &sound),
            ("engine/src/a.rs", "fence(SeqCst); // PAIRS: ring.tail"),
            ("engine/src/a.rs", "use Ordering::Acquire;\n#[cfg(test)]\nmod t { f(SeqCst); }"),
            ("benches/a.rs", planted),
        ],
    );
}

/// What looks like a path in a README: words in backticks, words of fenced text, targets of links.
fn mentions(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let spans: Vec<&str> = match fenced {
            true => vec![line],
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let of_spans = spans.into_iter().flat_map(str::split_whitespace);
        found.extend(of_spans.chain(links).map(|word| (number + 1, word)));
    }
    found
}

/// The part of a mention that should exist, if it is meant as a path of this repository.
fn as_path<'a>(folder: &str, mention: &'a str, exists: &dyn Fn(&str) -> bool) -> Option<&'a str> {
    let path =
        mention.split(['#', ':']).next().unwrap_or("").trim_end_matches(['/', ',', '.', ';']);
    let odd = |letter: char| !(is_name(letter) || "./-".contains(letter));
    if mention.contains("::") && !path.ends_with(".rs") || path.contains(odd) {
        return None;
    }
    let (first, rest) = path.split_once('/')?;
    let source = [".rs", ".md", ".toml", ".yml"].iter().any(|end| path.ends_with(end));
    let here = TOP.contains(&first) || !folder.is_empty() && exists(&format!("{folder}{first}"));
    // `src/main.rs` is the reader's own file; the rest is ours by its first folder or its ending.
    (!rest.is_empty() && (here || source && first != "src" && !first.is_empty())).then_some(path)
}

fn missing_paths(source: &Source, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    if !source.path.ends_with("README.md") {
        return Vec::new();
    }
    let folder = source.path.trim_end_matches("README.md");
    let missing = mentions(&source.text).into_iter().filter_map(|(line, mention)| {
        let path = as_path(folder, mention, exists)?;
        let found = exists(path) || exists(&format!("{folder}{path}"));
        (!found).then(|| format!("{}:{line}: {path} does not exist", source.path))
    });
    missing.collect()
}

#[test]
fn readme_paths_exist() {
    let exists = |path: &str| !path.is_empty() && root().join(path).exists();
    for needed in ["README.md", "protocol/README.md"] {
        assert!(exists(needed), "{needed} is missing");
    }
    let rule = |source: &Source| missing_paths(source, &exists);
    let planted = [
        ("README.md", "Read `engine/src/lob.rs` first."),
        ("README.md", "See [the map](protocol/MAP.md#layers)."),
        ("README.md", "```text\nengine/src/nowhere/  the rest\n```"),
        ("README.md", "`engin/src/lib.rs`"),
        ("protocol/README.md", "`src/lob.rs`"),
    ];
    let sound = [
        ("README.md", "`engine/src/lib.rs`, `engine/src/lib.rs::app`, `.ci/run`, `thread/process`"),
        ("README.md", "```sh\ncargo run -- hash target/x\n```\n`src/main.rs`, `a / b`, `crate::a`"),
        ("protocol/README.md", "`src/lib.rs` and [us](https://example.invalid/a.md)"),
        ("engine/src/lib.rs", "`engine/src/lob.rs`"),
    ];
    check(&rule, &planted, &sound);
}

#[test]
fn files_are_short() {
    let rule = |source: &Source| {
        let test = source.is_in(&["tests"]) || source.path.ends_with("/tests.rs");
        let (lines, max) = match test {
            true => (source.text.lines().count(), TEST_FILE_LINES_MAX),
            false => (source.text.lines().count(), FILE_LINES_MAX),
        };
        let what = format!("{}: {lines} lines; past {max} a file asks to be two", source.path);
        (source.is_rust() && lines > max).then_some(what).into_iter().collect()
    };
    let (long, longer) = ("\n".repeat(401), "\n".repeat(601));
    check(
        &rule,
        &[("engine/src/a.rs", &long), ("tests/a.rs", &longer)],
        &[
            ("engine/src/a/tests.rs", &long),
            ("tests/a.rs", &long),
            ("engine/src/a.rs", &long[1..]),
            ("protocol/README.md", &longer),
        ],
    );
}

#[test]
fn nothing_is_left_undone() {
    const MARK: &str = concat!("FIX", "ME");
    let rule = |source: &Source| {
        if !source.is_rust() {
            return Vec::new();
        }
        let mut found = banned(source, &["todo!"], "do it, or file an issue");
        found.extend(banned(source, &["ignore]"], "say why: #[ignore = \"…\"]"));
        let marks = source.comments.lines().enumerate().filter(|(_, line)| line.contains(MARK));
        found.extend(marks.map(|(line, _)| format!("{}:{}: {MARK}", source.path, line + 1)));
        found
    };
    let comment = format!("// {MARK}: later");
    let planted =
        [("a.rs", "todo!()"), ("a.rs", "#[test]\n#[ignore]\nfn a() {}"), ("a.rs", &comment)];
    check(&rule, &planted, &[("a.rs", "#[ignore = \"takes hours\"]\nfn todo() {}")]);
}

#[test]
fn tests_do_not_sleep() {
    let rule = |source: &Source| {
        let test = source.is_in(&["tests"]) || source.path.ends_with("/tests.rs");
        let test = test || source.path.contains("/tests/");
        match test && source.is_rust() {
            true => banned(source, &["sleep("], "poll a condition with a deadline, or park"),
            false => Vec::new(),
        }
    };
    let text = "fn f() { std::thread::sleep(SECOND) }";
    check(
        &rule,
        &[
            ("tests/a/b.rs", text),
            ("engine/src/job/tests.rs", text),
            ("engine/src/sys/tests/a.rs", text),
        ],
        &[
            ("tests/a.rs", "// sleep(1)\nlane.can_sleep(); let s = \"sleep(1)\";"),
            ("benches/a.rs", text),
        ],
    );
}

#[test]
fn names_say_what_a_thing_is() {
    const EMPTY: [&str; 3] = ["Manager", "Helper", "Util"];
    let rule = |source: &Source| {
        let mut found = Vec::new();
        for keyword in ["struct ", "enum ", "trait ", "type ", "union ", "fn "] {
            for at in source.words(keyword) {
                let name = name(&source.code[at + keyword.len()..]);
                let bad = match keyword {
                    "fn " => name.starts_with("get_"),
                    _ => EMPTY.iter().any(|word| name.contains(word)),
                };
                if bad {
                    found.push(source.at(at, &format!("`{name}` is an empty name")));
                }
            }
        }
        if source.is_rust() { found } else { Vec::new() }
    };
    let planted = [
        ("a.rs", "pub fn get_size() {}"),
        ("a.rs", "struct PoolManager;"),
        ("a.rs", "type Helpers = u8;"),
    ];
    check(&rule, &planted, &[("a.rs", "fn target_() {} fn budget_left() { map.get_mut() }")]);
}

/// What stands in a `lib.rs` besides docs, attributes, `mod`, `use`.
fn substance(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while !rest.is_empty() {
        let end = if rest.starts_with("#[") || rest.starts_with("#![") {
            let mut depth = 0;
            let closes = |letter: char| {
                depth += i32::from(letter == '[') - i32::from(letter == ']');
                letter == ']' && depth == 0
            };
            rest.find(closes)
        } else if rest.starts_with('}') {
            Some(0)
        } else {
            let item = rest.strip_prefix("pub").unwrap_or(rest).trim_start();
            let item = item.strip_prefix("(crate)").unwrap_or(item).trim_start();
            let is_module = item.starts_with("mod ");
            let end = rest.find(|letter| letter == ';' || is_module && letter == '{');
            if !is_module && !item.starts_with("use ") {
                found.push(rest.lines().next().unwrap_or(rest));
            }
            end
        };
        rest = end.map_or("", |end| &rest[end + 1..]).trim_start();
    }
    found
}

#[test]
fn lib_is_a_table_of_contents() {
    let rule = |source: &Source| match source.path.as_str() {
        "engine/src/lib.rs" | "protocol/src/lib.rs" => substance(&source.code)
            .into_iter()
            .map(|line| format!("{}: `{line}` belongs in a module", source.path))
            .collect(),
        _ => Vec::new(),
    };
    let sound = "//! Docs.\n#![doc = include_str!(\"a.md\")]\nmod a;\npub use a::{B, C};\n\
                 #[doc(hidden)]\npub mod __private {\n    pub use crate::a::d;\n}\nmod e;\n";
    let planted = [
        ("engine/src/lib.rs", format!("{sound}pub fn f() {{}}")),
        ("protocol/src/lib.rs", "mod a;\n#[cfg(x)]\nconst A: u8 = 1;\nmod b;".to_owned()),
    ];
    let planted = planted.each_ref().map(|(path, text)| (*path, text.as_str()));
    check(&rule, &planted, &[("engine/src/lib.rs", sound), ("engine/src/a.rs", "fn f() {}")]);
}

#[test]
fn the_top_is_bare() {
    let offences = |paths: &[String]| {
        let top = |path: &String| path.split('/').next().unwrap_or(path).to_owned();
        let names: BTreeSet<String> = paths.iter().map(top).collect();
        let surplus = names.into_iter().filter(|name| !TOP.contains(&name.as_str()));
        surplus.map(|name| format!("{name} has no place at the top")).collect::<Vec<_>>()
    };
    assert_eq!(offences(&["notes.txt".into(), "engine/src/lib.rs".into()]).len(), 1);
    report(offences(paths()));
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    let prefixes = ["home", "work", "root"].map(|folder| format!("/{folder}/"));
    let rule = |source: &Source| {
        let mut found = Vec::new();
        for (number, line) in source.text.lines().enumerate() {
            let absolute = |(at, _): (usize, &str)| {
                !line[..at].ends_with(|before: char| is_name(before) || "./-}*".contains(before))
            };
            if prefixes.iter().any(|prefix| line.match_indices(prefix.as_str()).any(absolute)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
        found
    };
    let texts = prefixes.each_ref().map(|prefix| format!("see \"{prefix}me/notes\""));
    let planted = texts.each_ref().map(|text| ("README.md", text.as_str()));
    check(&rule, &planted, &[("README.md", "tests/work/a, https://a.invalid/home/b, ./root/c")]);
}

/// The crates of `cargo tree --prefix none`, each once.
fn crates(listing: &str) -> BTreeSet<String> {
    let named = |line: &str| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?))
    };
    listing.lines().filter_map(named).collect()
}

#[test]
fn the_default_tree_is_small() {
    let planted: String = (0..100).map(|number| format!("c{} v1.0.0 (*)\n", number / 2)).collect();
    assert_eq!(crates(&planted).len(), 50);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .current_dir(root())
        .args(["tree", "-p", "amphi", "-e", "normal", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let crates = crates(&String::from_utf8(tree.stdout).unwrap());
    assert!(crates.iter().any(|name| name.starts_with("amphi ")), "{crates:#?}");
    assert!(crates.len() <= CRATES_MAX, "{} crates: {crates:#?}", crates.len());
}
