//! What may be a name: of an application, a domain, a host, a variable.
//!
//! Each function says what is wrong and what to write instead, or nothing. These names become names
//! of units, files and arguments of programs on the host, so only what can do no harm there passes.

use crate::limits;

/// What is wrong, and what to write.
type Mistake = Option<(String, String)>;

fn mistake(what: impl Into<String>, fix: &str) -> Mistake {
    Some((what.into(), fix.to_owned()))
}

/// `[a-z][a-z0-9-]*`, at most 32 bytes.
#[must_use]
pub fn app_problem(name: &str) -> Mistake {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if begins && name.bytes().all(plain) && name.len() <= limits::APP_BYTES_MAX {
        return None;
    }
    let fix = "write at most 32 letters of a-z, 0-9 and -, a letter first";
    mistake(format!("`{name}` is no name of an application"), fix)
}

/// The application of a domain: `www.blog.example.com` is `blog-example`.
#[must_use]
pub fn app_of(domain: &str) -> String {
    let domain = domain.strip_prefix("www.").unwrap_or(domain);
    let labels = domain.rsplit_once('.').map_or(domain, |(labels, _)| labels);
    let mut name = labels.replace('.', "-");
    if !name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase())
    {
        name.insert_str(0, "site-");
    }
    name.truncate(limits::APP_BYTES_MAX);
    name.trim_end_matches('-').to_owned()
}

/// A name that can stand in DNS and in a certificate (RFC 1123 §2.1), with a dot in it.
#[must_use]
pub fn domain_problem(domain: &str) -> Mistake {
    if !domain.is_ascii() {
        let fix = "write it as browsers send it: xn--…";
        return mistake(
            format!("`{domain}` has letters that DNS does not know"),
            fix,
        );
    }
    if domain.starts_with("*.") {
        let fix = "list the names; a wildcard's certificate can not be had over HTTP";
        return mistake(format!("`{domain}` is not one name"), fix);
    }
    if domain.parse::<std::net::IpAddr>().is_ok() {
        let fix = "write a name; an address has no certificate";
        return mistake(format!("`{domain}` is an address"), fix);
    }
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let sound = !label.is_empty() && label.len() <= 63 && label.bytes().all(plain);
        sound && !label.starts_with('-') && !label.ends_with('-')
    };
    if domain.len() <= 253 && domain.contains('.') && domain.split('.').all(label) {
        return None;
    }
    mistake(
        format!("`{domain}` is no domain"),
        "write a name such as example.com",
    )
}

/// What ssh takes for a host, and nothing that it takes for a flag.
#[must_use]
pub fn host_problem(host: &str) -> Mistake {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"'\"\\$`;&|<>(){}*?!#".contains(&byte);
    if !host.is_empty() && !host.starts_with('-') && host.bytes().all(plain) {
        return None;
    }
    let fix = "write it as for ssh: root@203.0.113.7, or a Host of ~/.ssh/config";
    mistake(format!("`{host}` is no host"), fix)
}

/// A variable of the environment, on one line of a file that systemd reads.
#[must_use]
pub fn variable_problem(name: &str, value: &str) -> Mistake {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digit = name.bytes().next().is_none_or(|byte| byte.is_ascii_digit());
    if digit || !name.bytes().all(plain) {
        let fix = "write letters of A-Z, 0-9 and _, no digit first";
        return mistake(format!("`{name}` is no name of a variable"), fix);
    }
    // systemd.exec(5): these would change how the service is run, not what it is told.
    if [
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
    ]
    .contains(&name)
    {
        return mistake(format!("`{name}` is systemd's own"), "take another name");
    }
    if value.chars().any(char::is_control) {
        let fix = "a variable is one line of text";
        return mistake(
            format!("the value of {name} has a control character in it"),
            fix,
        );
    }
    (value.len() as u64 > limits::VALUE_BYTES_MAX).then(|| {
        (
            format!("the value of {name} is too long"),
            "64KiB at most".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_named_after_its_domain() {
        for (domain, app) in [
            ("example.com", "example"),
            ("www.example.com", "example"),
            ("www.blog.example.com", "blog-example"),
            ("1a.example", "site-1a"),
            ("xn--mller-kva.example", "xn--mller-kva"),
        ] {
            assert_eq!(app_of(domain), app);
            assert_eq!(app_problem(app), None);
        }
        let long = [&"a".repeat(31), ".b.de"].concat();
        assert_eq!(app_problem(&app_of(&long)), None);
    }

    #[test]
    fn names_that_could_do_harm_are_refused() {
        for name in [
            "",
            "A",
            "1a",
            "a_b",
            "a/b",
            "a b",
            "-a",
            "a.b",
            &"a".repeat(33),
        ] {
            assert!(app_problem(name).is_some(), "{name}");
        }
        for name in [
            "a", "*.a.de", "1.2.3.4", "::1", "a..de", "-a.de", "a-.de", "ä.de", "a.de/",
        ] {
            assert!(domain_problem(name).is_some(), "{name}");
        }
        for name in ["", "-oProxyCommand=x", "a b", "a'b", "$(x)", "a\nb"] {
            assert!(host_problem(name).is_some(), "{name}");
        }
        for name in ["", "1A", "A-B", "A=B", "LISTEN_FDS"] {
            assert!(variable_problem(name, "").is_some(), "{name}");
        }
        assert!(variable_problem("A", "a\nB=c").is_some());
        assert!(variable_problem("A", &"x".repeat(70_000)).is_some());
        assert_eq!(domain_problem("Www.example.com"), None);
        assert_eq!(host_problem("ssh://me@[2001:db8::1]:22"), None);
        assert_eq!(variable_problem("_A1", "x y"), None);
    }
}
