//! Lines of lists: what each of the two models takes and refuses.

use std::os::unix::ffi::OsStrExt;

use super::{Line, Parser};
use crate::hash::digest::Algorithm;

fn digest() -> String {
    "Ab".repeat(32)
}

/// Parses lines in which `%` stands for a digest; gives the names, `None` for what is malformed.
fn names(algorithm: Algorithm, lines: &[&str]) -> Vec<Option<Vec<u8>>> {
    let mut parser = Parser::new(algorithm);
    let digest = match algorithm {
        Algorithm::Sha512 => digest().repeat(2),
        Algorithm::Sha256 => digest(),
        Algorithm::Blake3 => digest().to_lowercase(),
    };
    let parsed = lines.iter().map(|line| parser.line(line.replace('%', &digest).as_bytes()));
    parsed
        .filter_map(|line| match line {
            Line::Blank => None,
            Line::Malformed(_) => Some(None),
            Line::Expected(expected) => {
                assert_eq!(expected.digest, digest.to_lowercase());
                Some(Some(expected.path.as_os_str().as_bytes().to_vec()))
            }
        })
        .collect()
}

fn name(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[test]
fn coreutils_lines() {
    for (line, expected) in [
        ("%  a\n", name("a")),
        ("% *a\r\n", name("a")),
        ("%   a ", name(" a ")),
        (" \t%  a", name("a")),
        ("\\%  a\\nb\\\\\\r", name("a\nb\\\r")),
        ("\\%  a\\", None),
        ("\\%  a\\t", None),
        ("\\%  a\0b", None),
        ("%  a\0b", name("a")),
        ("%  a\\nb", name("a\\nb")),
        ("%", None),
        ("%  ", name(" ")),
        ("% ", None),
        ("%%  a", None),
        ("z%  a", None),
        ("SHA256 (a) b) = %", name("a) b")),
        ("SHA256(a)= %", name("a")),
        ("SHA256  (a) = %", None),
        ("SHA256 (a) = % ", None),
        ("SHA256 (a) %", None),
        ("SHA256 a = %", None),
        ("SHA512 (a) = %", None),
        ("\\SHA256 (a\\nb) = %", name("a\nb")),
        (" ", None),
    ] {
        assert_eq!(names(Algorithm::Sha256, &[line]), [expected], "{line:?}");
    }
    assert_eq!(names(Algorithm::Sha256, &["# %  a", "\n", "\r\n", ""]), []);
    assert_eq!(names(Algorithm::Sha512, &["SHA512 (a) = %", "%  a"]), [name("a"), name("a")]);
}

#[test]
fn the_two_separators_do_not_mix() {
    assert_eq!(names(Algorithm::Sha256, &["%  a", "% a"]), [name("a"), None]);
    assert_eq!(
        names(Algorithm::Sha256, &["% ab", "%  c", "% *d"]),
        [name("ab"), name(" c"), name("*d")]
    );
}

#[test]
fn b3sum_lines() {
    for (line, expected) in [
        ("%  a\n", name("a")),
        ("%  a\r\n", name("a")),
        ("%   a ", name(" a ")),
        ("% *a", None),
        (" %  a", None),
        ("% a", None),
        ("\\%  a\\nb\\\\\\r", name("a\nb\\\r")),
        ("\\%  a\\", None),
        ("\\%  a\\t", None),
        ("%  a\0b", None),
        ("%  a\u{fffd}", None),
        ("%  ", None),
        ("", None),
        ("# %  a", None),
        ("BLAKE3 (a) = b) = %", name("a) = b")),
        ("BLAKE3 (a  b) = %", None),
        ("\\BLAKE3 (a\\nb) = %", name("a\nb")),
        ("BLAKE3(a) = %", None),
    ] {
        assert_eq!(names(Algorithm::Blake3, &[line]), [expected], "{line:?}");
    }
    let upper = format!("{}  a", digest());
    assert_eq!(
        Parser::new(Algorithm::Blake3).line(upper.as_bytes()),
        Line::Malformed("Invalid hex")
    );
    let bytes = [upper.to_lowercase().as_bytes(), b"\xff"].concat();
    assert!(matches!(Parser::new(Algorithm::Blake3).line(&bytes), Line::Malformed(_)));
}

#[test]
fn b3sum_repeats_the_escaped_name() {
    let line = format!("\\{}  a\\nb", digest().to_lowercase());
    let Line::Expected(expected) = Parser::new(Algorithm::Blake3).line(line.as_bytes()) else {
        panic!()
    };
    assert_eq!(expected.shown, b"\\a\\nb");
}
