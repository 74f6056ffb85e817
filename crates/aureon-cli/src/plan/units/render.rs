//! Units for an application, made of the ones in `packaging/systemd`, so that there is one source:
//! every line that is not changed here, and the comment that gives its reason, is the shipped one.
//!
//! What is changed stands in the `.changes` files beside this one, as shipped lines and the lines
//! in their place. A change of lines that are no longer there fails a test, and so does a unit that
//! `systemd-analyze` finds wrong or loose.

use crate::wanted::{Places, Serves, Socket, Wanted};

const SERVICE: &str = include_str!("../../../../../packaging/systemd/aureond.service");
const SOCKET: &str = include_str!("../../../../../packaging/systemd/aureond.socket");

const SHARED: &str = include_str!("shared.changes");
const HELD: &str = include_str!("held.changes");
const ALONE: &str = include_str!("alone.changes");
const OF_SITE: &str = include_str!("site.changes");
const OF_PROGRAM: &str = include_str!("program.changes");
const OF_PORT: &str = include_str!("port.changes");
const OF_SOCKET: &str = include_str!("socket.changes");

const HEAD: &str = "\
# Written by `aureon deploy` from the units that AUREON ships, and anew by the next one. What your
# machine needs otherwise goes into `systemctl edit`, not into this file.

";

/// A unit: its file's name and its text.
pub(crate) type Rendered = (String, String);

/// The units of an application that is reached at `port`: the socket that hands it its
/// connections, if there is one, and the service.
pub(crate) fn units(wanted: &Wanted, port: u16) -> Vec<Rendered> {
    let places = Places::new(&wanted.app);
    let values = values(wanted, port);
    let changes: &[&str] = match &wanted.serves {
        Serves::Site { .. } => &[SHARED, HELD, OF_SITE],
        Serves::Program { socket, .. } => match socket {
            Socket::Inherited => &[SHARED, HELD, OF_PROGRAM],
            Socket::Port => &[SHARED, ALONE, OF_PROGRAM, OF_PORT],
        },
    };
    let service = render(SERVICE, changes, &values);
    if changes.contains(&HELD) {
        let socket = render(SOCKET, &[OF_SOCKET], &values);
        vec![(places.socket(), socket), (places.service(), service)]
    } else {
        vec![(format!("aureon-{}@.service", wanted.app), service)]
    }
}

/// What stands in braces in the changes.
fn values(wanted: &Wanted, port: u16) -> Vec<(&'static str, String)> {
    let places = Places::new(&wanted.app);
    let mut values = vec![
        ("{app}", wanted.app.clone()),
        ("{domains}", percent(&wanted.domains.join(" "))),
        ("{environment}", places.environment()),
        ("{secrets}", places.secrets()),
        ("{current}", places.current()),
        ("{port}", port.to_string()),
    ];
    match &wanted.serves {
        Serves::Site { configuration, .. } => {
            let mut lines = configuration.lines().map(str::trim_start);
            let own = lines.any(|line| line.starts_with("trusted_proxies"));
            let trusted = if own {
                ""
            } else {
                " --trusted-proxies loopback"
            };
            values.push(("{trusted}", trusted.to_owned()));
        }
        Serves::Program {
            command, socket, ..
        } => {
            let runtime = match socket {
                Socket::Inherited => format!("aureon-{}", wanted.app),
                Socket::Port => format!("aureon-{}-%i", wanted.app),
            };
            values.push(("{runtime}", runtime));
            values.push(("{command}", command_line(&places.current(), command)));
        }
    }
    values
}

/// The command, its first word as a file of the release.
fn command_line(current: &str, command: &[String]) -> String {
    let mut line = String::new();
    for (at, word) in command.iter().enumerate() {
        match at {
            0 => line.push_str(&argument(&format!("{current}/{word}"))),
            _ => line.extend([" ", &argument(word)]),
        }
    }
    line
}

fn render(unit: &str, changes: &[&str], values: &[(&str, String)]) -> String {
    // Above the first section the shipped ones say how to install them.
    let lines = unit.lines().skip_while(|line| !line.starts_with('['));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    for change in changes.iter().flat_map(|text| parse(text)) {
        if let Some((start, end)) = find(&lines, &change.shipped) {
            let ours = change.ours.iter().map(|line| filled(line, values));
            lines.splice(start..end, ours);
        }
    }
    let mut text = HEAD.to_owned();
    let mut last = "";
    // What was taken out leaves no hole.
    for line in lines.iter().filter(|line| {
        let twice = line.is_empty() && last.is_empty();
        last = line.as_str();
        !twice
    }) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Shipped lines, and those in their place.
#[derive(Debug, Default)]
struct Change<'a> {
    shipped: Vec<&'a str>,
    ours: Vec<&'a str>,
}

/// The changes of a file: lines with `-`, then lines with `+`, with an empty line after them.
fn parse(text: &str) -> Vec<Change<'_>> {
    let mut changes = vec![Change::default()];
    for line in text.lines() {
        let Some(change) = changes.last_mut() else {
            continue;
        };
        if let Some(shipped) = line.strip_prefix('-') {
            change.shipped.push(shipped);
        } else if let Some(ours) = line.strip_prefix('+') {
            change.ours.push(ours);
        } else if line.is_empty() {
            changes.push(Change::default());
        }
    }
    changes.retain(|change| !change.shipped.is_empty());
    changes
}

