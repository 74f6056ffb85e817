//! `aureon env`: the secrets of an application on the host.
//!
//! Values come from standard input or a question, never from arguments, and travel as the input of
//! a step: they are in no list of processes, no log and no plan. The file is root's, 0600; the
//! journal keeps the one before, as closed, until an undo. Names alone come back.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read};
use std::process::{Command as Process, Stdio};

use serde_json::json;

use super::{Context, ask_facts, questions};
use crate::arguments::table::Flag;
use crate::facts::quote;
use crate::failure::Failure;
use crate::host::{Host, Ssh};
use crate::limits;
use crate::plan::{Act, Step, Undo};
use crate::wanted::name::variable_problem;
use crate::wanted::{Places, Reader};

/// A change of the file.
struct Change {
    /// What the run is called.
    what: String,
    /// Variables whose lines go.
    names: Vec<String>,
    /// Lines that come.
    lines: String,
}

/// Does what the words say, on each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut reader = Reader::new(&context.arguments)?;
    let target = reader.target()?;
    let words = reader.other_words();
    let names = words.get(1..).unwrap_or_default();
    for name in names {
        if let Some((what, fix)) = variable_problem(name, "") {
            return Err(Failure::usage(name, what, fix));
        }
    }
    let change = match words.first().map(String::as_str) {
        Some("list") if names.is_empty() => {
            return context.each_host(&target, |host| list(context, host, &target.app));
        }
        Some("set") => set(context, names)?,
        Some("unset") if !names.is_empty() => Change {
            what: format!("unset {}", names.join(" ")),
            names: names.to_vec(),
            lines: String::new(),
        },
        _ => {
            let fix = "write aureon env list, set NAME... or unset NAME...";
            return Err(Failure::usage("env", "what is to be done?", fix));
        }
    };
    context.each_host(&target, |host| apply(context, host, &target.app, &change))
}

fn list(context: &Context, host: &mut Ssh, app: &str) -> Result<(), Failure> {
    let (facts, _) = ask_facts(host, &questions(app, None), &[])?;
    if context.say.json {
        let event =
            json!({"event": "env", "host": host.name(), "app": app, "secrets": facts.secrets});
        context.say.event(&event);
    } else {
        let lines = facts.secrets.iter().map(|name| [name, "\n"].concat());
        context.say.print(&lines.collect::<String>());
    }
    Ok(())
}

/// Reads the values of the names; without names, of all that come.
fn set(context: &Context, names: &[String]) -> Result<Change, Failure> {
    let pairs = match io::stdin().is_terminal() {
        true if names.is_empty() => {
            let fix = "write aureon env set NAME, or give lines of NAME=VALUE as standard input";
            return Err(Failure::usage("env set", "which variable?", fix));
        }
        true => {
            let asked = names
                .iter()
                .map(|name| Ok((name.clone(), ask_secret(context, name)?)));
            asked.collect::<Result<Vec<_>, Failure>>()?
        }
        false => parse_values(&read_values()?, names)?,
    };
    let mut lines = String::new();
    for (name, value) in &pairs {
        if let Some((what, fix)) = variable_problem(name, value) {
            return Err(Failure::usage(name, what, fix));
        }
        // Writing into a string can not fail.
        let _ = writeln!(lines, "{name}={}", quoted(value));
    }
    let names: Vec<String> = pairs.into_iter().map(|(name, _)| name).collect();
    Ok(Change {
        what: format!("set {}", names.join(" ")),
        names,
        lines,
    })
}

fn read_values() -> Result<String, Failure> {
    let mut text = String::new();
    let most = limits::VALUES_BYTES_MAX;
    let read = io::stdin().take(most + 1).read_to_string(&mut text);
    match read {
        Ok(read) if read as u64 <= most => Ok(text),
        Ok(_) => Err(Failure::new("standard input is longer than 1MiB", "")),
        Err(error) => Err(Failure::new(format!("standard input: {error}"), "")),
    }
}

