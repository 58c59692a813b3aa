//! `--check`: verdicts, messages and exit status of the tools.

use std::process::Output;

use crate::support::{PLACES, Tree, assert_ended, is_b3sum_1_8, tool, tools, with_input};

/// The tool's messages with the name of ours.
fn renamed(output: &Output, tool: &std::path::Path) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = tool.file_name().unwrap().to_str().unwrap();
    told.replace(&format!("{}: ", tool.display()), "offload: ")
        .replace(&format!("{name}: "), "offload: ")
}

#[test]
fn lists_of_the_tools_are_accepted_and_ours_by_them() {
    let tree = Tree::new();
    let mut files = tree.odd_files();
    // What is not UTF-8 cannot stand in a list of b3sum; CR is not escaped by old ones.
    // An unoptimised SHA-2 is slow.
    files.retain(|name| {
        name.to_str().is_some_and(|name| !name.contains('\r') && !name.contains("ranges"))
    });
    for (algorithm, tool) in tools() {
        let list = tree.command(&tool).arg("--").args(&files).output().unwrap().stdout;
        tree.file("list", &list);
        let theirs = tree.command(&tool).args(["--check", "list"]).output().unwrap();
        assert!(theirs.status.success());
        for place in PLACES {
            let mut ours = tree.offload(place);
            let ours = ours.args(["--algorithm", algorithm, "--check", "list"]).output().unwrap();
            assert_ended(&ours, 0, &theirs.stdout, "");
        }
    }
}

/// `%` is the good digest of `a` and `@` a wrong one. What `sha256sum` does with it, so
/// must we.
#[test]
fn verdicts_and_messages_are_those_of_coreutils() {
    let tree = Tree::new();
    tree.file("a", b"abc");
    tree.file("new\nline", b"abc");
    tree.file("d/e", b"");
    let Some(tool) = tool("sha256sum") else { return };
    let good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let lists = [
        "%  a\n",
        "%  a\n@  a\n",
        "@  a\n@  a\n",
        "%  gone\n",
        "%  gone\n%  a\n",
        "%  d\n",
        "junk\n",
        "",
        "junk\n%  a\n",
        "junk\njunk\n% *a\n",
        "# note\n\n%  a\r\n",
        "\\%  new\\nline\n",
        "\\@  new\\nline\n",
        "\\%  new\\xline\n",
        "SHA256 (a) = %\n",
        "SHA256(a)= @\n",
        "MD5 (a) = %\n",
        "% a\n",
        "%  a\n% a\n",
        "%  -\n",
        "%  a",
    ];
    let options: [&[&str]; 6] = [
        &[],
        &["--quiet"],
        &["--status"],
        &["--ignore-missing"],
        &["--ignore-missing", "--quiet"],
        &["--status", "--quiet"],
    ];
    for (index, list) in lists.iter().enumerate() {
        let list = list.replace('%', good).replace('@', &good.replace('b', "c"));
        tree.file("list", list.as_bytes());
        for (turn, options) in options.iter().enumerate() {
            let place = PLACES[(index + turn) % 3];
            let theirs =
                tree.command(&tool).arg("--check").args(*options).arg("list").output().unwrap();
            let ours =
                tree.offload(place).arg("--check").args(*options).arg("list").output().unwrap();
            assert_ended(
                &ours,
                theirs.status.code().unwrap(),
                &theirs.stdout,
                &renamed(&theirs, &tool),
            );
            let theirs =
                with_input(tree.command(&tool).arg("--check").args(*options), list.as_bytes());
            let ours =
                with_input(tree.offload(place).arg("--check").args(*options), list.as_bytes());
            assert_ended(
                &ours,
                theirs.status.code().unwrap(),
                &theirs.stdout,
                &renamed(&theirs, &tool),
            );
        }
    }
}

#[test]
fn verdicts_and_messages_are_those_of_b3sum() {
    let tree = Tree::new();
    tree.file("a", b"abc");
    tree.file("new\nline", b"abc");
    tree.file("d/e", b"");
    let Some(tool) = tool("b3sum").filter(|tool| is_b3sum_1_8(tool)) else { return };
    let good = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    for (index, list) in [
        "%  a\n",
        "%  a\n@  a\n",
        "@  a\n@  a\n",
        "%  gone\n%  a\n",
        "%  d\n",
        "junk\n",
        "",
        "\n%  a\n",
        "% *a\n",
        "\\%  new\\nline\n",
        "\\@  new\\nline\n",
        "\\%  new\\xline\n",
        "BLAKE3 (a) = %\n",
        "% a\n",
        "%  \n",
        "%  a\u{fffd}\n",
        "%  a",
    ]
    .iter()
    .enumerate()
    {
        let list = list.replace('%', good).replace('@', &good.replace('6', "c"));
        tree.file("list", list.as_bytes());
        for options in [&[][..], &["--quiet"]] {
            let theirs =
                tree.command(&tool).arg("--check").args(options).arg("list").output().unwrap();
            let mut ours = tree.offload(PLACES[index % 3]);
            let ours = ours.args(["--algorithm", "blake3", "--check"]).args(options).arg("list");
            let ours = ours.output().unwrap();
            assert_ended(
                &ours,
                theirs.status.code().unwrap(),
                &theirs.stdout,
                &renamed(&theirs, &tool),
            );
        }
    }
}

#[test]
fn a_list_may_be_given_either_way_and_several_times() {
    let tree = Tree::new();
    tree.file("a", b"abc");
    let line = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n";
    tree.file("list", line);
    for arguments in [&["--check", "list"][..], &["--check=list"], &["list", "-c"], &["-c", "-"]] {
        let ours = with_input(tree.offload("auto").args(arguments), line);
        assert_ended(&ours, 0, b"a: OK\n", "");
    }
    let ours =
        tree.offload("auto").args(["--check", "list", "gone", "d", "list"]).output().unwrap();
    let stderr =
        "offload: gone: No such file or directory\noffload: d: No such file or directory\n";
    assert_ended(&ours, 1, b"a: OK\na: OK\n", stderr);
    std::fs::create_dir(tree.path("d")).unwrap();
    let ours = tree.offload("auto").args(["--check", "d"]).output().unwrap();
    assert_ended(&ours, 1, b"", "offload: d: read error\n");
}

#[test]
fn json_gives_the_verdict() {
    let tree = Tree::new();
    tree.file("a", b"abc");
    let good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    tree.file("list", format!("{good}  a\n{good}  gone\n").as_bytes());
    let ours =
        tree.offload("auto").args(["--json", "--ignore-missing", "--check", "list"]).output();
    let lines = format!(
        "{{\"path\":\"a\",\"algorithm\":\"sha256\",\"verdict\":\"ok\",\"expected\":\"{good}\",\
         \"digest\":\"{good}\",\"bytes\":3}}\n\
         {{\"path\":\"gone\",\"algorithm\":\"sha256\",\"verdict\":\"missing\",\"expected\":\"{good}\",\
         \"error\":\"No such file or directory\"}}\n"
    );
    assert_ended(&ours.unwrap(), 0, lines.as_bytes(), "");
}
