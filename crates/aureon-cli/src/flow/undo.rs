//! `aureon undo`: takes runs back, the youngest first, until the host is as it was.
//!
//! What would be taken back is shown and asked about like a plan. A file that somebody else has
//! changed since is left as it is, and said. Runs of all applications of a host stand on another,
//! because what the first one brought serves the others too: one application is taken back alone
//! only if no other's run stands on any of its own.

use serde_json::json;

use super::Context;
use crate::arguments::Arguments;
use crate::arguments::table::Flag;
use crate::failure::Failure;
use crate::host::{Host, Ssh};
use crate::journal::history::{PastRun, describe_undo};
use crate::journal::{Back, read};
use crate::wanted::Reader;
use crate::wanted::name::app_of;

/// Undoes on each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let target = Reader::new(&context.arguments)?.hosts_alone()?;
    context.each_host(&target, |host| undo_one(context, host))
}

fn undo_one(context: &Context, host: &mut Ssh) -> Result<(), Failure> {
    let say = &context.say;
    let history = read(host)?;
    let last = context.arguments.has(Flag::Last);
    let app = named(&context.arguments);
    let many = chosen(&history.runs, last, app.as_deref())?;
    let runs = &history.runs[history.runs.len() - many..];
    if runs.is_empty() {
        let of = app.map_or_else(String::new, |app| format!(" of {app}"));
        say.note(&format!("nothing{of} to undo on {}", host.name()));
        say.event(&json!({"event": "undo", "runs": []}));
        return Ok(());
    }
    if say.json {
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        say.event(&json!({"event": "undo", "runs": names}));
    } else {
        say.print(&describe_undo(runs));
    }
    let apps = apps_of(runs);
    if apps.len() > 1 {
        say.warn(&format!(
            "this takes back every application of the host: {}; one alone: --app NAME",
            apps.join(", ")
        ));
    }
    if context.arguments.has(Flag::DryRun) {
        return Ok(());
    }
    context.confirm(&format!("Take this back on {}?", host.name()))?;
    let journal = context.journal();
    let mut left = 0;
    context.locked(host, &journal, |host| {
        let mut told = |line: &str| {
            if line.starts_with("left: ") {
                left += 1;
                say.warn(line);
            } else if line.starts_with("undone: ") {
                say.note(line);
            } else {
                say.host(line);
            }
        };
        // Somebody else may have had the host since.
        if read(host)?.runs != history.runs {
            let what = "the host has changed since its runs were shown";
            return Err(Failure::new(what, "look at them again: run it again"));
        }
        if many == history.runs.len() {
            return Ok(journal.undo(host, Back::All, &mut told)?);
        }
        for _ in 0..many {
            journal.undo(host, Back::Last, &mut told)?;
        }
        Ok(())
    })?;
    match left {
        0 => say.note("undone"),
        some => say.warn(&format!("undone, but for {some} named above")),
    }
    say.event(&json!({"event": "undone", "left": left}));
    Ok(())
}

/// The application that the command line names, by itself or by its domain. What a file says is not
/// asked: it may name none, and then everything would be taken back for want of a word.
fn named(arguments: &Arguments) -> Option<String> {
    let domain = || arguments.texts(Flag::Domain).into_iter().next();
    let app = arguments.text(Flag::App).map(str::to_owned);
    app.or_else(|| Some(app_of(&domain()?.to_ascii_lowercase())))
}

/// How many of the youngest runs are taken back.
fn chosen(runs: &[PastRun], last: bool, app: Option<&str>) -> Result<usize, Failure> {
    let Some(app) = app else {
        return Ok(if last { runs.len().min(1) } else { runs.len() });
    };
    let own = runs.iter().filter(|run| run.app == app).count();
    let on_top = runs.iter().rev().take_while(|run| run.app == app).count();
    let wished = if last { own.min(1) } else { own };
    if wished <= on_top {
        return Ok(wished);
    }
    let first = runs.iter().position(|run| run.app == app).unwrap_or(0);
    let first = if last { runs.len() - 1 } else { first };
    let others: Vec<&PastRun> = runs[first..].iter().filter(|run| run.app != app).collect();
    let names: Vec<&str> = others.iter().map(|run| run.name.as_str()).collect();
    let what = format!(
        "{app} can not be taken back alone: runs of other applications came later, and stand on \
         what it brought: {}",
        names.join(", ")
    );
    let fix = "nothing has been changed; take the last run back by --last, as often as it takes, \
               or everything of all applications without --app";
    Err(Failure::new(what, fix))
}

/// Each application once, in the order of their first runs.
fn apps_of(runs: &[PastRun]) -> Vec<&str> {
    let mut apps: Vec<&str> = Vec::new();
    for run in runs {
        if !apps.contains(&run.app.as_str()) {
            apps.push(&run.app);
        }
    }
    apps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::parse_arguments;

    /// `a b b`: runs of these applications, the oldest first.
    fn check(runs: &str, last: bool, app: Option<&str>, many: Option<usize>) {
        let runs: Vec<PastRun> = runs
            .split_whitespace()
            .enumerate()
            .map(|(at, app)| PastRun {
                name: format!("{}-{app}", at + 1),
                app: app.to_owned(),
                ..PastRun::default()
            })
            .collect();
        let chosen = chosen(&runs, last, app);
        assert_eq!(chosen.ok(), many, "{runs:?} {last} {app:?}");
    }

    #[test]
    fn an_application_on_which_no_other_stands_is_taken_back_alone() {
        check("a b b", false, Some("b"), Some(2));
        check("a b b", true, Some("b"), Some(1));
        check("b a", true, Some("a"), Some(1));
        check("a a", false, Some("a"), Some(2));
        check("a a", false, Some("c"), Some(0));
        check("", false, Some("a"), Some(0));
    }

    #[test]
    fn one_below_another_stays_and_is_told_what_stands_on_it() {
        check("a b", false, Some("a"), None);
        check("a b", true, Some("a"), None);
        check("a b a", false, Some("a"), None);
        check("a b a", true, Some("a"), Some(1));
        let run = |name: &str, app: &str| PastRun {
            name: name.to_owned(),
            app: app.to_owned(),
            ..PastRun::default()
        };
        let runs = [run("1-x", "b"), run("2-x", "a"), run("3-x", "b")];
        let told = chosen(&runs, false, Some("a")).unwrap_err().to_string();
        assert!(told.contains("what it brought: 3-x"), "{told}");
    }

    #[test]
    fn a_domain_names_its_application_as_it_does_for_a_deploy() {
        let check = |words: &str, app: Option<&str>| {
            let words = words.split_whitespace().map(Into::into).collect();
            let arguments = parse_arguments(words).unwrap();
            assert_eq!(named(&arguments).as_deref(), app, "{arguments:?}");
        };
        check("undo root@h", None);
        check("undo root@h --domain www.Two.test", Some("two"));
        check("undo root@h --domain two.test --app shop", Some("shop"));
    }

    #[test]
    fn without_a_name_it_is_the_last_run_or_all() {
        check("a b", false, None, Some(2));
        check("a b", true, None, Some(1));
        check("", true, None, Some(0));
    }
}
