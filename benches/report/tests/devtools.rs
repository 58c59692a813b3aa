//! A headless Chromium, driven by its DevTools protocol: JSON messages that end in a zero byte, over
//! two pipes. No port is opened.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::Room;

/// The longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// The longest that it may take to end when asked.
const PARTING: Duration = Duration::from_secs(5);

/// Its names in distributions.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Chromium wants its pipes as descriptors 3 and 4; the shell puts standard input and output there.
const START: &str = r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#;

/// As root there is no sandbox; nothing is looked up, updated, synchronised or sent.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
];

/// Chromium's file, or `None` with a word on standard error.
///
/// # Panics
/// If there is none and `AMPHI_REQUIRE` lists it.
pub(crate) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let rooms: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = NAMES.iter().flat_map(|name| rooms.iter().map(move |room| room.join(name)));
    let found = files.into_iter().find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("AMPHI_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|word| word.trim() == "chromium");
        assert!(!required, "chromium is not installed, and AMPHI_REQUIRE lists it");
        eprintln!("skipped: chromium is not installed, so nobody lays the page out");
    }
    found
}

/// One browser with one tab; ended when dropped.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    count: u64,
    session: Option<String>,
    /// What the tab has told since it was last asked.
    events: Vec<Value>,
    _profile: Room,
}

impl Browser {
    pub(crate) fn start(program: PathBuf) -> Self {
        let profile = Room::new();
        let directory = format!("--user-data-dir={}", profile.path().display());
        let mut child = Command::new("sh")
            .args(["-c", START, "sh"])
            .arg(program)
            .args(FLAGS)
            .args([directory.as_str(), "about:blank"])
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (tell, from) = channel();
        thread::spawn(move || {
            for message in BufReader::new(out).split(0) {
                let told = message.ok().and_then(|text| serde_json::from_slice(&text).ok());
                let Some(value) = told else { break };
                if tell.send(value).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            from,
            count: 0,
            session: None,
            events: Vec::new(),
            _profile: profile,
        };
        let tab = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Runtime", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Sends a command and waits for its result.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        self.count += 1;
        let id = self.count;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.to.write_all(&text).unwrap();
        let answer = self.wait(method, |told| told["id"] == id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Takes what is told until `wanted` is among it; everything else is kept.
    fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = self.from.recv_timeout(left);
            let told = told.unwrap_or_else(|error| panic!("chromium, {what}: {error}"));
            if wanted(&told) {
                return told;
            }
            self.events.push(told);
        }
    }

    /// Opens a page and gives all that was told until it was loaded.
    pub(crate) fn open(&mut self, address: &str) -> Vec<Value> {
        self.events.clear();
        self.ask("Page.navigate", json!({"url": address}));
        let is_loaded = |told: &Value| told["method"] == "Page.loadEventFired";
        if !self.events.iter().any(is_loaded) {
            self.wait("load", is_loaded);
        }
        self.settle();
        std::mem::take(&mut self.events)
    }

    /// Waits for two frames: until what was begun has been laid out, and told.
    fn settle(&mut self) {
        let frames =
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))";
        self.evaluate(frames);
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// Lays out for a screen of this width, or for paper.
    pub(crate) fn emulate(&mut self, width: u32, scheme: &str, media: &str) {
        let metrics =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"media": media, "features": features}));
        self.settle();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to end, it takes its helpers along, who would write into the profile once more.
        let _ = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + PARTING;
        while self.from.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