/// Where the shipped lines are. `...` stands for lines up to the next one that is named.
fn find(lines: &[String], shipped: &[&str]) -> Option<(usize, usize)> {
    let start = lines.iter().position(|line| line == shipped[0])?;
    let mut at = start;
    let mut skips = false;
    for wanted in shipped {
        if *wanted == "..." {
            skips = true;
            continue;
        }
        let found = lines[at..].iter().position(|line| line == wanted)?;
        if found > 0 && !skips {
            return None;
        }
        at += found + 1;
        skips = false;
    }
    Some((start, at))
}

fn filled(line: &str, values: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match values.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// An argument for `ExecStart=`, systemd.service(5): nothing in it means anything.
fn argument(word: &str) -> String {
    let text = percent(word).replace('\\', "\\\\");
    let text = text.replace('"', "\\\"").replace('$', "$$");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@+,%$".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    let text = text.replace('\n', "\\n").replace('\t', "\\t");
    format!("\"{text}\"")
}

/// systemd reads `%` as the beginning of a word of its own.
fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::super::super::samples;
    use super::*;
    use std::path::PathBuf;

    fn program_of(socket: Socket, command: &[&str]) -> Wanted {
        let mut wanted = samples::wanted();
        wanted.app = "api".to_owned();
        wanted.serves = Serves::Program {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            files: vec![PathBuf::from("server")],
            socket,
        };
        wanted
    }

    #[test]
    fn every_change_finds_the_lines_that_it_changes() {
        let all: [(&str, &[&str]); 4] = [
            (SOCKET, &[OF_SOCKET]),
            (SERVICE, &[SHARED, HELD, OF_SITE]),
            (SERVICE, &[SHARED, HELD, OF_PROGRAM]),
            (SERVICE, &[SHARED, ALONE, OF_PROGRAM]),
        ];
        for (unit, texts) in all {
            let lines: Vec<String> = unit.lines().map(str::to_owned).collect();
            let changes: Vec<Change<'_>> = texts.iter().flat_map(|text| parse(text)).collect();
            let begun = texts.iter().map(|text| text.matches("\n\n-").count());
            assert_eq!(changes.len(), begun.sum::<usize>());
            for change in changes {
                assert!(find(&lines, &change.shipped).is_some(), "{change:?}");
            }
        }
        // This one changes what another one has changed.
        assert!(OF_PROGRAM.contains(&format!("+{}\n", parse(OF_PORT)[0].shipped[0])));
    }

    #[test]
    fn a_change_of_lines_that_are_not_there_is_none() {
        let lines = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(find(&lines, &["a", "b"]), Some((0, 2)));
        assert_eq!(find(&lines, &["a", "...", "c"]), Some((0, 3)));
        assert_eq!(find(&lines, &["a", "c"]), None);
        assert_eq!(find(&lines, &["a", "...", "d"]), None);
        assert_eq!(find(&lines, &["d"]), None);
    }

    #[test]
    fn nothing_of_the_shipped_names_stays() {
        let units = [
            units(&samples::wanted(), 8081),
            units(&program_of(Socket::Inherited, &["server"]), 8081),
            units(&program_of(Socket::Port, &["server"]), 8081),
        ];
        for (name, text) in units.iter().flatten() {
            let names = [
                "aureond.",
                "/usr/local",
                "/etc/aureon/aureon",
                ":8080",
                "{",
                "=aureon\n",
            ];
            for left in names {
                assert!(!text.contains(left), "{left} in {name}");
            }
        }
    }

    #[test]
    fn units_are_golden() {
        let site = units(&samples::wanted(), 8081);
        assert_eq!(site[0].0, "aureon-blog.socket");
        samples::check_golden("units-site.socket", &site[0].1);
        samples::check_golden("units-site.service", &site[1].1);
        let program = program_of(
            Socket::Port,
            &["bin/my server", "--name", "100% $HOME \"x\"", ""],
        );
        let program = units(&program, 8081);
        assert_eq!(program[0].0, "aureon-api@.service");
        samples::check_golden("units-program.service", &program[0].1);
    }

    #[test]
    fn whom_the_site_trusts_is_its_own_to_say() {
        let mut wanted = samples::wanted();
        let trusts = |wanted: &Wanted| units(wanted, 1)[1].1.contains("--trusted-proxies");
        assert!(trusts(&wanted));
        let configuration = "trusted_proxies = [\"10.0.0.0/8\", \"loopback\"]\n".to_owned();
        let root = PathBuf::from("public");
        wanted.serves = Serves::Site {
            root,
            configuration,
        };
        assert!(!trusts(&wanted));
    }

    #[test]
    fn arguments_mean_nothing_to_systemd() {
        for (word, written) in [
            ("--port", "--port"),
            ("100%", "100%%"),
            ("$HOME", "$$HOME"),
            ("a b", "\"a b\""),
            ("\"\\", "\"\\\"\\\\\""),
            ("", "\"\""),
            ("it's", "\"it's\""),
            (";", "\";\""),
        ] {
            assert_eq!(argument(word), written);
        }
    }
}
