//! The environment of the service: a file that only root reads, and systemd hands over.
//!
//! Secrets are in a file of their own in the same form, which `aureon env` writes and no plan ever
//! sees. aureond's own configuration is a part of the release, so that going back to a release goes
//! back to its configuration.

use super::shell;
use super::{Act, Plan, Refusal, Step, Undo};
use crate::facts::Facts;
use crate::wanted::{Places, Wanted};

/// What has to be known of the host.
pub(crate) fn paths(wanted: &Wanted) -> Vec<String> {
    vec![Places::new(&wanted.app).environment()]
}

/// A file for `EnvironmentFile=`, systemd.exec(5): values in double quotes, in which a backslash is
/// before what would mean something.
#[must_use]
pub fn environment_file(values: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in values {
        out.push_str(name);
        out.push_str("=\"");
        for letter in value.chars() {
            if matches!(letter, '"' | '\\' | '`' | '$') {
                out.push('\\');
            }
            out.push(letter);
        }
        out.push_str("\"\n");
    }
    out
}

/// Writes the environment, if it is another one.
pub(crate) fn steps(wanted: &Wanted, facts: &Facts, plan: &mut Plan) -> Result<(), Refusal> {
    let path = Places::new(&wanted.app).environment();
    let desired = environment_file(&wanted.environment);
    let there = facts.file(&path).filter(|file| file.exists());
    let same = match there {
        None => desired.is_empty(),
        Some(file) => {
            file.content.as_deref() == Some(desired.as_bytes())
                && (file.mode, file.owner.as_str()) == (0o600, "root:root")
        }
    };
    if same {
        return Ok(());
    }
    let current = there
        .and_then(|file| file.content.as_deref())
        .unwrap_or_default();
    plan.steps.push(Step {
        id: "configuration/environment".to_owned(),
        title: "Environment of the service".to_owned(),
        why: "What [app.environment] says. Only root reads the file; systemd hands it to the \
              service when that starts."
            .to_owned(),
        current: String::from_utf8_lossy(current).into_owned(),
        apply: shell::put(&path, 0o600, "root:root", desired.as_bytes()),
        desired,
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

    #[test]
    fn a_value_means_nothing_to_systemd_but_itself() {
        let values = [
            ("A", "1"),
            ("B", r#"a "b" \ $HOME `x` 'y' #z"#),
            ("C", "two\nlines"),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            environment_file(&values),
            "A=\"1\"\nB=\"a \\\"b\\\" \\\\ \\$HOME \\`x\\` 'y' #z\"\nC=\"two\nlines\"\n"
        );
    }

    #[test]
    fn the_same_environment_is_not_written_again() {
        let (mut wanted, mut facts) = (samples::wanted(), samples::facts());
        let mut plan = samples::plan();
        let mut written = |wanted: &Wanted, facts: &Facts| {
            plan.steps.clear();
            steps(wanted, facts, &mut plan).unwrap();
            plan.steps.pop().map(|step| step.desired)
        };
        assert_eq!(written(&wanted, &facts), None);
        wanted.environment = vec![("A".to_owned(), "1".to_owned())];
        assert_eq!(written(&wanted, &facts).as_deref(), Some("A=\"1\"\n"));
        facts.files.push(File {
            path: "/etc/aureon/blog/environment".to_owned(),
            content: Some(b"A=\"1\"\n".to_vec()),
            mode: 0o600,
            owner: "root:root".to_owned(),
            link: None,
            directory: false,
        });
        assert_eq!(written(&wanted, &facts), None);
        wanted.environment.clear();
        assert_eq!(written(&wanted, &facts).as_deref(), Some(""));
        facts.files[0].mode = 0o644;
        assert_eq!(written(&wanted, &facts).as_deref(), Some(""));
    }
}
