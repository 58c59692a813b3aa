//! How inputs and outputs become bytes and back: postcard, and a top-level [`Bytes`] as it is.

use std::any::Any;
use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Encoded;
use crate::sys::copies::{Copied, note_copy};

/// Appends a value's encoding. A top-level [`Bytes`] is its own encoding.
pub(crate) fn encode<T: Serialize + 'static>(
    value: &T,
    into: &mut Vec<u8>,
) -> Result<(), postcard::Error> {
    if let Some(bytes) = (value as &dyn Any).downcast_ref::<Bytes>() {
        into.extend_from_slice(bytes);
        return Ok(());
    }
    postcard::serialize_with_flavor(value, Appending { bytes: into, single: 0 })
}

/// The encoding of one value: a top-level [`Bytes`] is not copied.
pub(crate) fn encode_whole<T: Serialize + 'static>(
    value: &T,
    into: &mut Encoded,
) -> Result<(), postcard::Error> {
    if let Some(bytes) = (value as &dyn Any).downcast_ref::<Bytes>() {
        into.put(bytes);
        return Ok(());
    }
    encode(value, into.own())?;
    note_copy(Copied::Encode, into.len());
    Ok(())
}

/// The value that `bytes` encode, all of them.
pub(crate) fn decode<T: DeserializeOwned + 'static>(bytes: &[u8]) -> Result<T, postcard::Error> {
    let mut value = None::<T>;
    if let Some(slot) = (&mut value as &mut dyn Any).downcast_mut::<Option<Bytes>>() {
        *slot = Some(Bytes::copy_from_slice(bytes));
    } else {
        value = Some(decode_postcard(bytes)?);
    }
    note_copy(Copied::Decode, bytes.len());
    Ok(value.expect("both arms fill it"))
}

/// The same from bytes of one's own: a top-level [`Bytes`] takes the buffer over.
pub(crate) fn decode_owned<T: DeserializeOwned + 'static>(
    bytes: Encoded,
) -> Result<T, postcard::Error> {
    let mut value = None::<T>;
    if let Some(slot) = (&mut value as &mut dyn Any).downcast_mut::<Option<Bytes>>() {
        *slot = Some(match bytes {
            Encoded::Own(bytes) => Bytes::from(bytes),
            Encoded::Shared(bytes) => bytes,
        });
        return Ok(value.expect("it is that type"));
    }
    decode(&bytes)
}

/// The same from whatever a worker has.
pub(super) fn decode_input<T: DeserializeOwned + 'static>(
    bytes: Cow<'_, [u8]>,
) -> Result<T, postcard::Error> {
    match bytes {
        Cow::Borrowed(bytes) => decode(bytes),
        Cow::Owned(bytes) => decode_owned(Encoded::Own(bytes)),
    }
}

fn decode_postcard<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

/// So many bytes one by one, and a debug build says that there is a better type.
const SINGLE_BYTES_MAX: usize = 64 << 10;

/// postcard's output into a buffer that is reused.
struct Appending<'a> {
    bytes: &'a mut Vec<u8>,
    /// Bytes that came one by one, counted in debug builds.
    single: usize,
}

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.bytes.push(byte);
        if cfg!(debug_assertions) {
            self.single += 1;
            if self.single == SINGLE_BYTES_MAX {
                tracing::warn!(
                    target: "amphi",
                    "a large value is encoded byte by byte, as Vec<u8> is; amphi::Bytes is forty \
                     times as fast"
                );
            }
        }
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
