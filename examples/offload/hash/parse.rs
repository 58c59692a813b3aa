//! Reading checksum lines back: the rules of `sha256sum --check` (coreutils 9.1) for SHA-2, those
//! of `b3sum --check` (1.8) for BLAKE3. They differ, and each is as strict as its model.
//!
//! | | coreutils | b3sum |
//! |---|---|---|
//! | lines | bytes; `#` begins a comment, empty lines are passed over | UTF-8; every line must parse |
//! | digest | either case | lower case |
//! | separator | two spaces, space and `*`, or one space (BSD), not mixed in one run | two spaces |
//! | tagged | `SHA256 (name) = digest`, also `SHA256(name)= digest` | `BLAKE3 (name) = digest` |

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::digest::Algorithm;

/// A well-formed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) path: PathBuf,
    /// The name as `b3sum` repeats it: still escaped, with the backslash of its line.
    pub(crate) shown: Vec<u8>,
    /// In lower case.
    pub(crate) digest: String,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing to check: a comment or an empty line.
    Blank,
    Expected(Expected),
    Malformed(&'static str),
}

/// Parses the lines of all lists of one run.
#[derive(Debug)]
pub(crate) struct Parser {
    algorithm: Algorithm,
    /// Whether names follow one space; known after the first line without a tag. Coreutils does not
    /// let the two forms mix, since a name could then hide its first character.
    one_space: Option<bool>,
}

impl Parser {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, one_space: None }
    }

    /// Parses one line, which may end with a newline.
    pub(crate) fn line(&mut self, line: &[u8]) -> Line {
        if self.algorithm == Algorithm::Blake3 {
            return match b3sum_line(line) {
                Ok(expected) => Line::Expected(expected),
                Err(why) => Line::Malformed(why),
            };
        }
        if line.first() == Some(&b'#') {
            return Line::Blank;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Line::Blank;
        }
        match self.coreutils_line(line) {
            Some(expected) => Line::Expected(expected),
            None => Line::Malformed("improperly formatted line"),
        }
    }

    fn coreutils_line(&mut self, line: &[u8]) -> Option<Expected> {
        let line = skip_white(line);
        let (escaped, line) = match line.strip_prefix(b"\\") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (digest, name) = match line.strip_prefix(self.algorithm.tag().as_bytes()) {
            Some(rest) => self.tagged(rest)?,
            None => self.untagged(line)?,
        };
        let name = if escaped {
            unescape(name)?
        } else {
            // Names are C strings there: they end at a NUL.
            name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
        };
        Some(Expected { path: path(name), shown: Vec::new(), digest: lower(digest) })
    }

    /// `(name) = digest`, after the tag.
    fn tagged<'a>(&self, line: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let line = line.strip_prefix(b" ").unwrap_or(line).strip_prefix(b"(")?;
        let end = line.iter().rposition(|byte| *byte == b')')?;
        let digest = skip_white(skip_white(&line[end + 1..]).strip_prefix(b"=")?);
        self.is_digest(digest).then_some((digest, &line[..end]))
    }

    fn untagged<'a>(&mut self, line: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let digits = self.algorithm.hex_digits();
        // The digest, a blank and a name of one character at least.
        if line.len() < digits + 2 || !matches!(line[digits], b' ' | b'\t') {
            return None;
        }
        let (digest, rest) = (&line[..digits], &line[digits + 1..]);
        if !self.is_digest(digest) {
            return None;
        }
        if rest.len() == 1 || !matches!(rest[0], b' ' | b'*') {
            if self.one_space == Some(false) {
                return None;
            }
            self.one_space = Some(true);
        } else if self.one_space != Some(true) {
            self.one_space = Some(false);
            return Some((digest, &rest[1..]));
        }
        Some((digest, rest))
    }

    fn is_digest(&self, text: &[u8]) -> bool {
        text.len() == self.algorithm.hex_digits() && text.iter().all(u8::is_ascii_hexdigit)
    }
}

fn b3sum_line(line: &[u8]) -> Result<Expected, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "stream did not contain valid UTF-8")?;
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return Err("Empty line");
    }
    let (escaped, line) = match line.strip_prefix('\\') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let tagged = || {
        let (name, digest) = line.strip_prefix("BLAKE3 (")?.rsplit_once(") = ")?;
        Some((digest, name))
    };
    let (digest, name) =
        line.split_once("  ").or_else(tagged).ok_or("Invalid check line format")?;
    if digest.len() != Algorithm::Blake3.hex_digits() {
        return Err("Invalid hash length");
    }
    if !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("Invalid hex");
    }
    let path_bytes = if escaped {
        unescape(name.as_bytes()).ok_or("Invalid backslash escape")?
    } else {
        name.as_bytes().to_vec()
    };
    if path_bytes.is_empty() {
        return Err("empty file path");
    }
    if path_bytes.contains(&0) {
        return Err("Null character in path");
    }
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return Err("Unicode replacement character in path");
    }
    let shown = if escaped { format!("\\{name}") } else { name.to_string() };
    Ok(Expected { path: path(path_bytes), shown: shown.into_bytes(), digest: digest.to_string() })
}

/// Only `\\`, `\n` and `\r` are escapes; a NUL in an escaped name is an error too.
fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            0 => return None,
            byte => byte,
        });
    }
    Some(bytes)
}

fn skip_white(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    &text[start..]
}

fn lower(digest: &[u8]) -> String {
    String::from_utf8_lossy(digest).to_ascii_lowercase()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests;
