//! Whether a name leads to this host on port 80, seen from this machine, as the authority will see
//! it.
//!
//! A plain GET, bounded in time and bytes, of a file that the step before has written. What comes
//! back instead of the file says what is wrong: who answers, whether Cloudflare stands in between,
//! and which of its pages it is. One table of those pages is used here and, as shell, by the host
//! when it asks for its own public address in the end.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use super::super::Refusal;
use super::super::nginx::ACME_ROOT;
use crate::limits;
use crate::wanted::Wanted;

/// Cloudflare's pages about the host behind it: status, what it means, what to do.
const PAGES: [(u16, &str, &str); 6] = [
    (
        521,
        "nobody answers Cloudflare on the port that it asks (80 for Flexible, 443 for Full): Nginx \
         does not listen there, or a firewall shuts Cloudflare's addresses out",
        "let TCP 80 and 443 in from everywhere in the provider's firewall, and in ufw",
    ),
    (
        522,
        "Cloudflare's packets to the host are lost: a firewall drops them, or the DNS record names \
         another address",
        "let TCP 80 and 443 in, and compare the A record with the host's address",
    ),
    (
        523,
        "Cloudflare finds no way to the address in its DNS record",
        "let the A record name this host",
    ),
    (
        525,
        "the host offers Cloudflare no TLS: Full is set, and there is no certificate yet",
        "until the first certificate set SSL/TLS to Flexible or turn the cloud grey, then Full \
         (strict)",
    ),
    (
        526,
        "Cloudflare does not believe the host's certificate (Full (strict))",
        "a certificate of a known authority or of Cloudflare's Origin CA has to be on the host",
    ),
    (
        530,
        "Cloudflare can not find out the host's address",
        "look at the DNS record of the name",
    ),
];

/// The file on the host.
pub(super) fn file(wanted: &Wanted) -> String {
    format!("{ACME_ROOT}/{}", path(wanted))
}

fn path(wanted: &Wanted) -> String {
    format!(".well-known/acme-challenge/aureon-{}", wanted.app)
}

/// What is in it.
pub(super) fn text(wanted: &Wanted) -> String {
    format!("aureon {} {}\n", wanted.app, wanted.domains.join(" "))
}

/// Where it is asked for.
pub(super) fn url(wanted: &Wanted, name: &str) -> String {
    format!("http://{name}/{}", path(wanted))
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The status line's number.
    status: u16,
    /// `Server`, in lower case.
    server: String,
    /// `Location`.
    location: String,
    /// The content, as much as is read.
    content: String,
}

/// Asks for the file by every name.
///
/// # Errors
/// The first name that does not lead to the host's file, and why.
pub(crate) fn check(wanted: &Wanted) -> Result<(), Refusal> {
    wanted.domains.iter().try_for_each(|name| {
        let mut last = None;
        // Nginx has been told to read its files a moment ago, and its old workers may still answer.
        for _ in 0..limits::REACH_TRIES {
            let reached = fetch(name, &path(wanted));
            match judge(wanted, name, &reached) {
                None => return Ok(()),
                refusal => last = refusal,
            }
            std::thread::sleep(limits::REACH_PAUSE);
        }
        last.map_or(Ok(()), Err)
    })
}

/// One request. A name that an address answers to is asked at its first address that answers.
fn fetch(name: &str, path: &str) -> Result<Reached, String> {
    let addresses = (name, 80)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, limits::REACH_TIMEOUT) {
            Ok(stream) => return ask(stream, name, path).map_err(|error| error.to_string()),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream, name: &str, path: &str) -> std::io::Result<Reached> {
    stream.set_read_timeout(Some(limits::REACH_TIMEOUT))?;
    stream.set_write_timeout(Some(limits::REACH_TIMEOUT))?;
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: aureon\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let read = stream
        .take(limits::REACH_BYTES_MAX)
        .read_to_end(&mut answer);
    // A reset after the answer is an answer.
    if answer.is_empty() {
        read?;
    }
    Ok(parse_answer(&String::from_utf8_lossy(&answer)))
}

/// Total: what is no answer has the status 0.
fn parse_answer(text: &str) -> Reached {
    let (head, content) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().filter(|line| line.starts_with("HTTP/1."));
    let status = status
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|word| word.parse().ok());
    let field = |wanted: &str| {
        let mut fields = head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        let found = fields.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        found
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    Reached {
        status: status.unwrap_or(0),
        server: field("server").to_ascii_lowercase(),
        location: field("location"),
        content: content.to_owned(),
    }
}

fn refuse(id: &str, cause: String, fix: &str) -> Refusal {
    Refusal {
        id: id.to_owned(),
        cause,
        fix: fix.to_owned(),
    }
}

/// What is wrong, if anything is.
fn judge(wanted: &Wanted, name: &str, reached: &Result<Reached, String>) -> Option<Refusal> {
    let reached = match reached {
        Ok(reached) => reached,
        Err(error) => {
            return Some(refuse(
                "certificate/unreachable",
                format!("nobody answers for {name} on port 80 ({error})"),
                "let TCP 80 in, in the provider's firewall too: the authority asks there",
            ));
        }
    };
    let wants = text(wanted);
    // Chunked content has its sizes around it.
    if reached.status == 200 && reached.content.contains(wants.trim_end()) {
        return None;
    }
    let by_cloudflare = reached.server.contains("cloudflare");
    if by_cloudflare && let Some(refusal) = page(name, reached.status) {
        return Some(refusal);
    }
    if (300..400).contains(&reached.status) {
        return Some(redirected(name, reached, by_cloudflare));
    }
    if by_cloudflare && matches!(reached.status, 403 | 429 | 503) {
        return Some(refuse(
            "cloudflare/challenged",
            format!("Cloudflare asks who comes to {name} whether it is human; an authority is not"),
            "let a rule of Cloudflare's skip the path /.well-known/acme-challenge/",
        ));
    }
    let who = match reached.server.as_str() {
        "" => "another server",
        server => server,
    };
    Some(refuse(
        "certificate/other-server",
        format!(
            "for {name} {who} answers {} where this host has a file: the name leads to another \
             machine, or another site here has it",
            reached.status
        ),
        "compare the name's address with the host's, and look for the name in /etc/nginx",
    ))
}

