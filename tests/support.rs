//! What several test targets share: waiting with a deadline, and the examples as programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Polls `condition` until it holds.
///
/// # Panics
/// If it does not hold within ten seconds; the text says what was waited for.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited ten seconds for {what}");
        std::thread::yield_now();
    }
}

/// The program of an example, in the profile of the test that asks: built if it is missing or older
/// than its sources.
///
/// # Panics
/// If it cannot be built.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    let profile = test.ancestors().nth(2).expect("cargo puts tests into PROFILE/deps");
    let binary = profile.join("examples").join(name);
    let built = fs::metadata(&binary).and_then(|found| found.modified());
    if !built.is_ok_and(|built| newest_source() <= built) {
        let cargo_profile = match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(name) => name,
            None => "release",
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--package", "amphi-examples", "--example", name])
            .args(["--profile", cargo_profile, "--target-dir"])
            .arg(profile.parent().expect("a profile has its target directory"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "building the example {name} failed");
    }
    binary
}

fn newest_source() -> SystemTime {
    fn newest(directory: &Path) -> SystemTime {
        let entries = fs::read_dir(directory).expect("a room of this repository").flatten();
        let times = entries.filter_map(|entry| {
            let found = entry.metadata().ok()?;
            if found.is_dir() { Some(newest(&entry.path())) } else { found.modified().ok() }
        });
        times.max().unwrap_or(SystemTime::UNIX_EPOCH)
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let rooms = ["examples", "engine/src", "protocol/src"];
    rooms.map(|room| newest(&workspace.join(room))).into_iter().max().expect("three rooms")
}
