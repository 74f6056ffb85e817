//! Shows that every rule can fail: for each one text that it must refuse, beside one that it
//! must leave alone.
//!
//! A rule without a sample is itself a failure, so a new rule comes with its own.

use crate::rules::RULES;
use crate::source::Source;

/// Rule, path, a text it refuses, a text it allows.
const SAMPLES: &[(&str, &str, &str, &str)] = &[
    (
        "rooms",
        "crates/aureon/src/http/a.rs",
        "use crate::sys::Driver;",
        "use crate::limits::A;",
    ),
    (
        "rooms",
        "crates/aureon/src/http/a.rs",
        "use crate::{limits, app::B};",
        "use crate::{limits};",
    ),
    (
        "rooms",
        "crates/aureon/src/http/a.rs",
        "super::super::app::f()",
        "super::parse::f()",
    ),
    (
        "rooms",
        "crates/aureon/src/http/mod.rs",
        "super::app::f()",
        "super::limits::f()",
    ),
    (
        "rooms",
        "crates/aureon/src/app/a.rs",
        "use crate::server::Server;",
        "use crate::http::A;",
    ),
    (
        "rooms",
        "crates/aureon/src/app/a.rs",
        "use crate::Method;",
        "use crate::http::Method;",
    ),
    (
        "rooms",
        "crates/aureon/src/sys/a.rs",
        "use crate::http::Head;",
        "use crate::limits::A;",
    ),
    (
        "rooms",
        "crates/aureon/src/files/a.rs",
        "use crate::sys::epoll::E;",
        "crate::sys::dir::Dir",
    ),
    (
        "rooms",
        "crates/aureon/src/files/a.rs",
        "crate::sys::{dir, Driver}",
        "crate::sys::dir::D",
    ),
    (
        "rooms",
        "crates/aureon/src/limits.rs",
        "use crate::http::Error;",
        "const A: u8 = 1;",
    ),
    ("rooms", "crates/aureon/src/attic.rs", "fn a() {}", ""),
    (
        "platform",
        "crates/aureon-service/src/a.rs",
        "use std::os::fd::OwnedFd;",
        "use std::ops::Deref;",
    ),
    (
        "platform",
        "crates/aureon/src/app/a.rs",
        "#[cfg(target_os = \"linux\")]",
        "#[cfg(test)]",
    ),
    (
        "platform",
        "crates/aureon/src/app/a.rs",
        "if cfg!(windows) {",
        "#[cfg(feature = \"json\")]",
    ),
    (
        "platform",
        "crates/aureon/src/app/a.rs",
        "#[cfg(any(test, unix))]",
        "// #[cfg(unix)]",
    ),
    (
        "platform",
        "crates/aureon/src/app/a.rs",
        "#[cfg_attr(unix, path = \"b\")]",
        "#[cfg_attr(test, derive(Debug))]",
    ),
    (
        "unsafe",
        "crates/aureon/src/app/a.rs",
        "// SAFETY: no.\nunsafe { a() }",
        "unsafe_code",
    ),
    (
        "unsafe",
        "crates/aureon/src/sys/a.rs",
        "unsafe { a() }",
        "// SAFETY: a.\nunsafe { a() }",
    ),
    (
        "unsafe",
        "crates/aureon/src/sys/a.rs",
        "// SAFETY: b.\nb();\nlet a = unsafe { a() };",
        "// SAFETY: a\n// really.\nlet a =\n    unsafe { a() };",
    ),
    (
        "protocol",
        "crates/aureon/src/http/a.rs",
        "use std::io::Read;",
        "use std::fmt;",
    ),
    (
        "silence",
        "crates/aureon/src/app/a.rs",
        "println!(\"a\");",
        "// println!",
    ),
    (
        "silence",
        "crates/aureon/src/app/a.rs",
        "std::env::args()",
        "env!(a)",
    ),
    (
        "front door",
        "crates/aureon/src/lib.rs",
        "pub fn a() {}",
        "pub use a::b;",
    ),
    (
        "limits",
        "crates/aureon/src/app/a.rs",
        "const A_BYTES_MAX: u8 = 1;",
        "const A: u8 = 1;",
    ),
    (
        "header",
        "crates/aureon/src/app/a.rs",
        "fn c() {}",
        "//! a\nfn c() {}",
    ),
    (
        "unfinished",
        "crates/aureon/src/app/a.rs",
        "todo!()",
        "\"todo!()\"",
    ),
    (
        "unfinished",
        "crates/aureon/src/app/a.rs",
        "#[ignore]",
        "ignore()",
    ),
    (
        "unfinished",
        "crates/aureon/src/app/a.rs",
        "// FIXME: a",
        "fixme()",
    ),
    (
        "sleep",
        "crates/aureon/tests/a.rs",
        "std::thread::sleep(a);",
        "// thread::sleep",
    ),
    (
        "unwrap",
        "crates/aureon/src/app/a.rs",
        "a.unwrap();",
        "#[test]\nfn a() { b.unwrap(); }",
    ),
    (
        "unwrap",
        "crates/aureon/src/app/a.rs",
        "a.expect(b);",
        "a.unwrap_or(b);",
    ),
    ("names", "crates/aureon/src/app/util.rs", "", ""),
    (
        "names",
        "crates/aureon/src/app/a.rs",
        "fn get_a() {}",
        "fn target_a() {}",
    ),
    (
        "names",
        "crates/aureon/src/app/a.rs",
        "fn test_a() {}",
        "fn refuses_a() {}",
    ),
    (
        "banners",
        "crates/aureon/src/app/a.rs",
        "// ----------",
        "/// | --- | ----- |",
    ),
    (
        "words",
        "crates/aureon/src/app/a.rs",
        "// blazingly fast",
        "// fast: 2 us",
    ),
];

