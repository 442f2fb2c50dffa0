//! What the compiler does not check: the direction of imports, module comments, generated files,
//! and that nothing unfinished is left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{Outcome, generate, root};

/// The floors, from the bottom; a crate imports from floors below its own only
/// (ARCHITECTURE.md, "The floors").
const FLOORS: [&[&str]; 5] = [
    &["amqp", "mqtt", "model", "query", "manifest", "pki", "iot-proto"],
    &["host", "journal", "store", "containers"],
    &["gateway", "client"],
    &["hub", "edge-daemon", "edge-agent", "edge-hub", "simulator"],
    &["farshore"],
];

/// Allowed on one floor, and nothing else.
const SIDEWAYS: [(&str, &[&str]); 7] = [
    ("query", &["model"]),
    ("manifest", &["model", "query"]),
    ("pki", &["model"]),
    ("iot-proto", &["amqp", "model", "mqtt"]),
    ("journal", &["host"]),
    ("store", &["host", "journal"]),
    ("containers", &["host"]),
];

/// The language floor is pure: none of these below the doors.
const IMPURE: [&str; 6] = ["tokio", "hyper", "host", "rusqlite", "rustix", "tracing"];

/// All checks; every finding is told.
pub(crate) fn run() -> Outcome {
    let mut findings = Vec::new();
    imports(&mut findings)?;
    sources(&mut findings)?;
    if let Err(error) = generate::check() {
        findings.push(error.to_string());
    }
    if findings.is_empty() {
        println!("tidy");
        return Ok(());
    }
    Err(format!("{} findings:\n  {}", findings.len(), findings.join("\n  ")).into())
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

fn imports(findings: &mut Vec<String>) -> Outcome {
    let mut seen = BTreeMap::new();
    for dir in std::fs::read_dir(root().join("crates"))? {
        let path = dir?.path();
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(floor_of) = floor(&name) else {
            findings.push(format!("crates/{name}: on no floor; add it to xtask/src/tidy.rs"));
            continue;
        };
        let text = std::fs::read_to_string(path.join("Cargo.toml"))?;
        let manifest: toml::Table = text.parse()?;
        let named = manifest["package"]["name"].as_str().unwrap_or_default();
        if named != name {
            findings.push(format!("crates/{name}: its package is called {named}"));
        }
        let dependencies = manifest.get("dependencies").and_then(|table| table.as_table());
        for dependency in dependencies.into_iter().flat_map(|table| table.keys()) {
            check_import(&name, floor_of, dependency, findings);
        }
        seen.insert(name, ());
    }
    for name in FLOORS.iter().flat_map(|floor| floor.iter()) {
        if !seen.contains_key(*name) {
            findings.push(format!("xtask/src/tidy.rs names a crate that does not exist: {name}"));
        }
    }
    Ok(())
}

fn check_import(name: &str, floor_of: usize, dependency: &str, findings: &mut Vec<String>) {
    if floor_of == 0 && IMPURE.contains(&dependency) {
        findings.push(format!("crates/{name} imports {dependency}: the language floor is pure"));
    }
    let Some(below) = floor(dependency) else { return };
    let sideways = SIDEWAYS.iter().any(|(from, to)| *from == name && to.contains(&dependency));
    if below > floor_of || (below == floor_of && !sideways) {
        findings.push(format!("crates/{name} imports {dependency}: imports go down only"));
    }
}

fn sources(findings: &mut Vec<String>) -> Outcome {
    let mut files = Vec::new();
    for dir in ["crates", "xtask"] {
        rust_files(&root().join(dir), &mut files)?;
    }
    for path in files {
        let text = std::fs::read_to_string(&path)?;
        let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        check_source(&shown, &text, findings);
    }
    Ok(())
}

fn check_source(shown: &str, text: &str, findings: &mut Vec<String>) {
    let is_test =
        shown.contains("/tests/") || shown.ends_with("tests.rs") || shown.contains("/benches/");
    if !is_test && !text.starts_with("//!") {
        findings.push(format!("{shown}: no module comment (//!) at the top"));
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = code.lines().count();
    if !is_test && lines > LINES_MAX {
        findings.push(format!(
            "{shown}: {lines} lines without tests; split it, or it is at most {LINES_MAX}"
        ));
    }
    for mark in
        ["TO", "FIX"].map(|half| format!("{half}{}", if half == "TO" { "DO" } else { "ME" }))
    {
        if text.contains(&mark) {
            findings.push(format!("{shown}: holds {mark}; finish it or leave it out"));
        }
    }
    for macro_name in ["todo", "unimplemented"] {
        if text.contains(&format!("{macro_name}!(")) {
            findings.push(format!("{shown}: holds {macro_name}!"));
        }
    }
}

/// STYLE.md: past 800 lines a file is no longer one thing.
const LINES_MAX: usize = 800;

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) -> Outcome {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    into.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, dependency: &str) -> bool {
        let mut findings = Vec::new();
        check_import(name, floor(name).unwrap(), dependency, &mut findings);
        !findings.is_empty()
    }

    #[test]
    fn imports_go_down_only() {
        for (name, dependency) in [
            ("mqtt", "tokio"),
            ("mqtt", "model"),
            ("host", "gateway"),
            ("hub", "edge-hub"),
            ("host", "journal"),
        ] {
            assert!(found(name, dependency), "{name} -> {dependency}");
        }
        for (name, dependency) in [
            ("journal", "host"),
            ("hub", "gateway"),
            ("hub", "model"),
            ("farshore", "hub"),
            ("iot-proto", "mqtt"),
        ] {
            assert!(!found(name, dependency), "{name} -> {dependency}");
        }
    }
}
