//! What must hold for any configuration file at all: the body of the fuzz target `config`.
//!
//! A file is either refused, with problems that point into it, or gives a configuration whose
//! every value that was set, written as `check` shows it, is read back as the same. `fuzz/`
//! calls it under a fuzzing engine, `tests/fuzz_config.rs` with noise in every `cargo test`.

use crate::config::{Inputs, load};
use crate::problem::{Place, Problem};
use crate::settings::{Config, SETTINGS};

/// Any bytes as `aureon.toml`.
pub fn config(bytes: &[u8]) {
    let file = Some(("aureon.toml".to_owned(), bytes.to_vec()));
    let loaded = match load(&Inputs {
        file,
        ..Inputs::default()
    }) {
        Ok(loaded) => loaded,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            return problems
                .iter()
                .for_each(|problem| points_into(bytes, problem));
        }
    };
    let default = Config::default();
    for setting in SETTINGS {
        let value = setting.get(&loaded.config);
        // What nobody set may be shown as nothing: the built-in site has no root.
        if value == setting.get(&default) {
            continue;
        }
        let shown = setting.kind.show(&value);
        assert_eq!(
            setting.kind.parse_value(&shown),
            Ok(value),
            "{} = {shown}",
            setting.key
        );
    }
}

fn points_into(bytes: &[u8], problem: &Problem) {
    assert!(!problem.what.is_empty());
    let Place::File { line, column, .. } = problem.place else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    let found = (line as usize).checked_sub(1).and_then(|at| lines.get(at));
    let columns = found.map_or(0, |line| line.chars().count() + 1);
    assert!(
        (1..=columns).contains(&(column as usize)),
        "{problem:?} points outside of {text:?}"
    );
}
