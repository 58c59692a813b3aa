//! The lines: byte for byte those of the tools, in every placement.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::support::{PLACES, Tree, assert_ended, is_b3sum_1_8, tool, tools, with_input};

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn lines_are_those_of_the_tools_in_every_placement() {
    let tree = Tree::new();
    let files = tree.odd_files();
    fs::create_dir(tree.path("directory")).unwrap();
    for (algorithm, tool) in tools() {
        let mut arguments = files.clone();
        if algorithm != "blake3" {
            // Nothing is split, and an unoptimised SHA-2 is slow.
            arguments.retain(|name| !name.to_string_lossy().contains("ranges"));
        } else if !is_b3sum_1_8(&tool) {
            arguments.retain(|name| !name.as_bytes().contains(&b'\r'));
        }
        arguments.splice(3..3, ["directory", "missing", "-", "plain/x"].map(OsString::from));
        arguments.insert(0, "--".into());
        let theirs = with_input(tree.command(&tool).args(&arguments), b"standard input");
        for place in PLACES {
            let mut ours = tree.offload(place);
            let ours = with_input(
                ours.args(["--algorithm", algorithm]).args(&arguments),
                b"standard input",
            );
            let stderr = "offload: directory: Is a directory\n\
                          offload: missing: No such file or directory\n\
                          offload: plain/x: Not a directory\n";
            assert_ended(&ours, theirs.status.code().unwrap(), &theirs.stdout, stderr);
        }
    }
}

#[test]
fn zero_ended_lines_are_those_of_coreutils() {
    let tree = Tree::new();
    let mut files = tree.odd_files();
    files.retain(|name| !name.to_string_lossy().contains("ranges"));
    let Some(tool) = tool("sha256sum") else { return };
    let theirs = tree.command(&tool).arg("-z").arg("--").args(&files).output().unwrap();
    for place in PLACES {
        let ours = tree.offload(place).arg("-z").arg("--").args(&files).output().unwrap();
        assert_ended(&ours, 0, &theirs.stdout, "");
    }
}

#[test]
fn many_small_files_keep_their_order() {
    let tree = Tree::new();
    let names: Vec<String> =
        (0..1_500).map(|number| format!("{:04}", number * 7 % 1_500)).collect();
    for name in &names {
        tree.file(name, name.repeat(1 + name.len() % 5).as_bytes());
    }
    let Some(tool) = tool("sha512sum") else { return };
    let theirs = tree.command(&tool).args(&names).output().unwrap();
    for place in PLACES {
        let mut ours = tree.offload(place);
        let ours =
            ours.args(["--algorithm", "sha512", "--cores", "2"]).args(&names).output().unwrap();
        assert_ended(&ours, 0, &theirs.stdout, "");
    }
}

#[test]
fn a_walk_is_sorted_and_leaves_out_links_and_what_is_excluded() {
    let tree = Tree::new();
    for name in ["d/a/z", "d/a-b", "d/a.c", "d/skip.o", "d/target/x"] {
        tree.file(name, b"abc");
    }
    symlink("..", tree.path("d/a/loop")).unwrap();
    symlink("a.c", tree.path("d/link")).unwrap();
    symlink("d", tree.path("root")).unwrap();
    tree.fifo("d/fifo");
    let lines = |root: &str| -> Vec<u8> {
        ["a-b", "a.c", "a/z"].map(|name| format!("{ABC}  {root}/{name}\n")).concat().into_bytes()
    };
    for place in PLACES {
        for root in ["d", "root", "./d"] {
            let mut ours = tree.offload(place);
            let ours =
                ours.args(["-r", "--exclude", "*.o", "--exclude=target/", root]).output().unwrap();
            let skipped = format!("offload: {root}/fifo: not a regular file, skipped\n");
            assert_ended(&ours, 0, &lines(root), &skipped);
        }
    }
}

#[test]
fn standard_input_is_read_with_no_path() {
    let tree = Tree::new();
    for place in PLACES {
        let ours = with_input(&mut tree.offload(place), b"abc");
        assert_ended(&ours, 0, format!("{ABC}  -\n").as_bytes(), "");
        // The names of this process's own descriptors mean the same in a worker.
        let ours = with_input(tree.offload(place).args(["/dev/stdin", "-"]), b"abc");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_ended(&ours, 0, format!("{ABC}  /dev/stdin\n{empty}  -\n").as_bytes(), "");
    }
}

#[test]
fn json_is_one_object_a_file_and_loses_no_byte_of_a_name() {
    let tree = Tree::new();
    let name = OsStr::from_bytes(b"\xff\"\n");
    tree.file(name, b"abc");
    for place in PLACES {
        let ours = tree.offload(place).arg("--json").arg(name).arg("missing").output().unwrap();
        let lines = format!(
            "{{\"path\":\"\u{fffd}\\\"\\n\",\"path_hex\":\"ff220a\",\"algorithm\":\"sha256\",\
             \"digest\":\"{ABC}\",\"bytes\":3}}\n\
             {{\"path\":\"missing\",\"algorithm\":\"sha256\",\
             \"error\":\"No such file or directory\"}}\n"
        );
        assert_ended(&ours, 1, lines.as_bytes(), "offload: missing: No such file or directory\n");
    }
}

#[test]
fn explain_names_the_place_of_every_task() {
    let tree = Tree::new();
    tree.file("a", b"abc");
    tree.file("b", b"abc");
    for place in ["thread", "process"] {
        let ours = tree.offload(place).args(["--explain", "a", "b"]).output().unwrap();
        assert_eq!(ours.stdout, format!("{ABC}  a\n{ABC}  b\n").as_bytes());
        let told = String::from_utf8(ours.stderr).unwrap();
        assert!(told.starts_with("offload: a and 1 more: "), "{told}");
        assert!(told.contains(place) && told.lines().count() == 1, "{told}");
    }
    // Where the engine decides, each class of tasks is told at the end, with its figures.
    let ours = tree.offload("auto").args(["--explain", "a", "b"]).output().unwrap();
    let told = String::from_utf8(ours.stderr).unwrap();
    let last = told.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("offload: hash/") && last.contains("thread (start): thread"),
        "{told}"
    );
}
