//! What is settled of a task when it is submitted.

use std::sync::Arc;

use super::controls::Asked;
use super::retry::Retry;
use crate::keys::{Gate, Held};
use crate::policy::{Class, Route};

/// See the module.
pub(crate) struct Plan {
    pub(crate) job: u32,
    pub(crate) name: &'static str,
    pub(crate) route: Route,
    pub(crate) class: Class,
    pub(crate) bytes: u64,
    pub(crate) controls: Asked,
    pub(crate) no_caller_run: bool,
    pub(crate) blocking: bool,
    /// One of the engine's own, which nobody counts.
    pub(crate) is_private: bool,
    /// In a worker: it needs a thread of the host.
    pub(crate) needs_host_thread: bool,
    pub(crate) key: Option<Arc<Gate>>,
    /// Keys that are held by the tasks it was submitted from.
    pub(crate) held: Option<Arc<Held>>,
    pub(crate) retry: Option<Arc<Retry>>,
}

impl Plan {
    /// One that needs and asks for nothing more.
    pub(crate) fn new(job: u32, name: &'static str, route: Route, class: Class) -> Self {
        Self {
            job,
            name,
            route,
            class,
            bytes: 0,
            controls: Asked::default(),
            no_caller_run: false,
            blocking: false,
            is_private: false,
            needs_host_thread: false,
            key: None,
            held: None,
            retry: None,
        }
    }
}
