//! The text of `--help`, written from the table of settings and the table of commands.
//!
//! A golden file under `tests/` holds what it must come to, so that a change of a default or of
//! a flag is seen by whoever makes it. Called by `command` only.

use crate::arguments::{COMMANDS, OWN_FLAGS};
use crate::settings::{Config, SETTINGS};

/// `aureond 0.1.0`.
pub const VERSION: &str = concat!("aureond ", env!("CARGO_PKG_VERSION"), "\n");

/// The column where explanations begin.
const COLUMN: usize = 40;

/// Writes the whole text.
pub fn write_help() -> String {
    let mut out = String::from(concat!(
        "aureond ",
        env!("CARGO_PKG_VERSION"),
        ": serves a directory and a small API over HTTP\n\n",
        "Usage: aureond [COMMAND] [OPTIONS] [DIR]\n\nCommands:\n",
    ));
    for (name, _, help) in COMMANDS {
        line(&mut out, &["  ", name].concat(), help, "");
    }
    out.push_str("\nOptions:\n");
    for (letter, word, placeholder, help) in OWN_FLAGS {
        let letter = (letter != ' ').then_some(letter);
        line(
            &mut out,
            &left(letter, &["--", word].concat(), placeholder),
            help,
            "",
        );
    }
    out.push_str(concat!(
        "\nSettings, with their defaults. Each is a flag, a variable (--idle-timeout is\n",
        "AUREON_IDLE_TIMEOUT) and a key of aureon.toml (idle_timeout); flags win over\n",
        "variables over the file. A switch is turned off by --no-NAME.\n",
    ));
    let config = Config::default();
    for setting in SETTINGS {
        let shown = left(setting.short, &setting.flag(), &setting.kind.placeholder());
        line(&mut out, &shown, setting.help, &setting.show(&config));
    }
    out.push_str(concat!(
        "\nSizes: 512B, 64KiB, 1MiB, 1GiB. Durations: 500ms, 10s, 2m, 1h.\n",
        "Signals: TERM, INT and QUIT stop once running exchanges are done; a second INT at once.\n",
        "HUP reads the configuration again, USR1 opens the log's file again,\n",
        "USR2 hands over to a new process of the program.\n",
        "Exit codes: 0 fine, 1 failed, and what another start does not mend: 2 usage, 69 address\n",
        "taken, 77 not permitted, 78 wrong configuration or no root.\n",
    ));
    out
}

fn left(short: Option<char>, flag: &str, placeholder: &str) -> String {
    let mut out = String::from("  ");
    match short {
        Some(short) => {
            out.push('-');
            out.push(short);
            out.push_str(", ");
        }
        None => out.push_str("    "),
    }
    out.push_str(flag);
    if !placeholder.is_empty() {
        out.push(' ');
        out.push_str(placeholder);
    }
    out
}

fn line(out: &mut String, left: &str, help: &str, default: &str) {
    out.push_str(left);
    // A flag too long for its column pushes its explanation to the next line.
    let blanks = match COLUMN.checked_sub(left.len()) {
        Some(blanks @ 2..) => blanks,
        _ => {
            out.push('\n');
            COLUMN
        }
    };
    push_blanks(out, blanks);
    out.push_str(help);
    if !default.is_empty() {
        out.push_str(" [");
        out.push_str(default);
        out.push(']');
    }
    out.push('\n');
}

/// So many blanks.
pub(crate) fn push_blanks(out: &mut String, count: usize) {
    for _ in 0..count {
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_terminal_of_a_hundred_columns() {
        for line in write_help().lines() {
            assert!(line.len() <= 100, "{line}");
            assert!(line.is_ascii(), "{line}");
        }
    }
}
