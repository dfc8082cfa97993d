//! The house's rules of dependency, read off the sources: who may mention whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Rooms = BTreeMap<String, BTreeSet<String>>;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The modules of `src/lib.rs`.
fn rooms() -> BTreeSet<String> {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

/// The rooms a text mentions, as `crate::room`, `crate::{room, …}` or by climbing out of its own with `super::`.
/// `depth` is how many `super::` lead out.
fn mentions(text: &str, depth: usize, rooms: &BTreeSet<String>) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    let mut note = |path: &str| {
        let path = path.trim_start();
        let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if rooms.contains(&name) {
            found.insert(name);
        }
    };
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => top_level(group).into_iter().for_each(&mut note),
            None => note(rest),
        }
    }
    let out = "super::".repeat(depth);
    for (at, _) in code.match_indices(&out) {
        note(code[at..].trim_start_matches("super::"));
    }
    found
}

/// The entries of a `{…}` group after its opening brace, inner groups left out.
fn top_level(group: &str) -> Vec<&str> {
    let (mut entries, mut level, mut start) = (vec![], 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level == 0 => {
                entries.push(&group[start..at]);
                return entries;
            }
            '}' => level -= 1,
            ',' if level == 0 => {
                entries.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    entries
}

/// What every room depends on.
fn dependencies() -> Rooms {
    let rooms = rooms();
    let mut found: Rooms = rooms.iter().map(|room| (room.clone(), BTreeSet::new())).collect();
    for path in files(&source()) {
        let relative = path.strip_prefix(source()).unwrap();
        let parts: Vec<&str> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        let room = parts[0].trim_end_matches(".rs");
        let Some(depends) = found.get_mut(room) else { continue };
        let depth = parts.len() - usize::from(parts.last() == Some(&"mod.rs"));
        depends.extend(mentions(&fs::read_to_string(&path).unwrap(), depth, &rooms));
        depends.remove(room);
    }
    found
}

fn assert_apart(found: &Rooms, room: &str, from: &[&str]) {
    for other in from {
        assert!(found.contains_key(*other), "there is no room {other} any more");
        assert!(!found[room].contains(*other), "{room} must know nothing of {other}");
    }
}

#[test]
fn the_scanner_sees_every_way_of_naming_a_room() {
    let rooms: BTreeSet<String> = ["data", "engine", "record", "lsh"].map(String::from).into();
    let seen = |text: &str, depth| mentions(text, depth, &rooms).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(seen("use crate::data::Batch;", 1), "data");
    assert_eq!(seen("use crate::{engine::{self, lsh}, record};", 1), "engine record");
    assert_eq!(seen("let x = crate::lsh::new();", 1), "lsh");
    assert_eq!(seen("use super::super::record::Row;", 2), "record");
    assert_eq!(seen("use super::record::Row;", 2), "");
    assert_eq!(seen("// crate::data\n/// [`crate::engine`]", 1), "");
    assert_eq!(seen("use crate::database::Batch;", 1), "");
}

#[test]
fn the_report_reads_records_only() {
    let found = dependencies();
    let only: Vec<&str> = found["report"].iter().map(String::as_str).filter(|room| *room != "record").collect();
    assert!(only.is_empty(), "report also depends on {only:?}");
}

#[test]
fn engines_know_nothing_of_what_uses_them() {
    assert_apart(&dependencies(), "engine", &["harness", "experiment", "record", "report", "cli"]);
}

#[test]
fn the_parts_of_engines_know_nothing_of_engines() {
    let found = dependencies();
    for room in ["lsh", "kernels", "network", "data"] {
        assert_apart(&found, room, &["engine", "harness", "experiment", "record", "report", "cli"]);
    }
}

#[test]
fn the_harness_and_the_records_do_not_look_at_the_report_and_nobody_looks_at_the_command_line() {
    let found = dependencies();
    assert_apart(&found, "harness", &["report"]);
    assert_apart(&found, "record", &["report", "harness", "experiment", "engine"]);
    for room in found.keys().filter(|room| *room != "cli") {
        assert_apart(&found, room, &["cli"]);
    }
}

#[test]
fn there_are_no_circles() {
    let mut left = dependencies();
    // Take away rooms that depend on nothing that is left; a circle cannot be taken away.
    while let Some(free) = left.iter().find(|(_, on)| on.iter().all(|on| !left.contains_key(on))) {
        let free = free.0.clone();
        left.remove(&free);
    }
    assert!(left.is_empty(), "these depend on each other in circles: {left:#?}");
}

#[test]
fn shaders_belong_to_the_gpu_engine_alone() {
    for path in files(&source()) {
        let text = fs::read_to_string(&path).unwrap();
        let uses = text.lines().any(|line| line.contains("include_str!") && line.contains(".wgsl"));
        let allowed = path.strip_prefix(source()).unwrap().starts_with("engine/dense_gpu");
        assert!(!uses || allowed, "{} includes a shader", path.display());
    }
}

#[test]
fn the_tour_in_lib_rs_visits_every_room() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    for room in rooms() {
        assert!(lib.contains(&format!("| [`{room}`] |")), "{room} is missing from the table in src/lib.rs");
    }
}
