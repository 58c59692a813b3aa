//! Names inside messages: quoted for a shell as coreutils does it, and only where they need it, so
//! that no name can forge a line or steer a terminal.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// `name`, or `'a name'`, `"it's"`, `'two'$'\n''lines'`.
pub(crate) fn quoted(name: &OsStr) -> Vec<u8> {
    let pieces = pieces(name.as_bytes());
    let lone = pieces.len() == 1;
    if !pieces.is_empty() && !pieces.iter().any(|(at, piece)| piece.needs_quotes(*at == 0, lone)) {
        return name.as_bytes().to_vec();
    }
    let single = pieces.iter().any(|(_, piece)| *piece == Piece::Printable("'"));
    if single && pieces.iter().all(|(at, piece)| piece.stands_in_double_quotes(*at == 0, lone)) {
        return [b"\"", name.as_bytes(), b"\""].concat();
    }
    in_single_quotes(&pieces)
}

/// What cannot be shown is escaped in the `$'…'` form between the quoted parts.
fn in_single_quotes(pieces: &[(usize, Piece<'_>)]) -> Vec<u8> {
    let mut text = b"'".to_vec();
    let mut escaping = false;
    for (_, piece) in pieces {
        match *piece {
            Piece::Printable("'") => {
                text.extend_from_slice(b"'\\''");
                escaping = false;
            }
            Piece::Printable(shown) => {
                if std::mem::take(&mut escaping) {
                    text.extend_from_slice(b"''");
                }
                text.extend_from_slice(shown.as_bytes());
            }
            Piece::Byte(byte) => {
                if !std::mem::replace(&mut escaping, true) {
                    text.extend_from_slice(b"'$'");
                }
                text.push(b'\\');
                match b"\x07\x08\x0c\n\r\t\x0b".iter().position(|known| *known == byte) {
                    Some(index) => text.push(b"abfnrtv"[index]),
                    None => text.extend_from_slice(format!("{byte:03o}").as_bytes()),
                }
            }
        }
    }
    text.push(b'\'');
    text
}

/// One character that can be shown, or one byte that cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Printable(&'a str),
    Byte(u8),
}

impl Piece<'_> {
    fn needs_quotes(self, first: bool, lone: bool) -> bool {
        let Self::Printable(shown) = self else { return true };
        match shown {
            "{" | "}" => lone,
            "#" | "~" => first,
            shown => " !\"$&()*;<=>[^`|'\\?:".contains(shown),
        }
    }

    /// Means the same between double quotes, in a shell and in C.
    fn stands_in_double_quotes(self, first: bool, lone: bool) -> bool {
        let Self::Printable(shown) = self else { return false };
        match shown {
            "{" | "}" => lone,
            "#" | "~" => first,
            shown => !"!\"$&()*;<=>[^`|\\?".contains(shown),
        }
    }
}

/// The pieces of a name, each with its place.
fn pieces(name: &[u8]) -> Vec<(usize, Piece<'_>)> {
    let mut pieces = Vec::new();
    for chunk in name.utf8_chunks() {
        for (at, character) in chunk.valid().char_indices() {
            let shown = &chunk.valid()[at..at + character.len_utf8()];
            if character.is_control() {
                pieces.extend(shown.bytes().map(Piece::Byte));
            } else {
                pieces.push(Piece::Printable(shown));
            }
        }
        pieces.extend(chunk.invalid().iter().copied().map(Piece::Byte));
    }
    pieces.into_iter().enumerate().collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::quoted;

    #[test]
    fn names_are_quoted_as_coreutils_does() {
        for (name, shown) in [
            (&b"plain-name_1.x"[..], "plain-name_1.x"),
            (b"", "''"),
            (b"a b", "'a b'"),
            (b"a:b", "'a:b'"),
            (b"it's", "\"it's\""),
            (b"it's;", "'it'\\''s;'"),
            (b"two\nlines", "'two'$'\\n''lines'"),
            (b"\x1b[31m", "''$'\\033''[31m'"),
            (b"end\r\n", "'end'$'\\r\\n'"),
            ("\u{e4}".as_bytes(), "\u{e4}"),
            (b"\xff\xfe", "''$'\\377\\376'"),
            (b"#a", "'#a'"),
            (b"a#", "a#"),
            (b"{", "'{'"),
            (b"{a}", "{a}"),
        ] {
            let text = quoted(OsStr::from_bytes(name));
            assert_eq!(String::from_utf8_lossy(&text), shown);
        }
    }
}
