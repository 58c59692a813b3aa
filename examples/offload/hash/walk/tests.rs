//! The walk on real directories, and the globs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::{Exclude, Step, Walk};

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("offload-walk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &[u8]) {
        let path = self.0.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }

    /// The paths below the root, a mark before all but files.
    fn walk(&self, globs: &[&str]) -> Vec<Vec<u8>> {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_string()).collect();
        let exclude = Exclude::new(&globs).unwrap();
        let below =
            |path: PathBuf| path.strip_prefix(&self.0).unwrap().as_os_str().as_bytes().to_vec();
        let steps = Walk::new(&self.0, &exclude).map(|step| match step {
            Step::File(path, _) => below(path),
            Step::Skipped(path) => [b"skipped ", &below(path)[..]].concat(),
            Step::Problem(path, _) => [b"problem ", &below(path)[..]].concat(),
        });
        steps.collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_order_is_that_of_whole_paths_in_bytes() {
    let scratch = Scratch::new("order");
    let mut names: Vec<&[u8]> =
        vec![b"a/b", b"a-b", b"a.c", b"a0", b"B/x/y", b"B/x-", b"\xff/z", b"\xfe", b"new\nline"];
    for name in &names {
        scratch.file(name);
    }
    names.sort_unstable();
    assert_eq!(scratch.walk(&[]), names);
}

#[test]
fn links_are_passed_over_and_special_files_named() {
    let scratch = Scratch::new("links");
    scratch.file(b"dir/file");
    symlink(".", scratch.0.join("dir/loop")).unwrap();
    symlink("dir/file", scratch.0.join("link")).unwrap();
    symlink("nowhere", scratch.0.join("dangling")).unwrap();
    let _listener = UnixListener::bind(scratch.0.join("socket")).unwrap();
    assert_eq!(scratch.walk(&[]), [&b"dir/file"[..], b"skipped socket"]);
    let linked = Scratch::new("linked-root");
    symlink(&scratch.0, linked.0.join("root")).unwrap();
    let files = Walk::new(&linked.0.join("root"), &Exclude::default()).count();
    assert_eq!(files, 2, "a root that is a link is followed");
}

#[test]
fn a_missing_root_is_a_problem() {
    let exclude = Exclude::default();
    let steps: Vec<Step> = Walk::new(Path::new("no/such/directory"), &exclude).collect();
    assert!(
        matches!(&steps[..], [Step::Problem(path, _)] if path == Path::new("no/such/directory"))
    );
}

#[test]
fn globs_leave_out_names_paths_and_directories() {
    let scratch = Scratch::new("globs");
    for name in [
        &b"a.o"[..],
        b"src/b.o",
        b"src/b.rs",
        b"target/x",
        b"src/target",
        b"src/deep/c.rs",
        b"\xff.o",
    ] {
        scratch.file(name);
    }
    assert_eq!(
        scratch.walk(&["*.o", "target/"]),
        [&b"src/b.rs"[..], b"src/deep/c.rs", b"src/target"]
    );
    assert_eq!(scratch.walk(&["*.o", "target", "src/*.rs"]), [&b"src/deep/c.rs"[..]]);
    assert_eq!(scratch.walk(&["/src", "*.o"]), [&b"target/x"[..]]);
    assert_eq!(scratch.walk(&["**/deep/**", "*.o", "./target"]), [&b"src/b.rs"[..], b"src/target"]);
    assert!(Exclude::new(&["[".to_string()]).is_err());
}
