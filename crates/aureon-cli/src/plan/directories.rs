//! The directories that everything else lies in.
//!
//! Releases are read by the service's own user, so everybody may read them; what is configured is
//! root's alone. What the application keeps (`/var/lib/aureon-<app>`) is made by systemd, for the
//! user that it makes up.

use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::wanted::{Places, Wanted};

/// Path and mode, parents first; all are root's.
fn needed(wanted: &Wanted) -> Vec<(String, u32)> {
    let places = Places::new(&wanted.app);
    vec![
        ("/opt/aureon".to_owned(), 0o755),
        (places.objects(), 0o755),
        (places.releases(), 0o755),
        ("/opt/aureon/current".to_owned(), 0o755),
        ("/opt/aureon/previous".to_owned(), 0o755),
        ("/etc/aureon".to_owned(), 0o755),
        (places.configuration(), 0o700),
    ]
}

/// What has to be known of the host.
pub(crate) fn paths(wanted: &Wanted) -> Vec<String> {
    needed(wanted).into_iter().map(|(path, _)| path).collect()
}

/// Makes what is missing.
pub(crate) fn steps(wanted: &Wanted, facts: &Facts, plan: &mut Plan) -> Result<(), Refusal> {
    let (mut current, mut desired, mut apply) = (String::new(), String::new(), String::new());
    for (path, mode) in needed(wanted) {
        let file = facts.file(&path).filter(|file| file.exists());
        let line = format!("{path} {mode:04o} root:root\n");
        desired.push_str(&line);
        match file {
            Some(file) if file.directory && file.mode == mode && file.owner == "root:root" => {
                current.push_str(&line);
                continue;
            }
            Some(file) if file.directory => {
                current.push_str(&format!("{path} {:04o} {}\n", file.mode, file.owner));
            }
            // The prelude sees what else may be there, and says so.
            _ => {}
        }
        apply.push_str(&format!("make_dir {path} {mode:04o} root:root\n"));
    }
    if apply.is_empty() {
        return Ok(());
    }
    plan.steps.push(Step {
        id: "directories/make".to_owned(),
        title: "Directories".to_owned(),
        why: "Releases and their contents lie in /opt/aureon, where every user may read them, for \
              the service has one of its own; configuration and secrets in /etc/aureon are root's."
            .to_owned(),
        current,
        desired,
        apply,
        undo: Undo::Kept,
        act: Act::Host,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::facts::File;

    fn directory(path: &str, mode: u32) -> File {
        File {
            path: path.to_owned(),
            content: None,
            mode,
            owner: "root:root".to_owned(),
            link: None,
            directory: true,
        }
    }

    #[test]
    fn only_what_is_missing_or_other_is_made() {
        let wanted = samples::wanted();
        let mut facts = samples::facts();
        facts.files = paths(&wanted)
            .iter()
            .map(|path| directory(path, 0o755))
            .collect();
        facts.files.pop();
        facts.files[0].mode = 0o700;
        let mut plan = samples::plan();
        steps(&wanted, &facts, &mut plan).unwrap();
        let step = plan.steps.pop().unwrap();
        assert_eq!(
            step.apply,
            "make_dir /opt/aureon 0755 root:root\nmake_dir /etc/aureon/blog 0700 root:root\n"
        );
        assert!(
            step.current.starts_with("/opt/aureon 0700 root:root\n"),
            "{}",
            step.current
        );
        facts.files[0].mode = 0o755;
        facts.files.push(directory("/etc/aureon/blog", 0o700));
        steps(&wanted, &facts, &mut plan).unwrap();
        assert_eq!(plan.steps.len(), 0);
    }
}
