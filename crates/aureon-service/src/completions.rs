//! `aureond completions SHELL`: what a shell offers while a command line is typed.
//!
//! Written from the tables that the command line is read by, so that a new flag is offered as soon
//! as it exists. Values are left to the shell, which offers files.

use crate::arguments::{COMMANDS, OWN_FLAGS};
use crate::settings::SETTINGS;

/// The shells it is written for.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Writes the script for a shell, to be read by it when it starts.
pub fn write_completions(shell: &str) -> String {
    let mut out = String::from(match shell {
        "bash" => "complete -o default -W '",
        "zsh" => "#compdef aureond\ncompadd --",
        _ => "",
    });
    let mut add = |word: &str, help: &str, flag: &str| {
        let parts = match shell {
            "fish" => ["complete -c aureond ", flag, word, " -d \"", help, "\"\n"],
            _ => [
                " ",
                if flag == COMMAND { "" } else { "--" },
                word,
                "",
                "",
                "",
            ],
        };
        parts.into_iter().for_each(|part| out.push_str(part));
    };
    for (name, _, help) in COMMANDS {
        add(name, help, COMMAND);
    }
    for (_, name, _, help) in OWN_FLAGS {
        add(name, help, "-l ");
    }
    for setting in SETTINGS {
        add(&setting.key.replace('_', "-"), setting.help, "-l ");
    }
    out.push_str(match shell {
        "bash" => "' aureond\n",
        "zsh" => "\n_files\n",
        _ => "",
    });
    out
}

/// What fish is told before a word that is a command.
const COMMAND: &str = "-n __fish_use_subcommand -a ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_flag_is_offered_in_a_line_that_can_be_read() {
        for shell in SHELLS {
            let script = write_completions(shell);
            let commands = COMMANDS.iter().map(|(name, ..)| (*name).to_owned());
            let own = OWN_FLAGS.iter().map(|(_, name, ..)| ["--", name].concat());
            for word in commands
                .chain(own)
                .chain(SETTINGS.iter().map(crate::settings::Setting::flag))
            {
                let word = match (shell, word.strip_prefix("--")) {
                    ("fish", Some(name)) => [" -l ", name, " -d \""].concat(),
                    ("fish", None) => ["_subcommand -a ", &word, " -d \""].concat(),
                    _ => [" ", &word].concat(),
                };
                assert!(script.contains(&word), "{word} in {script}");
            }
            // What would end a quotation early.
            let quotes = script
                .lines()
                .map(|line| line.matches(['"', '$', '\\']).count());
            assert!(quotes.into_iter().all(|count| matches!(count, 0 | 2)));
        }
        assert_eq!(write_completions("bash").matches('\'').count(), 2);
        assert!(!write_completions("zsh").contains('\''));
    }
}
