//! What programs read of the command line: `--json` has the facts of the text, also of a failure,
//! and the same exit status.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::reload::{configuration, ctl, set};
use crate::run::{DEADLINE, Finished, run};
use crate::support::{Server, program};

/// A run that ends with this status, prints one object and nothing else.
#[track_caller]
fn object(finished: Finished, status: i32) -> Value {
    let finished = finished.exits(status);
    assert!(finished.stderr.is_empty(), "{finished}");
    let out = finished.out();
    assert_eq!(out.lines().count(), 1, "{finished}");
    serde_json::from_str(&out).unwrap()
}

fn ringftpd(words: &[&str], folder: &Path) -> Finished {
    let mut program = Command::new(program::path());
    run(program.args(words).current_dir(folder).env("HOME", folder), DEADLINE)
}

#[test]
fn check_config_says_what_would_run_and_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let user = if geteuid().is_root() { "[process]\nuser = \"root\"\n" } else { "" };
    let good = format!("{user}[anonymous]\nhome = \".\"\n[limits]\nidle_timeout = \"7m\"\n");
    let write = |text: &str| fs::write(path.join("a.toml"), text).unwrap();
    write(&good);
    let words = ["check-config", "--json", "--config", "a.toml", "--explicit", "none"];
    let value = object(ringftpd(&words, path), 0);
    assert_eq!(value["ok"], true);
    let idle = json!({ "value": "7m", "effective": "7m", "change": "reload" });
    assert_eq!(value["settings"]["limits.idle_timeout"], idle);
    assert_eq!(value["settings"]["listen.explicit"]["value"], "off");
    assert_eq!(value["anonymous"]["permissions"], json!(["read", "list"]));
    if geteuid().is_root() {
        assert_eq!(value["warnings"][0]["key"], "process.user", "{value}");
        assert_eq!(value["warnings"][0]["file"], "a.toml", "{value}");
    }
    // As many facts as there are lines, but for the one that lists the keys.
    let text = ringftpd(&["check-config", "--config", "a.toml"], path).success().out();
    let settings = value["settings"].as_object().unwrap();
    assert_eq!(settings.len() + ["open files", "anonymous", "changed"].len(), text.lines().count());

    write(&good.replace("7m", "7"));
    let value = object(ringftpd(&words, path), 1);
    let line = good.lines().position(|line| line.contains("7m")).unwrap() + 1;
    let [problem] = &value["problems"].as_array().unwrap()[..] else { panic!("{value}") };
    assert_eq!((&problem["file"], &problem["line"]), (&json!("a.toml"), &json!(line)));
    assert_eq!(problem["key"], "limits.idle_timeout");
    let message = problem["message"].as_str().unwrap();
    assert!(message.ends_with(problem["remedy"].as_str().unwrap()), "{problem}");
    assert_eq!(value["ok"], false);
    // The text has the same, and the same status.
    let text = ringftpd(&["check-config", "--config", "a.toml"], path).exits(1);
    text.says(&format!("a.toml:{line}: limits.idle_timeout: {message}"));

    // Without a place in a file, and of the command line.
    for (words, key, part) in [
        (&["--cpus", "1000"][..], json!("shards.cpus"), "cannot run on CPU 1000"),
        (&["--implicit", "none", "--implicit", ":1"], Value::Null, "contradicts"),
        (&["--config", "gone.toml"], Value::Null, "cannot read"),
    ] {
        let value = object(ringftpd(&[&["check-config", "--json"], words].concat(), path), 1);
        let problem = &value["problems"][0];
        assert_eq!((&problem["key"], &problem["line"]), (&key, &Value::Null), "{value}");
        assert!(problem["message"].as_str().unwrap().contains(part), "{value}");
    }
}

#[test]
fn users_are_listed_and_so_is_what_keeps_them_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let users = "[[users]]\nname = \"a\"\nhome = \"/srv\"\ncertificate_sha256 = \"00\"\n";
    fs::write(path.join("users.toml"), users).unwrap();
    let list = |file: &str| ringftpd(&["user", "list", "--json", "--file", file], path);
    let expected = json!([{
        "name": "a", "home": "/srv", "permissions": ["read", "list"], "log_in": ["certificate"],
    }]);
    assert_eq!(object(list("users.toml"), 0), expected);
    let problem = |file: &str| object(list(file), 1)["problems"][0].clone();
    assert_eq!(problem("gone.toml")["file"], "gone.toml");
    fs::write(path.join("bad.toml"), format!("{users}name = ")).unwrap();
    assert_eq!(problem("bad.toml")["line"], 5);
    fs::write(path.join("table.toml"), "[users]\nname = \"a\"\n").unwrap();
    let table = problem("table.toml");
    assert_eq!((&table["key"], &table["line"]), (&json!("users"), &Value::Null), "{table}");
    assert_eq!(table["remedy"], "write each user as a [[users]] table");
    ringftpd(&["user", "list", "--file", "table.toml"], path).exits(1).says("table.toml: users: ");
}

/// Each command, with what it needs.
const COMMANDS: [&[&str]; 9] = [
    &["status"],
    &["sessions"],
    &["kick", "9-9"],
    &["certificates"],
    &["log-level", "loud"],
    &["reload"],
    &["reopen"],
    &["drain"],
    &["upgrade"],
];

#[test]
fn a_server_that_is_not_there_is_an_object_too() {
    let folder = tempfile::tempdir().unwrap();
    for words in COMMANDS {
        let words = [&["ctl"], words, &["--json", "--socket", "none.sock"]].concat();
        let value = object(ringftpd(&words, folder.path()), 1);
        assert_eq!(value["ok"], false);
        let error = value["error"].as_str().unwrap();
        assert!(error.starts_with("none.sock: No such file"), "{value}");
        assert!(value["remedy"].as_str().unwrap().starts_with("is a server running"), "{value}");
    }
}

#[test]
fn answers_of_a_server_are_objects() {
    let server = Server::start();
    set(&server, "[policy]\ngreeting = 7");
    let json = |words: &[&str]| ctl(&server, &[words, &["--json"]].concat());
    for words in COMMANDS {
        let fails = matches!(words[0], "kick" | "log-level" | "reload" | "upgrade");
        let value = object(json(words), i32::from(fails));
        assert_eq!(value["ok"], !fails, "{value}");
        assert_eq!(value["error"].is_string(), fails && words[0] != "reload", "{value}");
        if words[0] == "reload" {
            let problem = &value["problems"][0];
            assert_eq!(problem["file"], configuration(&server).display().to_string());
            assert_eq!(problem["key"], "policy.greeting");
            assert!(problem["line"].as_u64() > Some(0), "{problem}");
            let message = problem["message"].as_str().unwrap();
            // What people read is made of it.
            ctl(&server, &["reload"]).exits(1).says(message);
        }
        if words[0] == "drain" {
            break;
        }
    }
}