/// Of lines `NAME=VALUE`, or of the value of a single name. Comments and empty lines are left out.
fn parse_values(text: &str, names: &[String]) -> Result<Vec<(String, String)>, Failure> {
    if let [name] = names {
        let value = text.strip_suffix('\n').unwrap_or(text);
        let value = value.strip_suffix('\r').unwrap_or(value);
        let own = value
            .strip_prefix(name.as_str())
            .and_then(|rest| rest.strip_prefix('='));
        return Ok(vec![(name.clone(), own.unwrap_or(value).to_owned())]);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut pairs = Vec::new();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else {
            // The line may be a secret, and is not shown.
            let what = "a line of standard input is not NAME=VALUE";
            return Err(Failure::new(what, "give a line for each variable"));
        };
        let name = name.trim_start_matches("export ").trim();
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            pairs.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    let has = |name: &&String| !pairs.iter().any(|(found, _)| found == *name);
    if let Some(missing) = names.iter().find(has) {
        let what = format!("standard input has no line {missing}=VALUE");
        return Err(Failure::new(what, ""));
    }
    Ok(pairs)
}

/// Asks for a value without showing it, where the terminal can do that.
fn ask_secret(context: &Context, name: &str) -> Result<String, Failure> {
    let terminal = |word: &str| {
        let set = Process::new("stty")
            .arg(word)
            .stderr(Stdio::null())
            .status();
        set.is_ok_and(|status| status.success())
    };
    let hidden = terminal("-echo");
    let shown = if hidden { "" } else { " (it will be shown)" };
    context.say.note(&format!("{name}{shown}:"));
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    if hidden {
        terminal("echo");
    }
    match read {
        Ok(1..) => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
        _ => Err(Failure::new("no value was given", "")),
    }
}

/// As systemd reads it (systemd.exec(5), EnvironmentFile=).
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for letter in value.chars() {
        if "\"\\`$".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
    out
}

fn apply(context: &Context, host: &mut Ssh, app: &str, change: &Change) -> Result<(), Failure> {
    let say = &context.say;
    let step = step(app, change);
    say.note(&format!("{} on {}", change.what, host.name()));
    if context.arguments.has(Flag::DryRun) {
        return Ok(());
    }
    let journal = context.journal();
    context.locked(host, &journal, |host| {
        let run = journal.begin(host, app, &change.what)?;
        let mut input = change.lines.as_bytes();
        let stepped = journal.step(host, &run, &step, &mut input, &mut |line| say.host(line));
        let result = if stepped.is_ok() { "done" } else { "failed" };
        journal.finish(host, &run, result)?;
        Ok(stepped?)
    })?;
    say.event(&json!({"event": "env", "host": host.name(), "app": app, "changed": change.names}));
    Ok(())
}

/// The step that changes the file and has the service read it.
fn step(app: &str, change: &Change) -> Step {
    let places = Places::new(app);
    let (file, directory) = (places.secrets(), places.configuration());
    // Of those that run: a service that was never deployed has nothing to read.
    let restart = format!(
        "for unit in $(systemctl list-units --plain --no-legend --state=active \
         aureon-{app}.service 'aureon-{app}@*.service' | cut -d ' ' -f 1); do \
         systemctl restart \"$unit\"; done"
    );
    let undo = quote(&restart);
    let names = change.names.join("|");
    let apply = format!(
        "lines=$(cat)\n\
         undo_by {undo}\n\
         [ -d \"$AUREON_ROOT\"/etc/aureon ] || make_dir /etc/aureon 0755 0:0\n\
         [ -d \"$AUREON_ROOT\"{directory} ] || make_dir {directory} 0700 0:0\n\
         {{\n\
         \x20 if [ -f \"$AUREON_ROOT\"{file} ]; then\n\
         \x20   grep -vE '^({names})=' \"$AUREON_ROOT\"{file} || :\n\
         \x20 fi\n\
         \x20 [ -z \"$lines\" ] || printf '%s\\n' \"$lines\"\n\
         }} | put {file} 0600 0:0\n\
         {restart}\n"
    );
    Step {
        id: "env/secrets".to_owned(),
        title: format!("Secrets of {app}"),
        why: "Root's own file, which systemd reads when it starts the service.".to_owned(),
        current: String::new(),
        desired: format!("{}\n", change.what),
        apply,
        undo: Undo::Kept,
        act: Act::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, names: &[&str]) -> Option<Vec<(String, String)>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        parse_values(text, &names).ok()
    }

    fn pairs(of: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(
            of.iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn values_come_as_lines_or_as_the_value_of_one_name() {
        assert_eq!(parse("a=b c\n", &["KEY"]), pairs(&[("KEY", "a=b c")]));
        assert_eq!(parse("KEY=x\r\n", &["KEY"]), pairs(&[("KEY", "x")]));
        let file = "# all\nexport A=1\n\nB = x=y\nC=3\n";
        assert_eq!(
            parse(file, &[]),
            pairs(&[("A", "1"), ("B", "x=y"), ("C", "3")])
        );
        assert_eq!(parse(file, &["A", "C"]), pairs(&[("A", "1"), ("C", "3")]));
        assert_eq!(parse(file, &["A", "D"]), None);
        assert_eq!(parse("secret\nA=1", &[]), None);
    }

    #[test]
    fn a_line_that_is_no_variable_is_not_shown() {
        let failure = parse_values("hunter2\n", &[]).unwrap_err().to_string();
        assert!(!failure.contains("hunter2"), "{failure}");
    }

    #[test]
    fn a_value_is_quoted_as_systemd_reads_it_and_is_in_no_step() {
        assert_eq!(quoted("a\"b\\c$d`e"), "\"a\\\"b\\\\c\\$d\\`e\"");
        let change = Change {
            what: "set A".into(),
            names: vec!["A".into()],
            lines: "A=\"hunter2\"\n".into(),
        };
        let step = step("blog", &change);
        assert!(!format!("{step:?}").contains("hunter2"));
    }
}