/// What the rule of this name finds in the text.
fn findings(rule: &str, path: &str, text: &str) -> usize {
    let (_, rule) = RULES
        .iter()
        .find(|(name, _)| *name == rule)
        .expect("a rule of this name");
    rule(&Source::new(path, text)).len()
}

#[test]
fn every_rule_refuses_its_bad_sample_and_allows_its_good_one() {
    for (rule, path, bad, good) in SAMPLES {
        assert_eq!(findings(rule, path, bad), 1, "{rule} and {bad:?}");
        let path = path
            .replace("attic.rs", "limits.rs")
            .replace("util.rs", "a.rs");
        assert_eq!(findings(rule, &path, good), 0, "{rule} and {good:?}");
    }
}

#[test]
fn every_size_is_measured() {
    let path = "crates/aureon/src/app/a.rs";
    let function = |lines: usize| format!("fn a() {{\n{}}}\n", "b();\n".repeat(lines - 2));
    assert_eq!(findings("function length", path, &function(70)), 0);
    assert_eq!(findings("function length", path, &function(71)), 1);
    assert_eq!(findings("file length", path, &"\n".repeat(800)), 0);
    assert_eq!(findings("file length", path, &"\n".repeat(801)), 1);
    assert_eq!(findings("line length", path, &"ä".repeat(100)), 0);
    assert_eq!(findings("line length", path, &"ä".repeat(101)), 1);
    assert_eq!(
        findings(
            "header",
            path,
            &format!("//! a\n//! b\n{}", "\n".repeat(28))
        ),
        1
    );
    assert_eq!(findings("header", path, &"//! a\n".repeat(15)), 0);
    assert_eq!(findings("header", path, &"//! a\n".repeat(16)), 1);
}

#[test]
fn every_rule_has_a_sample() {
    let measured = ["file length", "line length", "function length"];
    for (name, _) in RULES {
        let sampled = SAMPLES.iter().any(|(rule, ..)| rule == name) || measured.contains(name);
        assert!(sampled, "no sample shows that `{name}` can fail");
    }
}
