//! About how many bytes a value's encoding has, without encoding it: a look at what the value says
//! of itself. Strings and byte strings are as long as they say; of a long sequence the first
//! elements are looked at, and the rest is taken to be like them.

use serde::ser::{self, Serialize};

/// Elements of one value that are looked at.
const LOOKS_MAX: u32 = 64;

/// About how many bytes postcard makes of `value`.
pub(crate) fn estimate<T: Serialize + ?Sized>(value: &T) -> u64 {
    let mut sizer = Sizer { bytes: 0, looks: LOOKS_MAX };
    // `Stop` leaves what was counted so far, with the rest of the sequence that it stopped in.
    let _ = value.serialize(&mut sizer);
    sizer.bytes
}

struct Sizer {
    bytes: u64,
    looks: u32,
}

impl Sizer {
    fn add(&mut self, bytes: usize) -> Result<(), Stop> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        Ok(())
    }

    fn text(&mut self, bytes: usize) -> Result<(), Stop> {
        self.add(bytes + 1 + bytes.checked_ilog2().unwrap_or(0) as usize / 7)
    }
}

/// Why a value is looked at no further.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// Enough was seen.
    Enough,
    /// It does not let itself be looked at, as an open file: what is beside it does.
    Refused,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("enough was seen")
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self::Refused
    }
}

/// A sequence, a map, a tuple or a struct on its way.
struct Parts<'a> {
    sizer: &'a mut Sizer,
    /// Elements that are to come; 0: nobody said.
    left: u64,
    seen: u64,
    begun_at: u64,
}

impl Parts<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        match value.serialize(&mut *self.sizer) {
            Err(Stop::Enough) => return Err(Stop::Enough),
            Ok(()) | Err(Stop::Refused) => {}
        }
        self.seen += 1;
        self.left = self.left.saturating_sub(1);
        self.sizer.looks = self.sizer.looks.saturating_sub(1);
        if self.sizer.looks == 0 && self.left > 0 {
            let each = (self.sizer.bytes - self.begun_at) / self.seen;
            self.sizer.bytes = self.sizer.bytes.saturating_add(each.saturating_mul(self.left));
            return Err(Stop::Enough);
        }
        Ok(())
    }
}

impl<'a> Sizer {
    fn parts(&'a mut self, len: Option<usize>, head: usize) -> Result<Parts<'a>, Stop> {
        self.add(head)?;
        let begun_at = self.bytes;
        Ok(Parts { sizer: self, left: len.unwrap_or(0) as u64, seen: 0, begun_at })
    }
}

macro_rules! sizes {
    ($($method:ident($type:ty) = $bytes:expr;)*) => {
        $(fn $method(self, _: $type) -> Result<(), Stop> {
            self.add($bytes)
        })*
    };
}

/// Bytes of a number in postcard's variable length.
macro_rules! varints {
    ($($method:ident($type:ty, $value:ident) = $unsigned:expr;)*) => {
        $(fn $method(self, $value: $type) -> Result<(), Stop> {
            let bits = u64::BITS - ($unsigned as u64).leading_zeros();
            self.add(bits.div_ceil(7).max(1) as usize)
        })*
    };
}

impl<'a> ser::Serializer for &'a mut Sizer {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    sizes! {
        serialize_bool(bool) = 1;
        serialize_i8(i8) = 1;
        serialize_u8(u8) = 1;
        serialize_f32(f32) = 4;
        serialize_f64(f64) = 8;
        serialize_char(char) = 4;
        serialize_unit_struct(&'static str) = 0;
    }

    varints! {
        serialize_u16(u16, value) = value;
        serialize_u32(u32, value) = value;
        serialize_u64(u64, value) = value;
        serialize_i16(i16, value) = value.unsigned_abs() << 1;
        serialize_i32(i32, value) = value.unsigned_abs() << 1;
        serialize_i64(i64, value) = value.unsigned_abs() << 1;
    }

    fn serialize_str(self, text: &str) -> Result<(), Stop> {
        self.text(text.len())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Stop> {
        self.text(bytes.len())
    }

    fn serialize_none(self) -> Result<(), Stop> {
        self.add(1)
    }

    fn serialize_unit(self) -> Result<(), Stop> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        self.add(1)?;
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Stop> {
        self.add(1)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.add(1)?;
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'a>, Stop> {
        self.parts(len, 1)
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts<'a>, Stop> {
        self.parts(Some(len), 0)
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'a>, Stop> {
        self.parts(Some(len), 0)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Parts<'a>, Stop> {
        self.parts(Some(len), 1)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'a>, Stop> {
        self.parts(len.map(|len| 2 * len), 1)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Stop> {
        // Its fields are not like one another: each is looked at.
        self.parts(None, 0)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Stop> {
        self.parts(None, 1)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! parts {
    ($($trait:ident::$method:ident($($name:ty)?);)*) => {
        $(impl ser::$trait for Parts<'_> {
            type Ok = ();
            type Error = Stop;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<(), Stop> {
                self.part(value)
            }

            fn end(self) -> Result<(), Stop> {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(&'static str);
    SerializeStructVariant::serialize_field(&'static str);
}

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.part(value)
    }

    fn end(self) -> Result<(), Stop> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Sample {
        name: String,
        numbers: Vec<u64>,
        bytes: bytes::Bytes,
        place: Option<(u8, f64)>,
        kind: Kind,
        more: BTreeMap<u32, String>,
    }

    #[derive(Serialize)]
    enum Kind {
        Named { id: u32 },
    }

    fn encoded<T: Serialize>(value: &T) -> u64 {
        postcard::to_allocvec(value).unwrap().len() as u64
    }

    #[test]
    fn what_stands_beside_an_open_file_is_seen() {
        let fd = crate::Fd::from(std::fs::File::open("/dev/null").unwrap());
        let value = (fd.clone(), "x".repeat(1000), Some(fd));
        assert!(estimate(&value) >= 1000);
    }

    #[test]
    fn short_values_are_sized_exactly_and_long_ones_about() {
        let sample = Sample {
            name: "a name".to_owned(),
            numbers: vec![1, 300, u64::MAX],
            bytes: vec![7; 5000].into(),
            place: Some((1, 0.5)),
            kind: Kind::Named { id: 77 },
            more: BTreeMap::from([(1, "x".to_owned())]),
        };
        assert_eq!(estimate(&sample), encoded(&sample));
        for value in [vec![200_u8; 100_000], vec![1; 65]] {
            let (about, exact) = (estimate(&value), encoded(&value));
            assert!(about.abs_diff(exact) <= exact / 20 + 4, "{about} for {exact}");
        }
        let lines: Vec<String> = (0..9000).map(|line| format!("line number {line}")).collect();
        let (about, exact) = (estimate(&lines), encoded(&lines));
        assert!(about.abs_diff(exact) <= exact / 4, "{about} for {exact}");
        assert_eq!((estimate(&()), estimate(&0_u64)), (0, 1));
    }
}
