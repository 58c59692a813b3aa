//! A task whose types are not known here: bytes in, a reply's bytes out. The host runs it for a
//! worker.

use std::convert::Infallible;

use super::{Encoded, Work};
use crate::ctx::Ctx;

/// Never run as it is: a task of it is made of encoded input, and its reply is handed on.
pub(crate) struct RawWork(Infallible);

impl Work for RawWork {
    type Output = Vec<u8>;
    type Error = Vec<u8>;

    fn run(self, _cx: &Ctx) -> Result<Vec<u8>, Vec<u8>> {
        match self.0 {}
    }

    fn size(&self) -> u64 {
        match self.0 {}
    }

    fn encode(&self, _into: &mut Encoded) -> Result<(), postcard::Error> {
        match self.0 {}
    }

    fn decode_output(bytes: Encoded) -> Result<Vec<u8>, postcard::Error> {
        Ok(bytes.into_vec())
    }

    fn decode_error(bytes: &[u8]) -> Result<Vec<u8>, postcard::Error> {
        Ok(bytes.to_vec())
    }
}
