//! Bytes in a plain `Vec<u8>`, without the crate that serializes them as bytes: what one writes who
//! has not read that `Bytes` is the type for them. serde takes such a vector one element at a time.

use std::error::Error;

use amphi::Placement;
use bytes::Bytes;

use super::looks::{Looks, app, look};
use super::pools::System;
use super::pools::amphi_engine::Fixed;
use super::pools::procspawn_pool::{self, Procspawn};

pub(crate) const AMPHI: &str = "amphi processes, Vec<u8>";
pub(crate) const PROCSPAWN: &str = "procspawn pool, Vec<u8>";

pub(crate) fn look_vec(payload: Vec<u8>) -> Result<u64, amphi::Error> {
    Ok(look(&payload))
}

pub(crate) fn echo_vec(payload: Vec<u8>) -> Result<Vec<u8>, amphi::Error> {
    Ok(payload)
}

/// Who carries vectors; the words of `inner` are not asked for.
pub(crate) struct Vectors<S> {
    name: &'static str,
    inner: S,
    /// What the next task gives away.
    prepared: Vec<u8>,
    back: fn(&S, Vec<u8>) -> Vec<u8>,
    look: fn(&S, Vec<u8>) -> u64,
}

pub(crate) fn amphi(cores: usize) -> Result<Vectors<Fixed>, Box<dyn Error>> {
    const FAILED: &str = "the job cannot fail";
    Ok(Vectors {
        name: AMPHI,
        inner: Fixed::start(AMPHI, app(), Placement::Process, cores)?,
        prepared: Vec::new(),
        back: |fixed, payload| fixed.engine().call(echo_vec, payload).join().expect(FAILED),
        look: |fixed, payload| fixed.engine().call(look_vec, payload).join().expect(FAILED),
    })
}

pub(crate) fn procspawn(cores: usize) -> Result<Vectors<Procspawn>, Box<dyn Error>> {
    const DIED: &str = "the worker lives";
    Ok(Vectors {
        name: PROCSPAWN,
        inner: procspawn_pool::start(cores)?,
        prepared: Vec::new(),
        back: |own, payload| own.pool.spawn(payload, |payload| payload).join().expect(DIED),
        look: |own, payload| own.pool.spawn(payload, |payload| look(&payload)).join().expect(DIED),
    })
}

impl<S: System> System for Vectors<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn call(&mut self, x: u64) -> u64 {
        self.inner.call(x)
    }

    fn call_bytes(&mut self, _: &Bytes) -> Bytes {
        (self.back)(&self.inner, std::mem::take(&mut self.prepared)).into()
    }
}

impl<S: System> Looks for Vectors<S> {
    fn prepare(&mut self, payload: &Bytes) {
        self.prepared = payload.to_vec();
    }

    fn look(&mut self, _: &Bytes) -> u64 {
        (self.look)(&self.inner, std::mem::take(&mut self.prepared))
    }
}
