//! `--json`: one object a file and line (NDJSON).
//!
//! | field | when | what |
//! |---|---|---|
//! | `path` | always | the name; bytes that are not UTF-8 are shown as U+FFFD |
//! | `path_hex` | the name is not UTF-8 | all its bytes in hexadecimal: nothing is lost |
//! | `algorithm` | always | `sha256`, `sha512` or `blake3` |
//! | `digest`, `bytes` | it was hashed | the digest in hexadecimal, the length that was read |
//! | `verdict`, `expected` | with `--check` | `ok`, `failed`, `unreadable` or `missing`; the digest of the list |
//! | `error` | it was not hashed | why; the same goes to standard error |

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use super::digest::{Algorithm, Hashed, hex};

/// See the module.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(
        algorithm: Algorithm,
        name: &'a OsStr,
        hashed: Result<&Hashed, &'a str>,
    ) -> Self {
        Self {
            path: name.to_string_lossy(),
            path_hex: name.to_str().is_none().then(|| hex(name.as_bytes())),
            algorithm: algorithm.name(),
            verdict: None,
            expected: None,
            digest: hashed.ok().map(|hashed| hex(&hashed.digest)),
            bytes: hashed.ok().map(|hashed| hashed.bytes),
            error: hashed.err(),
        }
    }

    pub(crate) fn with_verdict(mut self, verdict: &'static str, expected: &'a str) -> Self {
        self.verdict = Some(verdict);
        self.expected = Some(expected);
        self
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::Record;
    use crate::hash::digest::{Algorithm, Hashed};

    fn text(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        record.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_object_is_one_line() {
        let hashed = Hashed { digest: vec![0xab], bytes: 3 };
        let record = Record::new(Algorithm::Sha256, OsStr::new("a\n\"b"), Ok(&hashed));
        assert_eq!(
            text(&record),
            "{\"path\":\"a\\n\\\"b\",\"algorithm\":\"sha256\",\"digest\":\"ab\",\"bytes\":3}\n"
        );
    }

    #[test]
    fn no_byte_of_a_name_is_lost() {
        let record = Record::new(Algorithm::Blake3, OsStr::from_bytes(b"a\xff"), Err("gone"));
        assert_eq!(
            text(&record.with_verdict("missing", "00")),
            "{\"path\":\"a\u{fffd}\",\"path_hex\":\"61ff\",\"algorithm\":\"blake3\",\
             \"verdict\":\"missing\",\"expected\":\"00\",\"error\":\"gone\"}\n"
        );
    }
}
