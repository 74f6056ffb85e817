//! `aureon completions SHELL`: what a shell offers while a command line is typed.
//!
//! Written from the tables that the command line is read by. Values are left to the shell, which
//! offers files.

use crate::arguments::table::{COMMANDS, FLAGS};

/// The shells it is written for.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Writes the script for a shell, to be read by it when it starts.
#[must_use]
pub fn write_completions(shell: &str) -> String {
    let commands = COMMANDS.iter().map(|row| row.name.to_owned());
    let flags = FLAGS.iter().map(|row| row.flag.typed());
    let words: Vec<String> = commands.chain(flags).collect();
    let words = words.join(" ");
    match shell {
        "bash" => format!("complete -o default -W '{words}' aureon\n"),
        "zsh" => format!("#compdef aureon\ncompadd -- {words}\n_files\n"),
        _ => write_fish(),
    }
}

fn write_fish() -> String {
    let mut out = String::new();
    for row in COMMANDS {
        let line = [
            "complete -c aureon -n __fish_use_subcommand -a ",
            row.name,
            " -d \"",
            row.help,
        ];
        out.push_str(&line.concat());
        out.push_str("\"\n");
    }
    for row in FLAGS {
        let names: Vec<&str> = row
            .commands
            .iter()
            .map(|command| command.row().name)
            .collect();
        out.push_str("complete -c aureon");
        if row.commands.len() < COMMANDS.len() {
            let seen = [" -n \"__fish_seen_subcommand_from ", &names.join(" "), "\""];
            out.push_str(&seen.concat());
        }
        out.push_str(&[" -l ", row.long].concat());
        if let Some(short) = row.short {
            out.push_str(" -s ");
            out.push(short);
        }
        out.push_str(if row.value.is_empty() { "" } else { " -r" });
        out.push_str(&[" -d \"", row.help, "\"\n"].concat());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_offered_in_a_line_that_can_be_read() {
        for shell in SHELLS {
            let script = write_completions(shell);
            for row in COMMANDS {
                assert!(script.contains(row.name), "{}", row.name);
            }
            for row in FLAGS {
                assert!(script.contains(row.long), "{}", row.long);
            }
            // What would end a quotation early.
            for line in script.lines() {
                assert_eq!(line.matches('"').count() % 2, 0, "{line}");
                assert!(!line.contains(['$', '\\', '`']), "{line}");
            }
        }
        assert_eq!(write_completions("bash").matches('\'').count(), 2);
    }
}
