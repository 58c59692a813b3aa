//! What the tests of `offload` share: the binary, foreign tools, trees of odd files, waiting.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest that anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const PLACES: [&str; 3] = ["auto", "thread", "process"];

/// The variable by which a test knows its own processes, workers included.
const MARK: &str = "OFFLOAD_TEST_MARK";

/// Asks until the answer is there; fails at the deadline.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}

/// The example under test.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| amphi_tests::example("offload"))
}

/// A foreign tool, or `None` with a word on standard error.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|room| room.join(name)).find(|tool| tool.is_file());
    if found.is_none() {
        let required = std::env::var("AMPHI_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|word| word.trim() == name);
        assert!(!required, "{name} is not installed, and AMPHI_REQUIRE lists it");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// The tool of each algorithm.
pub(crate) fn tools() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let pairs = [("sha256", "sha256sum"), ("sha512", "sha512sum"), ("blake3", "b3sum")];
    pairs.into_iter().filter_map(|(algorithm, name)| Some((algorithm, tool(name)?)))
}

/// Is this `b3sum` as new as the one whose words `offload` speaks?
pub(crate) fn is_b3sum_1_8(tool: &Path) -> bool {
    let output = Command::new(tool).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut numbers =
        text.trim().rsplit(' ').next().unwrap().split('.').map(|n| n.parse().unwrap());
    let version: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
    if version < (1, 8) {
        eprintln!("part skipped: {} is older than 1.8", text.trim());
    }
    version >= (1, 8)
}

/// A directory of its own, the current one of everything that is run for it; removed at the end.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    mark: String,
}

impl Tree {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("offload-test-{}-{count}", std::process::id());
        let root = std::env::temp_dir().join(&mark);
        fs::create_dir_all(&root).unwrap();
        Self { root, mark }
    }

    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.root.join(name.as_ref())
    }

    pub(crate) fn file(&self, name: impl AsRef<OsStr>, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn fifo(&self, name: &str) {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, self.path(name), mode).unwrap();
    }

    /// Files with every kind of name and of every interesting length; their names in byte order.
    pub(crate) fn odd_files(&self) -> Vec<OsString> {
        let names: [&[u8]; 17] = [
            b"plain",
            b"a space",
            b" lead",
            b"trail ",
            b"back\\slash",
            b"new\nline",
            b"return\r",
            b"tab\t",
            b"-dash",
            b"*star",
            b"#hash",
            b"quote'\"",
            b"\xc3\xa4",
            b"\xff\xfe",
            b"a) = b",
            b"SHA256 (x",
            b"a  b",
        ];
        for (index, name) in names.iter().enumerate() {
            self.file(OsStr::from_bytes(name), &content(index * index * 100));
        }
        for (name, bytes) in [
            ("empty", 0),
            ("block", 64),
            ("buffer", 256 << 10),
            ("alone", (1 << 20) + 1),
            ("two ranges", 16 << 20),
            ("four ranges and a bit", (32 << 20) + 4_097),
        ] {
            self.file(name, &content(bytes));
        }
        let mut all: Vec<OsString> =
            fs::read_dir(&self.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        all.sort();
        all
    }

    pub(crate) fn offload(&self, place: &str) -> Command {
        let mut command = self.command(binary());
        command.args(["hash", "--place", place]);
        command
    }

    /// The tool, in the tree and in the C locale.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("LC_ALL", "C").env(MARK, &self.mark);
        command.env_remove("AMPHI_PLACE").env_remove("AMPHI_CORES").stdin(Stdio::null());
        command
    }

    /// The processes that were started for this tree and live.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let wanted = format!("{MARK}={}", self.mark);
        let entries = fs::read_dir("/proc").unwrap().map(Result::unwrap);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|line| line == wanted.as_bytes())
        })
        .collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Bytes that do not repeat soon.
pub(crate) fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ bytes as u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(bytes.div_ceil(8)).flatten().take(bytes).collect()
}

/// Runs with a standard input.
pub(crate) fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = piped(command.stdin(Stdio::piped()));
    // A program that does not read its input closes it; that is no failure of the test.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub(crate) fn piped(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Standard output, the exit code and standard error must be these.
#[track_caller]
pub(crate) fn assert_ended(output: &Output, code: i32, stdout: &[u8], stderr: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told, stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(stdout));
    assert_eq!(output.stdout, stdout);
    assert_eq!(output.status.code(), Some(code), "{:?}", output.status);
}
