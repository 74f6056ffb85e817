//! Every command and every flag, in one table each: parsing, help and completions read these.
//!
//! A flag belongs to the commands that it names; given to another one it is a mistake that says so,
//! because a flag that does nothing is a wish that is not granted.

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Takes the host to what is wanted.
    Deploy,
    /// Shows what `deploy` would do.
    Plan,
    /// Goes back to a release that is kept.
    Rollback,
    /// Takes back what was done to the host.
    Undo,
    /// What is deployed, and how it is.
    Status,
    /// What the service says.
    Logs,
    /// Runs a command as the service.
    Run,
    /// Environment and secrets on the host.
    Env,
    /// Looks whether a deployment would work.
    Check,
    /// The version.
    Version,
    /// Help.
    Help,
    /// Completions for a shell.
    Completions,
}

/// A row of the table of commands.
#[derive(Debug)]
pub struct CommandRow {
    /// As it is typed.
    pub name: &'static str,
    /// Which one it is.
    pub command: Command,
    /// Words behind it.
    pub words: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// What else there is to know, lines of at most 80 letters.
    pub more: &'static [&'static str],
}

/// Every command, in the order of help.
pub const COMMANDS: &[CommandRow] = &[
    CommandRow {
        name: "deploy",
        command: Deploy,
        words: "[USER@HOST] [DIR]",
        help: "Take a server to the site of this directory, on HTTPS",
        more: &[
            "Asks the host what it is like, shows what would change, asks once, and does it.",
            "Every byte that is replaced is kept on the host: `aureon undo` takes all of it",
            "back. A second run changes what has changed; the release that is served goes on",
            "until the new one is healthy. Without USER@HOST the hosts of [deploy] in",
            "aureon.toml, one after the other. DIR is what is served when aureon.toml says",
            "nothing.",
        ],
    },
    CommandRow {
        name: "plan",
        command: Plan,
        words: "[USER@HOST] [DIR]",
        help: "Show what deploy would change; change nothing",
        more: &[
            "--script prints the plan as a shell script to read, and to run by hand as root;",
            "--facts plans for a host that was recorded by `aureon check --record`.",
        ],
    },
    CommandRow {
        name: "rollback",
        command: Rollback,
        words: "[USER@HOST] [RELEASE]",
        help: "Go back to the release before, or to RELEASE",
        more: &["`aureon status` lists the releases that are kept."],
    },
    CommandRow {
        name: "undo",
        command: Undo,
        words: "[USER@HOST]",
        help: "Take back what was done to the host, byte for byte",
        more: &[
            "All runs of all applications, the last one first; --last takes back only that, --app",
            "NAME or --domain NAME only that application's, if no other's came later. What",
            "somebody else has changed since is left as it is, and said.",
        ],
    },
    CommandRow {
        name: "status",
        command: Status,
        words: "[USER@HOST]",
        help: "Show what is deployed and how it is",
        more: &[],
    },
    CommandRow {
        name: "logs",
        command: Logs,
        words: "[USER@HOST]",
        help: "Show what the service has written",
        more: &[],
    },
    CommandRow {
        name: "run",
        command: Run,
        words: "[USER@HOST] -- COMMAND [WORD]...",
        help: "Run a command on the host, by the service's user and environment",
        more: &[
            "In the directory of the release that is served. Standard input is passed on.",
            "With the host from aureon.toml, or by --host, the `--` may be left out.",
        ],
    },
    CommandRow {
        name: "env",
        command: Env,
        words: "[USER@HOST] list | set NAME... | unset NAME...",
        help: "Secrets on the host: list their names, set them, remove them",
        more: &[
            "Values are never arguments: they are asked for, or read from standard input as",
            "lines of NAME=VALUE, or, for a single NAME, as the value itself. On the host",
            "they are root's own; the service is started again to read them.",
        ],
    },
    CommandRow {
        name: "check",
        command: Check,
        words: "[USER@HOST] [DIR]",
        help: "Look whether deploy would work: here, on the way, and there",
        more: &["Nothing is changed anywhere; --record writes the host's facts into a file."],
    },
    CommandRow {
        name: "version",
        command: Version,
        words: "",
        help: "Print the version",
        more: &[],
    },
    CommandRow {
        name: "help",
        command: Help,
        words: "[COMMAND]",
        help: "Print help, of one command with all its flags",
        more: &[],
    },
    CommandRow {
        name: "completions",
        command: Completions,
        words: "bash|zsh|fish",
        help: "Print completions for a shell",
        more: &[],
    },
];

