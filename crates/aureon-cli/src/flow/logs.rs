//! `aureon logs`: what the service has written, from the host's journal.
//!
//! With `-f` it goes on until one of the two ends. The script there ends when its standard input
//! does, so that nothing stays behind when this process is gone.

use std::io;

use super::{Context, sound};
use crate::arguments::table::Flag;
use crate::facts::quote;
use crate::failure::Failure;
use crate::host::{Host, Ssh};

/// Lines that are shown when nobody says how many.
const LINES: u32 = 100;

/// Shows the log of each host.
pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let target = context.target()?;
    if context.arguments.has(Flag::Follow) && target.hosts.len() > 1 {
        let fix = "write aureon logs -f USER@HOST";
        return Err(Failure::usage("--follow", "one host is followed", fix));
    }
    context.each_host(&target, |host| logs_of(context, host, &target.app))
}

fn logs_of(context: &Context, host: &mut Ssh, app: &str) -> Result<(), Failure> {
    let follow = context.arguments.has(Flag::Follow);
    let lines = context.arguments.number(Flag::Lines).unwrap_or(LINES);
    let format = if context.say.json {
        "json"
    } else {
        "short-iso"
    };
    let mut show = |line: &str| context.say.print(&[line, "\n"].concat());
    let shell = script(app, lines, format, follow);
    let answer = match follow {
        true => host.follow(&shell, &mut show)?,
        false => host.run(&shell, &mut io::empty(), &mut show)?,
    };
    sound(answer).map(drop)
}

fn script(app: &str, lines: u32, format: &str, follow: bool) -> String {
    let units = ["aureon-", app].concat();
    let asked = format!(
        "journalctl --no-pager -o {format} -n {lines} -u {} -u {}",
        quote(&[&units, ".service"].concat()),
        quote(&[&units, "@*.service"].concat()),
    );
    match follow {
        // `cat` in the background would get no input: the shell's own is kept as 3.
        true => format!(
            "exec 3<&0\n{asked} -f </dev/null & shown=$!\ncat <&3 >/dev/null\nkill $shown\n"
        ),
        false => [&asked, "\n"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_ends_with_its_input() {
        let shell = script("blog", 5, "cat", true);
        assert!(shell.contains("-n 5 -u aureon-blog.service -u 'aureon-blog@*.service' -f"));
        assert!(
            shell.ends_with("cat <&3 >/dev/null\nkill $shown\n"),
            "{shell}"
        );
        assert!(!script("blog", 5, "cat", false).contains("-f"));
    }
}
