//! The rules that compare what documents say with what the code is.
//!
//! README's code is an example that compiles; SECURITY.md's table of limits is the table the
//! engine enforces, value for value; no document praises instead of saying something.

use crate::rules::empty_words;
use crate::{read, root};
use aureon::limits::Limits;

/// The blocks of Rust in a document.
fn rust_blocks(text: &str) -> Vec<&str> {
    let behind = text.split("```rust\n").skip(1);
    behind
        .filter_map(|rest| Some(rest.split_once("```")?.0))
        .collect()
}

/// An example without the comment it opens with.
fn behind_header(text: &str) -> &str {
    let header: usize = text
        .split_inclusive('\n')
        .take_while(|line| line.starts_with("//!"))
        .map(str::len)
        .sum();
    text[header..].trim_start_matches('\n')
}

/// The limits by name, with their values as digits, as `Debug` shows them.
fn limits_by_name(shown: &str) -> Vec<(String, String)> {
    let inside = shown.trim_start_matches("Limits { ").trim_end_matches(" }");
    let pairs = inside.split(", ").filter_map(|pair| pair.split_once(": "));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The limits that the table does not list with their value.
fn missing_limits(table: &str, limits: &[(String, String)]) -> Vec<String> {
    let is_listed = |name: &str, value: &str| {
        table.lines().any(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            cells.next() == Some(&format!("`{name}`"))
                && cells
                    .next()
                    .is_some_and(|cell| cell.replace(',', "") == value)
        })
    };
    let missing = limits
        .iter()
        .filter(|(name, value)| !is_listed(name, value));
    missing
        .map(|(name, value)| format!("{name} = {value}"))
        .collect()
}

#[test]
fn the_readme_shows_the_examples_word_for_word() {
    let examples = [
        read("crates/aureon/examples/hello.rs"),
        read("crates/aureon-service/examples/backend.rs"),
    ];
    let shown: Vec<&str> = examples.iter().map(|text| behind_header(text)).collect();
    assert_eq!(rust_blocks(&read("README.md")), shown, "README.md");
}

#[test]
fn the_security_page_lists_every_limit_with_its_default() {
    let limits = limits_by_name(&format!("{:?}", Limits::DEFAULT));
    assert!(limits.len() > 20, "{limits:?}");
    let missing = missing_limits(&read("SECURITY.md"), &limits);
    assert!(missing.is_empty(), "SECURITY.md's table lacks {missing:?}");
}

#[test]
fn documents_say_something() {
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ] {
        let found: Vec<&str> = empty_words(&read(name)).collect();
        assert!(found.is_empty(), "{name} has {found:?}");
    }
    let docs = std::fs::read_dir(root().join("docs")).expect("docs/");
    for entry in docs.map(|entry| entry.expect("a readable directory").path()) {
        let text = std::fs::read_to_string(&entry).expect("a document is text");
        let found: Vec<&str> = empty_words(&text).collect();
        assert!(found.is_empty(), "{} has {found:?}", entry.display());
    }
}

#[test]
fn a_document_that_differs_is_seen() {
    assert_eq!(
        rust_blocks("a\n```rust\nb\n```\nc\n```rust\nd\n```"),
        ["b\n", "d\n"]
    );
    assert!(rust_blocks("a\n```sh\nb\n```\nc").is_empty());
    assert_eq!(behind_header("//! a\n//! b\n\nuse c;\n"), "use c;\n");
    let limits = limits_by_name("Limits { a_max: 1000, b_ms: 2 }");
    assert_eq!(
        missing_limits("| `a_max` | 1,000 | x |\n| `b_ms` | 2 |", &limits),
        [""; 0]
    );
    assert_eq!(
        missing_limits("| `a_max` | 1,001 |\n| `b_ms` | 2 |", &limits),
        ["a_max = 1000"]
    );
    assert_eq!(
        empty_words("A Blazing server").collect::<Vec<_>>(),
        ["blazing"]
    );
}
