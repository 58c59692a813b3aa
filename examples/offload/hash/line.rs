//! The text of a result: one checksum line, as `sha256sum` of coreutils 9.1 or `b3sum` 1.8 prints
//! it, and the reason in a message.
//!
//! Not here: names inside messages (`quote`), and reading lines back (`parse`).

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use super::digest::{Algorithm, hex};

/// Writes `digest  name` and its end: a newline, or NUL after a raw name (`-z`).
///
/// A name with a backslash, newline or carriage return is escaped and the line starts with a
/// backslash. `b3sum` shows bytes that are not UTF-8 as U+FFFD, so BLAKE3 lines do the same;
/// with `-z`, which `b3sum` does not have, names are raw in every algorithm.
pub(crate) fn write_sum(
    out: &mut impl Write,
    algorithm: Algorithm,
    digest: &[u8],
    name: &OsStr,
    zero: bool,
) -> io::Result<()> {
    let digest = hex(digest);
    if zero {
        out.write_all(digest.as_bytes())?;
        out.write_all(b"  ")?;
        out.write_all(name.as_bytes())?;
        return out.write_all(b"\0");
    }
    let lossy;
    let name = match algorithm {
        Algorithm::Blake3 => {
            lossy = name.to_string_lossy();
            lossy.as_bytes()
        }
        Algorithm::Sha256 | Algorithm::Sha512 => name.as_bytes(),
    };
    let escape = needs_escape(name);
    if escape {
        out.write_all(b"\\")?;
    }
    out.write_all(digest.as_bytes())?;
    out.write_all(b"  ")?;
    if escape {
        write_escaped(out, name)?
    } else {
        out.write_all(name)?
    }
    out.write_all(b"\n")
}

/// Writes `name: verdict` of check mode. Coreutils escapes only a name that would take two lines.
pub(crate) fn write_verdict(out: &mut impl Write, name: &[u8], verdict: &str) -> io::Result<()> {
    if name.contains(&b'\n') {
        out.write_all(b"\\")?;
        write_escaped(out, name)?;
    } else {
        out.write_all(name)?;
    }
    writeln!(out, ": {verdict}")
}

fn needs_escape(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
}

fn write_escaped(out: &mut impl Write, name: &[u8]) -> io::Result<()> {
    for byte in name {
        match byte {
            b'\\' => out.write_all(b"\\\\")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            byte => out.write_all(&[*byte])?,
        }
    }
    Ok(())
}

/// What the system says of an error number, without the number.
pub(crate) fn reason(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::{reason, write_sum, write_verdict};
    use crate::hash::digest::Algorithm;

    fn sum(algorithm: Algorithm, name: &[u8], zero: bool) -> Vec<u8> {
        let mut out = Vec::new();
        write_sum(&mut out, algorithm, &[0xab, 0x01], OsStr::from_bytes(name), zero).unwrap();
        out
    }

    #[test]
    fn lines_are_those_of_coreutils() {
        for (name, line) in [
            (&b"a b"[..], &b"ab01  a b\n"[..]),
            (b"-", b"ab01  -\n"),
            (b"a\\b", b"\\ab01  a\\\\b\n"),
            (b"a\nb\r", b"\\ab01  a\\nb\\r\n"),
            (b"\xff\t", b"ab01  \xff\t\n"),
        ] {
            assert_eq!(sum(Algorithm::Sha256, name, false), line);
        }
        assert_eq!(sum(Algorithm::Sha512, b"a\\\n", true), b"ab01  a\\\n\0");
    }

    #[test]
    fn lines_are_those_of_b3sum() {
        assert_eq!(sum(Algorithm::Blake3, b"a\xffb", false), "ab01  a\u{fffd}b\n".as_bytes());
        assert_eq!(
            sum(Algorithm::Blake3, b"\\\xff\n", false),
            "\\ab01  \\\\\u{fffd}\\n\n".as_bytes()
        );
        assert_eq!(sum(Algorithm::Blake3, b"a\xffb", true), b"ab01  a\xffb\0");
    }

    #[test]
    fn a_verdict_stays_on_one_line() {
        let mut out = Vec::new();
        write_verdict(&mut out, b"a\\b", "OK").unwrap();
        write_verdict(&mut out, b"a\\\nb", "FAILED").unwrap();
        assert_eq!(out, b"a\\b: OK\n\\a\\\\\\nb: FAILED\n");
    }

    #[test]
    fn reasons_have_no_number() {
        assert_eq!(reason(2), "No such file or directory");
        assert_eq!(reason(21), "Is a directory");
    }
}
