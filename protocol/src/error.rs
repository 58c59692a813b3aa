//! What a peer did wrong. Neither error is repaired: a worker that broke a rule is killed, a lane
//! that is not the promised one is not used.

/// The peer broke a rule of the protocol. The host kills the worker that did; nothing is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker broke the protocol: {rule} (found {found:#x}); it is not trusted any more")]
pub struct Violation {
    /// The rule that was broken.
    pub rule: &'static str,
    /// What was found where the rule allows something else.
    pub found: u64,
}

impl Violation {
    pub(crate) const fn new(rule: &'static str, found: u64) -> Self {
        Self { rule, found }
    }
}

/// A worker was given a mapping that is not the lane it expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lane's {field} is {found:#x}, not {wanted:#x}; host and worker are different builds")]
pub struct Mismatch {
    /// Which header field.
    pub field: &'static str,
    /// Its value.
    pub found: u64,
    /// The value that was expected.
    pub wanted: u64,
}
