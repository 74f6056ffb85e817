//! `aureon run`: a command on the host, as the service: its user, directory and environment.
//!
//! By a transient unit, so that it has the service's sandbox of a user and nothing of root's.
//! Standard input is passed on when it is no terminal; the command's exit code is ours.

use std::io::{self, IsTerminal, Read, Write};

use super::Context;
use crate::facts::quote;
use crate::failure::Failure;
use crate::host::{Host, Ssh};
use crate::wanted::Places;

/// Runs on each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let target = context.target()?;
    context.each_host(&target, |host| run_on(context, host, &target.app))
}

fn run_on(context: &Context, host: &mut Ssh, app: &str) -> Result<(), Failure> {
    let script = script(app, &context.arguments.run);
    let mut nothing = io::empty();
    let mut stdin = io::stdin();
    let input: &mut dyn Read = match io::stdin().is_terminal() {
        true => &mut nothing,
        false => &mut stdin,
    };
    let answer = host.run(&script, input, &mut |line| {
        context.say.print(&[line, "\n"].concat());
    })?;
    drop(io::stderr().write_all(answer.stderr.as_bytes()));
    match answer.code {
        0 => Ok(()),
        code => Err(Failure::Code(u8::try_from(code).unwrap_or(1))),
    }
}

fn script(app: &str, words: &[String]) -> String {
    let places = Places::new(app);
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    let property = |name: &str, value: &str| ["-p ", &quote(&[name, "=", value].concat())].concat();
    let properties = [
        property("DynamicUser", "yes"),
        property("User", &["aureon-", app].concat()),
        property("StateDirectory", &["aureon-", app].concat()),
        property("WorkingDirectory", &places.current()),
        property("EnvironmentFile", &["-", &places.environment()].concat()),
        property("EnvironmentFile", &["-", &places.secrets()].concat()),
        property("ProtectSystem", "strict"),
        property("ProtectHome", "yes"),
        property("NoNewPrivileges", "yes"),
    ];
    format!(
        "[ -d {current}/. ] || {{ echo {app} is not deployed here >&2; exit 1; }}\n\
         systemd-run --quiet --pipe --wait --collect {} -- {}\n",
        properties.join(" "),
        words.join(" "),
        current = quote(&places.current()),
        app = quote(app),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_they_were_typed() {
        let shell = script("blog", &["echo".into(), "it's $HOME".into(), String::new()]);
        assert!(shell.ends_with("-- echo 'it'\\''s $HOME' ''\n"), "{shell}");
        assert!(shell.contains("-p EnvironmentFile=-/etc/aureon/blog/secrets.env"));
    }
}