fn page(name: &str, status: u16) -> Option<Refusal> {
    let (_, cause, fix) = PAGES.iter().find(|(page, ..)| *page == status)?;
    let id = format!("cloudflare/{status}");
    Some(refuse(&id, format!("{name}: {cause}"), fix))
}

fn redirected(name: &str, reached: &Reached, by_cloudflare: bool) -> Refusal {
    let location = &reached.location;
    if by_cloudflare && location.starts_with("https://") {
        return refuse(
            "cloudflare/always-https",
            format!(
                "Cloudflare leads {name} from HTTP to HTTPS (Always Use HTTPS), and with Full \
                 there is no HTTPS before the first certificate"
            ),
            "turn Always Use HTTPS off until the certificate is there: Nginx leads to HTTPS itself",
        );
    }
    refuse(
        "certificate/redirected",
        format!("{name} leads to {location} on port 80, and not to a file of this host"),
        "let whoever leads away leave out /.well-known/acme-challenge/",
    )
}

/// The same table as shell: what the host says about the status that its public address gives.
pub(super) fn pages_shell() -> String {
    let mut shell = String::new();
    for (status, cause, fix) in PAGES {
        let says = super::shell::word(&format!("cloudflare/{status}: {cause}. {fix}"));
        shell.push_str(&format!("  {status}) fail {says} ;;\n"));
    }
    shell
}

#[cfg(test)]
mod tests {
    use super::super::super::samples;
    use super::*;

    fn check(answer: &str, wanted_id: Option<&str>) {
        let wanted = samples::wanted();
        let reached = parse_answer(&answer.replace('\n', "\r\n"));
        let refusal = judge(&wanted, "example.com", &Ok(reached));
        let id = refusal.as_ref().map(|refusal| refusal.id.as_str());
        assert_eq!(id, wanted_id, "{answer}");
        if let Some(refusal) = &refusal {
            assert!(refusal.cause.contains("example.com") && !refusal.fix.is_empty());
        }
    }

    #[test]
    fn the_file_itself_is_fine() {
        let text = text(&samples::wanted());
        check(&format!("HTTP/1.1 200 OK\nServer: nginx\n\n{text}"), None);
        check(
            &format!("HTTP/1.1 200 OK\nServer: cloudflare\n\n{text}"),
            None,
        );
        let chunked = format!("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2a\n{text}\n0\n\n");
        check(&chunked, None);
    }

    #[test]
    fn each_page_of_cloudflares_has_its_reason() {
        for status in [521, 522, 523, 525, 526, 530] {
            let answer = format!("HTTP/1.1 {status} <none>\nServer: cloudflare\n\n");
            check(&answer, Some(&format!("cloudflare/{status}")));
        }
        // The same number of somebody else means nothing of the kind.
        check(
            "HTTP/1.1 521 x\nServer: nginx\n\n",
            Some("certificate/other-server"),
        );
    }

    #[test]
    fn always_use_https_is_in_the_way() {
        let to = "https://example.com/.well-known/acme-challenge/aureon-blog";
        check(
            &format!("HTTP/1.1 301 x\nServer: cloudflare\nLocation: {to}\n\n"),
            Some("cloudflare/always-https"),
        );
        check(
            &format!("HTTP/1.1 301 x\nServer: Apache\nLocation: {to}\n\n"),
            Some("certificate/redirected"),
        );
    }

    #[test]
    fn what_is_no_file_of_ours_is_said() {
        check(
            "HTTP/1.1 404 x\nServer: nginx\n\n<html>",
            Some("certificate/other-server"),
        );
        check("HTTP/1.1 200 OK\n\nhello", Some("certificate/other-server"));
        check(
            "HTTP/1.1 403 x\nServer: cloudflare\n\n",
            Some("cloudflare/challenged"),
        );
        check("SSH-2.0-OpenSSH\n", Some("certificate/other-server"));
        check("", Some("certificate/other-server"));
    }

    #[test]
    fn nobody_at_all_is_said() {
        let none = Err("203.0.113.7:80: connection refused".to_owned());
        let refusal = judge(&samples::wanted(), "example.com", &none).unwrap();
        assert_eq!(refusal.id, "certificate/unreachable");
    }

    #[test]
    fn a_real_answer_is_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            let text = text(&samples::wanted());
            let answer = format!("HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n{text}");
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let wanted = samples::wanted();
        let stream = TcpStream::connect(address).unwrap();
        let reached = ask(stream, "example.com", &path(&wanted)).unwrap();
        assert_eq!(judge(&wanted, "example.com", &Ok(reached)), None);
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /.well-known/acme-challenge/aureon-blog HTTP/1.1\r\n"));
        assert!(request.contains("\r\nHost: example.com\r\n"));
    }

    #[test]
    fn the_host_says_the_same() {
        let shell = pages_shell();
        assert_eq!(shell.lines().count(), PAGES.len());
        assert!(shell.contains("  521) fail 'cloudflare/521: "));
    }
}
