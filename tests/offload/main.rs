//! `offload hash` against the tools whose words it speaks, and against what ends badly.
//!
//! A test that needs a foreign tool says so and passes without it, unless `AMPHI_REQUIRE` lists the
//! tool (`AMPHI_REQUIRE=sha256sum,sha512sum,b3sum`): then it fails.

mod support;

mod check;
mod faults;
mod sums;
