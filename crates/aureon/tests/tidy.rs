//! The source checks itself: what a test can see about how the code is written stands here.
//!
//! `tidy/rules.rs` holds every rule about a file by itself, `tidy/documents.rs` the ones that
//! compare documents with code, `tidy/samples.rs` shows that each of them can fail. A finding
//! names file and line. The rules' reasons are in CONTRIBUTING.md.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;

use rules::RULES;
use source::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The text of a file of the repository.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below a directory.
fn walk(directory: &str, found: &mut Vec<Source>) {
    let entries = fs::read_dir(root().join(directory));
    let entries = entries.unwrap_or_else(|error| panic!("{directory}: {error}"));
    for entry in entries {
        let entry = entry.expect("a readable directory");
        let name = entry
            .file_name()
            .into_string()
            .expect("file names are text");
        let path = format!("{directory}/{name}");
        if entry.file_type().expect("an entry's type").is_dir() {
            if name != "target" && name != "corpus" {
                walk(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(Source::new(&path, &read(&path)));
        }
    }
}

#[test]
fn the_source_keeps_every_rule() {
    let mut sources = Vec::new();
    for directory in ["crates", "fuzz", "bench"] {
        walk(directory, &mut sources);
    }
    assert!(
        sources.len() > 40,
        "only {} files were found",
        sources.len()
    );
    let mut shown = Vec::new();
    for source in &sources {
        for (name, rule) in RULES {
            // What measures the engine from outside is its own program, on any system's terms.
            let outside = source.path.starts_with("bench/");
            if outside && ["platform", "unsafe", "unwrap"].contains(name) {
                continue;
            }
            let findings = rule(source).into_iter();
            shown.extend(
                findings.map(|(line, what)| format!("{}:{line}: {name}: {what}", source.path)),
            );
        }
    }
    assert!(
        shown.is_empty(),
        "{} findings:\n{}",
        shown.len(),
        shown.join("\n")
    );
}
