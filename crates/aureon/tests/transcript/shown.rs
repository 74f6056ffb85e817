//! What a connection showed, in the words of an answer block, and whether that was wanted.

use super::Answer;
use aureon::http::date::parse_date;

/// What a connection showed: the same words as an answer block has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Interim,
    Answer(Shown),
}

/// A final answer: its head as text, and the content where it is compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) head: String,
    pub(crate) body: Option<Vec<u8>>,
}

impl Shown {
    pub(crate) fn status(&self) -> u16 {
        assert!(
            self.head.starts_with("HTTP/1.1 "),
            "no status line: {:?}",
            self.head
        );
        let code = self.head.get(9..12).and_then(|code| code.parse().ok());
        code.unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn keep(&self) -> bool {
        self.field("Connection") != Some("close")
    }

    /// What is wrong with this answer; `owned` says which fields to look for.
    pub(crate) fn check(&self, wanted: &Answer, owned: fn(&str) -> bool) -> Result<(), String> {
        if (self.status(), self.keep()) != (wanted.status, wanted.keep) {
            return Err(format!("instead of {} came {:?}", wanted.status, self.head));
        }
        for (name, value) in wanted.fields.iter().filter(|(name, _)| owned(name)) {
            let got = self.field(name);
            if got.is_none() || (value != "*" && got != Some(value)) {
                return Err(format!("{name} is {got:?} in {:?}", self.head));
            }
            // RFC 9110 section 5.6.7: the fixed form, which has 29 bytes.
            if let ("Date", Some(date)) = (name.as_str(), got)
                && (date.len() != 29 || parse_date(date.as_bytes()).is_none())
            {
                return Err(format!("{date} is no date"));
            }
        }
        if let Some(name) = wanted.absent.iter().find(|name| self.field(name).is_some()) {
            return Err(format!("{name} is in {:?}", self.head));
        }
        match (&self.body, &wanted.body) {
            (Some(got), Some(text)) if got != text => {
                Err(format!("body \"{}\" instead", got.escape_ascii()))
            }
            _ => Ok(()),
        }
    }
}
