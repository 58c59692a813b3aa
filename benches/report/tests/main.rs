//! The report, from outside: the program on rows that are built here, its page taken apart by a
//! strict parser and laid out by Chromium.
//!
//! Without Chromium its test says so and passes, unless `AMPHI_REQUIRE` lists it
//! (`AMPHI_REQUIRE=chromium`): then it fails.

mod browser;
mod devtools;
mod fixture;
mod page;
mod program;
