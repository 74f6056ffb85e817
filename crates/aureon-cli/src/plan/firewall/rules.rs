//! What somebody's rules of ufw say about a TCP port: lines of `ufw show added`.
//!
//! Only as much as is needed to keep from widening or contradicting them: open to everybody, open
//! to some, shut, or not spoken of. What is not understood counts as speaking of some.

/// What the first rule about a port says; it is the one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Says {
    /// To everybody.
    Open,
    /// To some, and by which rule.
    Partly(String),
    /// To nobody, by which rule.
    Shut(String),
    /// No rule speaks of it.
    Nothing,
}

/// Names that ufw and Nginx's package give to ports.
const APPLICATIONS: &[(&str, &[u16])] = &[
    ("OpenSSH", &[22]),
    ("Nginx Full", &[80, 443]),
    ("Nginx HTTP", &[80]),
    ("Nginx HTTPS", &[443]),
    ("Apache", &[80]),
    ("Apache Full", &[80, 443]),
    ("Apache Secure", &[443]),
    ("WWW", &[80]),
    ("WWW Full", &[80, 443]),
    ("WWW Secure", &[443]),
];

/// Services of /etc/services that people write.
const SERVICES: &[(&str, u16)] = &[("ssh", 22), ("http", 80), ("https", 443)];

/// What the rules say about a TCP port, for who comes from anywhere.
pub(crate) fn say(rules: &[String], port: u16) -> Says {
    let mut partly = None;
    for rule in rules {
        let rule = rule.trim().trim_start_matches("ufw ");
        match say_one(rule, port) {
            Says::Nothing => {}
            // A later rule may still open it to all others, or shut them out.
            Says::Partly(rule) => {
                partly.get_or_insert(rule);
            }
            says => return says,
        }
    }
    partly.map_or(Says::Nothing, Says::Partly)
}

fn say_one(rule: &str, port: u16) -> Says {
    let words = words(rule);
    let mut words = words.iter().map(String::as_str).peekable();
    let Some(action) = words.next() else {
        return Says::Nothing;
    };
    let opens = match action {
        "allow" | "limit" => true,
        "deny" | "reject" => false,
        _ => return Says::Nothing,
    };
    let (mut to_all, mut about) = (true, None);
    while let Some(word) = words.next() {
        match word {
            "in" | "log" | "log-all" => {}
            "out" => return Says::Nothing,
            "on" => {
                to_all = false;
                words.next();
            }
            "proto" => {
                if words.next() != Some("tcp") {
                    return Says::Nothing;
                }
            }
            "from" | "to" => {
                to_all &= words.next() == Some("any");
                // Where it comes from is no matter of ours, whatever the port there.
                if word == "from" && matches!(words.peek(), Some(&"port" | &"app")) {
                    to_all = false;
                    words.next();
                    words.next();
                }
            }
            "port" | "app" => about = words.next().map(|ports| covers(ports, port)),
            "comment" => break,
            ports => about = Some(covers(ports, port)),
        }
    }
    match (about, opens, to_all) {
        // No port: all of them, or a few people.
        (None, false, true) => Says::Shut(rule.to_owned()),
        (None, true, true) => Says::Open,
        (None, _, false) | (Some(false), ..) => Says::Nothing,
        (Some(true), true, true) => Says::Open,
        (Some(true), false, true) => Says::Shut(rule.to_owned()),
        (Some(true), true, false) => Says::Partly(rule.to_owned()),
        // Some are shut out, which says nothing about the others.
        (Some(true), false, false) => Says::Nothing,
    }
}

/// Words, those in single quotes as one.
fn words(rule: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, piece) in rule.split('\'').enumerate() {
        match at % 2 {
            0 => out.extend(piece.split_whitespace().map(str::to_owned)),
            _ => out.push(piece.to_owned()),
        }
    }
    out
}

/// `22`, `22/tcp`, `80,443/tcp`, `8000:8100/tcp`, `ssh`, `Nginx Full`.
fn covers(ports: &str, port: u16) -> bool {
    if let Some((_, known)) = APPLICATIONS.iter().find(|(name, _)| *name == ports) {
        return known.contains(&port);
    }
    let (list, protocol) = ports.split_once('/').unwrap_or((ports, "tcp"));
    protocol == "tcp" && list.split(',').any(|one| {
        let (from, to) = one.split_once(':').unwrap_or((one, one));
        let number = |text: &str| {
            let named = SERVICES.iter().find(|(name, _)| *name == text);
            named.map_or_else(|| text.parse().ok(), |(_, port)| Some(*port))
        };
        matches!((number(from), number(to)), (Some(from), Some(to)) if from <= port && port <= to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &[&str], port: u16, wanted: &Says) {
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        assert_eq!(&say(&rules, port), wanted, "{rules:?} about {port}");
    }

    #[test]
    fn a_rule_for_everybody_opens() {
        for rule in [
            "allow 80",
            "ufw allow 80/tcp",
            "allow 80,443/tcp",
            "limit 80/tcp comment 'from any'",
            "allow 'Nginx Full'",
            "allow in http",
            "allow from any to any port 80 proto tcp",
            "allow 79:81/tcp",
        ] {
            check(&[rule], 80, &Says::Open);
        }
    }

    #[test]
    fn a_rule_for_some_is_not_widened() {
        for rule in [
            "allow from 173.245.48.0/20 to any port 443 proto tcp",
            "allow in on eth0 to any port 443",
            "allow from 10.0.0.1 to any app 'Nginx Full'",
        ] {
            check(&[rule], 443, &Says::Partly(rule.to_owned()));
            check(&[rule, "allow 443/tcp"], 443, &Says::Open);
        }
    }

    #[test]
    fn the_first_rule_counts() {
        check(&["deny 22", "allow 22"], 22, &Says::Shut("deny 22".into()));
        check(&["allow 22", "deny 22"], 22, &Says::Open);
        check(
            &["reject OpenSSH"],
            22,
            &Says::Shut("reject OpenSSH".into()),
        );
    }

    #[test]
    fn other_ports_and_other_people_do_not_matter() {
        for rule in [
            "allow 8080/tcp",
            "allow 80/udp",
            "allow out 80/tcp",
            "deny from 203.0.113.9",
            "allow from 203.0.113.9",
            "deny from 203.0.113.9 to any port 80",
            "route allow in on eth0 to any port 80",
            "",
        ] {
            check(&[rule], 80, &Says::Nothing);
        }
    }
}