/// A flag's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// `--config`
    Config,
    /// `--host`
    Host,
    /// `--domain`
    Domain,
    /// `--app`
    App,
    /// `--cloudflare`
    Cloudflare,
    /// `--no-firewall`
    NoFirewall,
    /// `--cert`
    Cert,
    /// `--key`
    Key,
    /// `--http-only`
    HttpOnly,
    /// `--acme-server`
    AcmeServer,
    /// `--email`
    Email,
    /// `--port`
    Port,
    /// `--aureond`
    Aureond,
    /// `--facts`
    Facts,
    /// `--record`
    Record,
    /// `--script`
    Script,
    /// `--contents`
    Contents,
    /// `--dry-run`
    DryRun,
    /// `--last`
    Last,
    /// `--follow`
    Follow,
    /// `--lines`
    Lines,
    /// `--break-lock`
    BreakLock,
    /// `--yes`
    Yes,
    /// `--json`
    Json,
    /// `--quiet`
    Quiet,
    /// `--verbose`
    Verbose,
    /// `--ssh-port`
    SshPort,
    /// `--identity`
    Identity,
    /// `--ssh-option`
    SshOption,
    /// `--help`
    Help,
    /// `--version`
    Version,
}

/// A row of the table of flags.
#[derive(Debug)]
pub struct FlagRow {
    /// Which one it is.
    pub flag: Flag,
    /// Its letter.
    pub short: Option<char>,
    /// Its word, without the hyphens.
    pub long: &'static str,
    /// What its value is called; empty for a switch.
    pub value: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// Where it means something.
    pub commands: &'static [Command],
}

use Command::{
    Check, Completions, Deploy, Env, Help, Logs, Plan, Rollback, Run, Status, Undo, Version,
};

/// What reads `aureon.toml` and reaches a host.
const REMOTE: &[Command] = &[Deploy, Plan, Rollback, Undo, Status, Logs, Run, Env, Check];
/// What describes a deployment.
const WISHES: &[Command] = &[Deploy, Plan, Check];
/// What changes a host.
const CHANGES: &[Command] = &[Deploy, Rollback, Undo, Env];
/// All commands.
const ALL: &[Command] = &[
    Deploy,
    Plan,
    Rollback,
    Undo,
    Status,
    Logs,
    Run,
    Env,
    Check,
    Version,
    Help,
    Completions,
];

const fn row(
    flag: Flag,
    short: Option<char>,
    long: &'static str,
    value: &'static str,
    help: &'static str,
    commands: &'static [Command],
) -> FlagRow {
    FlagRow {
        flag,
        short,
        long,
        value,
        help,
        commands,
    }
}

