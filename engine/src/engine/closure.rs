//! A closure as [`Work`]: threads only, by type and by route.

use std::convert::Infallible;

use crate::ctx::Ctx;
use crate::job::{Encoded, Work};

pub(super) struct ClosureWork<F>(pub(super) F);

impl<T, F> Work for ClosureWork<F>
where
    T: Send + 'static,
    F: FnOnce(&Ctx) -> T + Send + 'static,
{
    type Output = T;
    type Error = Infallible;

    fn run(self, cx: &Ctx) -> Result<T, Infallible> {
        Ok((self.0)(cx))
    }

    fn size(&self) -> u64 {
        0
    }

    fn encode(&self, _into: &mut Encoded) -> Result<(), postcard::Error> {
        Err(postcard::Error::WontImplement)
    }

    fn decode_output(_bytes: Encoded) -> Result<T, postcard::Error> {
        Err(postcard::Error::WontImplement)
    }

    fn decode_error(_bytes: &[u8]) -> Result<Infallible, postcard::Error> {
        Err(postcard::Error::WontImplement)
    }
}
