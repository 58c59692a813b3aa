//! The engine as its users meet it: one conformance suite under every placement, and real faults
//! in real processes.

mod jobs;
mod audit;
mod blocking;
mod children;
mod chores;
mod batches;
mod blobs;
mod conformance;
mod faults;
mod shutdown;
mod examples;
mod fd;
mod hosts;
mod lies;
mod life;
mod logs;
mod messages;
mod order;
mod payloads;
mod stream;
mod workers;
mod controls;
mod retries;
mod keys;
mod nested;
mod policy;
mod contained;
mod stats;
mod corners;