/// Every flag, in the order of help.
pub const FLAGS: &[FlagRow] = &[
    row(
        Flag::Config,
        Some('c'),
        "config",
        "FILE",
        "The file instead of ./aureon.toml",
        REMOTE,
    ),
    row(
        Flag::Host,
        None,
        "host",
        "USER@HOST",
        "The host, for commands with words of their own",
        REMOTE,
    ),
    row(
        Flag::App,
        None,
        "app",
        "NAME",
        "The application's name; without it, from the domain",
        REMOTE,
    ),
    row(
        Flag::Domain,
        None,
        "domain",
        "NAME",
        "A name of the site; again for each further one",
        REMOTE,
    ),
    row(
        Flag::Cloudflare,
        None,
        "cloudflare",
        "",
        "The domain is behind Cloudflare (the orange cloud)",
        WISHES,
    ),
    row(
        Flag::NoFirewall,
        None,
        "no-firewall",
        "",
        "Leave the firewall as it is",
        WISHES,
    ),
    row(
        Flag::Cert,
        None,
        "cert",
        "FILE",
        "A certificate of your own, PEM, leaf first",
        WISHES,
    ),
    row(Flag::Key, None, "key", "FILE", "Its key, PEM", WISHES),
    row(
        Flag::HttpOnly,
        None,
        "http-only",
        "",
        "No certificate: port 80 alone",
        WISHES,
    ),
    row(
        Flag::AcmeServer,
        None,
        "acme-server",
        "URL",
        "Another ACME directory than Let's Encrypt's",
        WISHES,
    ),
    row(
        Flag::Email,
        None,
        "email",
        "ADDRESS",
        "Where Let's Encrypt writes to",
        WISHES,
    ),
    row(
        Flag::Port,
        None,
        "port",
        "PORT",
        "The service's port on 127.0.0.1, instead of a free one",
        WISHES,
    ),
    row(
        Flag::Aureond,
        None,
        "aureond",
        "FILE",
        "The server's program for the host: static, for Linux",
        WISHES,
    ),
    row(
        Flag::Facts,
        None,
        "facts",
        "FILE",
        "Plan for a recorded host",
        &[Plan],
    ),
    row(
        Flag::Script,
        None,
        "script",
        "",
        "Print the plan as a shell script",
        &[Plan],
    ),
    row(
        Flag::Contents,
        None,
        "contents",
        "FILE",
        "Write what that script reads as its input",
        &[Plan],
    ),
    row(
        Flag::Record,
        None,
        "record",
        "FILE",
        "Write the host's facts into a file, for --facts",
        &[Check],
    ),
    row(
        Flag::DryRun,
        None,
        "dry-run",
        "",
        "Show what would be done, and end",
        CHANGES,
    ),
    row(Flag::Last, None, "last", "", "Only the last run", &[Undo]),
    row(
        Flag::Follow,
        Some('f'),
        "follow",
        "",
        "Go on as more is written",
        &[Logs],
    ),
    row(
        Flag::Lines,
        Some('n'),
        "lines",
        "N",
        "How many lines (100)",
        &[Logs],
    ),
    row(
        Flag::BreakLock,
        None,
        "break-lock",
        "",
        "Take the lock from whoever holds it",
        CHANGES,
    ),
    row(Flag::Yes, Some('y'), "yes", "", "Do not ask", CHANGES),
    row(
        Flag::Json,
        None,
        "json",
        "",
        "Report as JSON, an object a line",
        ALL,
    ),
    row(
        Flag::Quiet,
        Some('q'),
        "quiet",
        "",
        "Say only what went wrong",
        REMOTE,
    ),
    row(
        Flag::Verbose,
        Some('v'),
        "verbose",
        "",
        "Say everything that the host says",
        REMOTE,
    ),
    row(
        Flag::SshPort,
        Some('p'),
        "ssh-port",
        "PORT",
        "ssh's port, as ssh -p",
        REMOTE,
    ),
    row(
        Flag::Identity,
        Some('i'),
        "identity",
        "FILE",
        "ssh's key, as ssh -i",
        REMOTE,
    ),
    row(
        Flag::SshOption,
        Some('o'),
        "ssh-option",
        "OPTION",
        "An option of ssh's, as ssh -o; may be repeated",
        REMOTE,
    ),
    row(Flag::Help, Some('h'), "help", "", "Print help", ALL),
    row(
        Flag::Version,
        Some('V'),
        "version",
        "",
        "Print the version",
        ALL,
    ),
];

impl Command {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static CommandRow {
        let row = COMMANDS.iter().find(|row| row.command == self);
        // Every command has one, as a test shows.
        row.unwrap_or(&COMMANDS[0])
    }
}

impl Flag {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static FlagRow {
        let row = FLAGS.iter().find(|row| row.flag == self);
        row.unwrap_or(&FLAGS[0])
    }

    /// `--word`.
    #[must_use]
    pub fn typed(self) -> String {
        ["--", self.row().long].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice() {
        for (at, row) in FLAGS.iter().enumerate() {
            let twice = |other: &FlagRow| {
                other.long == row.long
                    || other.flag == row.flag
                    || other.short.is_some() && other.short == row.short
            };
            assert!(!FLAGS[at + 1..].iter().any(twice), "{}", row.long);
            assert_eq!(row.flag.row().long, row.long);
            assert!(!row.commands.is_empty());
        }
        for (at, row) in COMMANDS.iter().enumerate() {
            let twice = |other: &CommandRow| other.name == row.name || other.command == row.command;
            assert!(!COMMANDS[at + 1..].iter().any(twice), "{}", row.name);
            assert_eq!(row.command.row().name, row.name);
        }
        for command in ALL {
            assert!(COMMANDS.iter().any(|row| row.command == *command));
        }
        assert_eq!(ALL.len(), COMMANDS.len());
    }
}
