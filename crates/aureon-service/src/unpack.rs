//! Unpacks the built-in page, which `build.rs` packs.
//!
//! A packed text answers a row of questions with yes or no. Each piece begins with one: is it a
//! copy? A copy has a length and how far back it begins, which are numbers; a plain byte has eight
//! bits. The row of answers is one long binary fraction. What is left of the line from 0 to 1 is
//! cut in two at each question, yes below and no above, in the ratio of how often the question was
//! answered with yes lately; where the fraction lies is the answer. An answer that was expected
//! cuts off little and takes a small part of a bit.
//!
//! So 80 lines read it, where deflate takes more code than it would save. `build.rs` proves with
//! this same file that the page comes out whole.

/// Bytes that a copy has at least.
pub(crate) const COPY_BYTES_MIN: usize = 2;

/// Numbers are below two to this power.
pub(crate) const NUMBER_BITS_MAX: usize = 15;

/// Questions are numbers. Is it a copy? There are two of them, the second for after a copy.
pub(crate) const IS_COPY: usize = 0;
/// What a copy's length is, less [`COPY_BYTES_MIN`] and one more, for no number is 0.
pub(crate) const LENGTH: usize = 32;
/// How far back it begins; another row of questions for copies of the least length.
pub(crate) const BACK: usize = 64;
/// A plain byte's bits from the highest on, each one with those above it and a one above them: 256
/// questions for each three highest bits of the byte before.
pub(crate) const PLAIN: usize = 128;
/// How many questions there are.
pub(crate) const QUESTIONS: usize = PLAIN + 8 * 256;

/// How often each question was answered with yes lately, of 65,536 times.
pub(crate) struct Odds([u16; QUESTIONS]);

impl Odds {
    pub(crate) fn new() -> Odds {
        Odds([1 << 15; QUESTIONS])
    }

    /// The part of `range` that is a yes.
    pub(crate) fn share(&self, question: usize, range: u32) -> Option<u32> {
        Some((range >> 16) * u32::from(*self.0.get(question)?))
    }

    /// The last 32 answers count most. The odds stay above 0 and below 1.
    pub(crate) fn learn(&mut self, question: usize, yes: bool) {
        if let Some(odds) = self.0.get_mut(question) {
            if yes {
                *odds += !*odds >> 5;
            } else {
                *odds -= *odds >> 5;
            }
        }
    }
}

/// The text of `length` bytes that is packed in `packed`; `None` if it is not one.
pub(crate) fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut reader = Reader {
        rest: packed.iter(),
        odds: Odds::new(),
        range: 1,
        place: 0,
    };
    let mut text = Vec::new();
    let mut after_copy = 0;
    while text.len() < length {
        if reader.answer(IS_COPY + after_copy)? == 0 {
            after_copy = 0;
            let before = text.last().map_or(0, |byte| usize::from(byte >> 5));
            let mut bits = 1;
            while bits < 256 {
                bits = bits << 1 | reader.answer(PLAIN + before * 256 + bits)?;
            }
            text.push(bits as u8);
        } else {
            after_copy = 1;
            let more = reader.number(LENGTH)? - 1;
            let back = reader.number(back_questions(more))?;
            let from = text.len().checked_sub(back)?;
            // Byte by byte: a copy may begin in what it copies.
            for at in from..from + more + COPY_BYTES_MIN {
                text.push(*text.get(at)?);
            }
        }
    }
    (text.len() == length).then_some(text)
}

/// The questions for how far back a copy begins that has `more` bytes than the least.
pub(crate) fn back_questions(more: usize) -> usize {
    BACK + if more == 0 { 2 * NUMBER_BITS_MAX } else { 0 }
}

struct Reader<'a> {
    rest: std::slice::Iter<'a, u8>,
    odds: Odds,
    /// How much is left of the line, and where on it the fraction lies.
    range: u32,
    place: u32,
}

impl Reader<'_> {
    /// 1 for yes. After the last byte there are zeros.
    fn answer(&mut self, question: usize) -> Option<usize> {
        while self.range < 1 << 24 {
            self.range <<= 8;
            self.place = self.place << 8 | u32::from(*self.rest.next().unwrap_or(&0));
        }
        let share = self.odds.share(question, self.range)?;
        let yes = self.place < share;
        if yes {
            self.range = share;
        } else {
            self.range -= share;
            self.place -= share;
        }
        self.odds.learn(question, yes);
        Some(usize::from(yes))
    }

    /// At least 1. Each bit below the highest follows a yes that says that it is there.
    fn number(&mut self, questions: usize) -> Option<usize> {
        let mut number = 1;
        for at in 0..NUMBER_BITS_MAX {
            if self.answer(questions + 2 * at)? == 0 {
                return Some(number);
            }
            number = number << 1 | self.answer(questions + 2 * at + 1)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any bytes are a text or none, and end.
    #[test]
    fn any_bytes_give_a_text_of_that_length_or_none() {
        let mut seed = 1_u64;
        let mut texts = 0;
        for round in 0..2_000 {
            let packed: Vec<u8> = (0..round % 300)
                .map(|_| {
                    seed = seed
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (seed >> 56) as u8
                })
                .collect();
            let length = round % 700;
            if let Some(text) = unpack(&packed, length) {
                assert_eq!(text.len(), length);
                texts += 1;
            }
        }
        assert!(texts > 0);
    }

    #[test]
    fn a_copy_from_before_the_beginning_is_no_text() {
        // All answers are yes: a copy, and a number that does not end.
        assert_eq!(unpack(&[0; 99], 1), None);
        // A first copy has nothing to copy from.
        assert_eq!(unpack(&[0x20, 0, 0], 1), None);
    }
}
