//! Placeholder until the first target stands.
