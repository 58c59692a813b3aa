//! The repository as the rules see it: its files, and each Rust file split into code and comments.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// One text file. `code` and `comments` have the lines of `text`: the one without comments and
/// without what stands in literals, the other with nothing but comments.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    pub(crate) comments: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// In one of these folders.
    pub(crate) fn is_in(&self, folders: &[&str]) -> bool {
        folders
            .iter()
            .any(|folder| self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    }

    /// `path:line: what`, for the place `offset` of `code`.
    pub(crate) fn at(&self, offset: usize, what: &str) -> String {
        let line = self.code[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }

    /// Where `word` stands in the code as a word of its own.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        words(&self.code, word)
    }
}

/// Where `word` stands in `text` with no letter of a name before or behind it.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let ends_in_name = word.ends_with(is_name);
    text.match_indices(word).map(|(offset, _)| offset).filter(move |&offset| {
        let behind = &text[offset + word.len()..];
        !(text[..offset].ends_with(is_name) || ends_in_name && behind.starts_with(is_name))
    })
}

/// The name that `text` begins with.
pub(crate) fn name(text: &str) -> &str {
    &text[..text.find(|letter| !is_name(letter)).unwrap_or(text.len())]
}

pub(crate) fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the repository")
}

/// Every text file of the repository that git tracks or would add, but for locks and licences.
pub(crate) fn repository() -> &'static [Source] {
    static FILES: OnceLock<Vec<Source>> = OnceLock::new();
    FILES.get_or_init(|| {
        let read = |path: &String| {
            let text = std::fs::read_to_string(root().join(path)).ok()?;
            Some(Source::new(path, &text))
        };
        let generated = |path: &&String| path.ends_with("Cargo.lock");
        paths().iter().filter(|path| !generated(path)).filter_map(read).collect()
    })
}

/// The paths of all those files.
pub(crate) fn paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let git = Command::new("git")
            .current_dir(root())
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output();
        let git = git.expect("git lists the files of the repository");
        assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
        let names = String::from_utf8(git.stdout).expect("names of files are UTF-8");
        let mut paths: Vec<String> = names.split_terminator('\0').map(str::to_owned).collect();
        paths.retain(|path| root().join(path).is_file());
        paths.sort();
        paths.dedup();
        assert!(paths.len() > 20, "the repository has more files than {paths:?}");
        paths
    })
}

/// Code and comments of a Rust text, each with its lines and nothing of the other.
fn split(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let in_name = code.ends_with(is_name);
        let (length, kind) = token(rest, in_name);
        let (token, behind) = rest.split_at(length);
        match kind {
            Kind::Comment => {
                comments.push_str(token);
                code.extend(token.matches('\n'));
            }
            Kind::Literal => {
                code.push_str("\"\"");
                code.extend(token.matches('\n'));
                comments.extend(token.matches('\n'));
            }
            Kind::Code => {
                code.push_str(token);
                if letter == '\n' {
                    comments.push('\n');
                }
            }
        }
        rest = behind;
    }
    (code, comments)
}

enum Kind {
    Comment,
    Literal,
    Code,
}

/// How long the first token of `rest` is, and what.
fn token(rest: &str, in_name: bool) -> (usize, Kind) {
    let one = rest.chars().next().map_or(1, char::len_utf8);
    if rest.starts_with("//") {
        (rest.find('\n').unwrap_or(rest.len()), Kind::Comment)
    } else if rest.starts_with("/*") {
        (block_comment(rest), Kind::Comment)
    } else if rest.starts_with('"') {
        (quoted(rest, '"'), Kind::Literal)
    } else if let Some(inner) = rest.strip_prefix('\'') {
        let mut letters = inner.chars();
        match (letters.next(), letters.next()) {
            (Some('\\'), _) | (Some(_), Some('\'')) => (quoted(rest, '\''), Kind::Literal),
            _ => (1, Kind::Code), // a lifetime
        }
    } else if let (false, Some(length)) = (in_name, raw_string(rest)) {
        (length, Kind::Literal)
    } else {
        (one, Kind::Code)
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut offset) = (0, 0);
    while let Some(step) = rest.get(offset..).filter(|rest| !rest.is_empty()) {
        if step.starts_with("/*") {
            (depth, offset) = (depth + 1, offset + 2);
        } else if step.starts_with("*/") {
            (depth, offset) = (depth - 1, offset + 2);
            if depth == 0 {
                break;
            }
        } else {
            offset += step.chars().next().map_or(1, char::len_utf8);
        }
    }
    offset
}

fn quoted(rest: &str, end: char) -> usize {
    let mut escaped = false;
    for (offset, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == end => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let body = ["r", "br", "cr"].iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = rest.len() - inner.len();
    Some(inner.find(&end).map_or(rest.len(), |at| opening + at + end.len()))
}

#[test]
fn a_source_is_split_into_code_and_comments() {
    let text = concat!(
        "let a = \"// no \\\" comment\"; // one\n",
        "let b = r#\"un\"quoted\"#; /* two /* three */ \n four */ let c: &'static str;\n",
        "let d = ('\"', '\\'', b'x', br\"y\"); for x in y {}\n",
    );
    let source = Source::new("a.rs", text);
    let code = "let a = \"\"; \nlet b = \"\"; \n let c: &'static str;\nlet d = (\"\", \"\", b\"\", \
                \"\"); for x in y {}\n";
    assert_eq!(source.code, code);
    assert_eq!(source.comments, "// one\n/* two /* three */ \n four */\n\n");
    assert_eq!(source.at(source.code.find("&'static").unwrap(), "x"), "a.rs:3: x");
    assert_eq!(words("a _a a_ xa a(b) a", "a").collect::<Vec<_>>(), [0, 11, 16]);
}
