//! The examples of amphi, one idea each: `hello`, `crash`, `mixed`, `schedule`, `axum_offload`, and
//! `offload`, a program for everyday use.
