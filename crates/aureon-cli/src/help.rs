//! The text of help, from the tables of commands and flags.
//!
//! All commands on one screen; of one command all its flags. `tests/help.txt` holds what it comes
//! to, so that whoever changes it sees it.

use crate::arguments::table::{COMMANDS, Command, FLAGS, FlagRow};

/// `aureon 0.1.0`.
pub const VERSION: &str = concat!("aureon ", env!("CARGO_PKG_VERSION"), "\n");

/// The column where explanations begin.
const COLUMN: usize = 32;

/// Writes help of a command, or of all.
#[must_use]
pub fn write_help(topic: Option<Command>) -> String {
    topic.map_or_else(write_all, write_one)
}

fn write_all() -> String {
    let mut out = String::from(concat!(
        "aureon ",
        env!("CARGO_PKG_VERSION"),
        ": from a fresh server to HTTPS by one command, and back\n\n",
        "Usage: aureon COMMAND [FLAGS] [WORDS]\n\n",
        "  aureon deploy root@203.0.113.7 --domain example.com\n\nCommands:\n",
    ));
    for row in COMMANDS {
        line(&mut out, &["  ", row.name].concat(), row.help);
    }
    out.push_str("\nFlags of all commands:\n");
    for row in FLAGS
        .iter()
        .filter(|row| row.commands.len() == COMMANDS.len())
    {
        line(&mut out, &left(row), row.help);
    }
    out.push_str(concat!(
        "\n`aureon help COMMAND` lists the flags of one. aureon.toml: docs/DEPLOYMENT.md.\n",
        "Environment: NO_COLOR, AUREON_SSH (another client than ssh).\n",
        "Exit codes: 0 done, 1 failed, 2 wrong command line, 69 refused because it would not\n",
        "work, 78 wrong aureon.toml; nothing has been changed after 2, 69 and 78.\n",
    ));
    out
}

fn write_one(command: Command) -> String {
    let row = command.row();
    let usage = ["Usage: aureon ", row.name, " [FLAGS] ", row.words].concat();
    let mut out = [row.help, "\n\n", usage.trim_end(), "\n"].concat();
    if !row.more.is_empty() {
        out.push('\n');
    }
    for more in row.more {
        out.push_str(more);
        out.push('\n');
    }
    out.push_str("\nFlags:\n");
    for row in FLAGS.iter().filter(|row| row.commands.contains(&command)) {
        line(&mut out, &left(row), row.help);
    }
    out
}

fn left(row: &FlagRow) -> String {
    let short = row
        .short
        .map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let value = if row.value.is_empty() { "" } else { " " };
    ["  ", &short, "--", row.long, value, row.value].concat()
}

fn line(out: &mut String, left: &str, right: &str) {
    out.push_str(left);
    let gap = COLUMN.saturating_sub(left.chars().count()).max(2);
    out.push_str(&" ".repeat(gap));
    out.push_str(right);
    out.push('\n');
}
