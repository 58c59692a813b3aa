//! The examples of amphi, one idea each: `hello`, `crash`, `mixed`, `axum_offload`, and `offload`,
//! a program for everyday use.
