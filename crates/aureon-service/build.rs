//! Packs the files of `site/`, the page that is built in: a quarter of their size.
//!
//! What only a reader of `site/` needs stays there: lines of comment, and the space that lines
//! begin with. `src/unpack.rs` says how a packed text looks, and proves here that this one comes
//! out whole.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

#[path = "src/unpack.rs"]
mod unpack;

use unpack::{
    COPY_BYTES_MIN, IS_COPY, LENGTH, NUMBER_BITS_MAX, Odds, PLAIN, QUESTIONS, back_questions,
};

/// How often the pieces are chosen anew, by what the answers took the time before.
const ROUNDS: usize = 6;

/// The largest number that can be told.
const NUMBER_MAX: usize = (1 << NUMBER_BITS_MAX) - 1;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=site");
    println!("cargo::rerun-if-changed=src/unpack.rs");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir("site")? {
        paths.push(entry?.path());
    }
    paths.sort_unstable();
    let mut text = Vec::new();
    let mut files = String::new();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let content = lean(extension.unwrap_or(""), std::fs::read_to_string(&path)?)
            .ok_or_else(|| format!("{} has text whose lines count", path.display()))?;
        let name = path.file_name().and_then(|name| name.to_str());
        writeln!(files, "({:?}, {}),", name.ok_or("no name")?, content.len())?;
        text.extend(content.into_bytes());
    }
    let packed = pack(&text).ok_or("no question for a piece")?;
    if unpack::unpack(&packed, text.len()).as_ref() != Some(&text) {
        return Err("the packed site does not come out whole".into());
    }
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("site.packed"), packed)?;
    std::fs::write(Path::new(&out).join("site.rs"), format!("&[{files}]"))?;
    Ok(())
}

/// The text of a file without empty lines, lines of comment, and space around lines. Each line
/// stays one, for a script's statement may end with it. `None` where that space would be seen.
fn lean(extension: &str, text: String) -> Option<String> {
    let (begin, end) = match extension {
        "html" | "svg" => ("<!--", "-->"),
        "css" => ("/*", "*/"),
        "js" => ("// ", ""),
        _ => return Some(text),
    };
    let mut kept = String::new();
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        if line.contains("<pre") || line.contains("<textarea") || line.matches('`').count() % 2 == 1
        {
            return None;
        }
        in_comment |= line.starts_with(begin);
        if !in_comment && !line.is_empty() {
            kept.push_str(line);
            kept.push('\n');
        }
        in_comment &= !line.ends_with(end);
    }
    Some(kept)
}

/// A piece of the text: a plain byte, or a copy of so many bytes from so far back.
#[derive(Clone, Copy)]
enum Piece {
    Plain,
    Copy(usize, usize),
}

fn pack(text: &[u8]) -> Option<Vec<u8>> {
    let copies = copies(text);
    let mut prices = Prices::new();
    let mut shortest: Option<Vec<u8>> = None;
    for _ in 0..ROUNDS {
        let writer = Writer::write(text, &cheapest(text, &copies, &prices))?;
        prices = writer.spent;
        if shortest
            .as_ref()
            .is_none_or(|bytes| writer.packed.len() < bytes.len())
        {
            shortest = Some(writer.packed);
        }
    }
    shortest
}

/// For each place, the copies that can stand there: the nearest of each length, by length.
fn copies(text: &[u8]) -> Vec<Vec<(usize, usize)>> {
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    let mut copies = vec![Vec::new(); text.len()];
    for (at, start) in text.windows(COPY_BYTES_MIN).enumerate() {
        let earlier = places.entry(start).or_default();
        let mut longest = COPY_BYTES_MIN - 1;
        for from in earlier.iter().rev() {
            let pairs = text[at..].iter().zip(&text[*from..]);
            let length = pairs.take_while(|(here, there)| here == there).count();
            if length > longest && length.max(at - from) <= NUMBER_MAX {
                copies[at].extend((longest + 1..=length).map(|length| (length, at - from)));
                longest = length;
            }
        }
        earlier.push(at);
    }
    copies
}

/// The row of pieces that takes the fewest bits, going by `prices`.
fn cheapest(text: &[u8], copies: &[Vec<(usize, usize)>], prices: &Prices) -> Vec<Piece> {
    // For each place the bits until there, and the piece before it.
    let mut best = vec![(f32::INFINITY, Piece::Plain); text.len() + 1];
    best[0].0 = 0.0;
    let mut answers = Vec::new();
    for at in 0..text.len() {
        let (bits, before) = best[at];
        let choices = copies[at]
            .iter()
            .map(|(length, back)| Piece::Copy(*length, *back));
        for piece in choices.chain([Piece::Plain]) {
            let next = at + piece.length();
            piece.answers(&mut answers, text, at, before);
            let bits = bits + prices.of(&answers);
            if bits < best[next].0 {
                best[next] = (bits, piece);
            }
        }
    }
    let mut pieces = Vec::new();
    let mut at = text.len();
    while at > 0 {
        pieces.push(best[at].1);
        at -= best[at].1.length();
    }
    pieces.reverse();
    pieces
}

impl Piece {
    fn length(self) -> usize {
        match self {
            Piece::Plain => 1,
            Piece::Copy(length, _) => length,
        }
    }

    /// The questions that lead to it at its place, with their answers.
    fn answers(self, answers: &mut Vec<(usize, bool)>, text: &[u8], at: usize, before: Piece) {
        let kind = IS_COPY + usize::from(matches!(before, Piece::Copy(..)));
        answers.clear();
        answers.push((kind, matches!(self, Piece::Copy(..))));
        match self {
            Piece::Plain => {
                let before = at
                    .checked_sub(1)
                    .map_or(0, |before| usize::from(text[before] >> 5));
                let bits = usize::from(text[at]) | 256;
                for bit in (0..8).rev() {
                    let question = PLAIN + before * 256 + (bits >> (bit + 1));
                    answers.push((question, bits >> bit & 1 == 1));
                }
            }
            Piece::Copy(length, back) => {
                let more = length - COPY_BYTES_MIN;
                put_number(answers, LENGTH, more + 1);
                put_number(answers, back_questions(more), back);
            }
        }
    }
}

fn put_number(answers: &mut Vec<(usize, bool)>, questions: usize, number: usize) {
    let bits = number.ilog2() as usize;
    for at in 0..bits {
        answers.push((questions + 2 * at, true));
        let bit = number >> (bits - 1 - at) & 1 == 1;
        answers.push((questions + 2 * at + 1, bit));
    }
    answers.push((questions + 2 * bits, false));
}

/// For each question and answer, the bits that it took and how often it was given.
struct Prices([[(f32, f32); 2]; QUESTIONS]);

impl Prices {
    /// An answer that was never given is taken for one of a bit.
    fn new() -> Prices {
        Prices([[(1.0, 1.0); 2]; QUESTIONS])
    }

    fn of(&self, answers: &[(usize, bool)]) -> f32 {
        let price = |(question, yes): &(usize, bool)| {
            let (bits, times) = self.0[*question][usize::from(*yes)];
            bits / times
        };
        answers.iter().map(price).sum()
    }
}

struct Writer {
    packed: Vec<u8>,
    odds: Odds,
    range: u32,
    /// The lower end of the range, but for what is packed already.
    low: u32,
    spent: Prices,
}

impl Writer {
    fn write(text: &[u8], pieces: &[Piece]) -> Option<Writer> {
        let mut writer = Writer {
            packed: Vec::new(),
            odds: Odds::new(),
            range: 1 << 24,
            low: 0,
            spent: Prices::new(),
        };
        let (mut at, mut before) = (0, Piece::Plain);
        let mut answers = Vec::new();
        for piece in pieces {
            piece.answers(&mut answers, text, at, before);
            for (question, yes) in &answers {
                writer.put(*question, *yes)?;
            }
            at += piece.length();
            before = *piece;
        }
        // Two bytes are enough to name a place in what is left of the line.
        writer.raise(1 << 16);
        writer.shift();
        writer.shift();
        // The line begins after the first byte.
        writer.packed.remove(0);
        Some(writer)
    }

    fn put(&mut self, question: usize, yes: bool) -> Option<()> {
        let share = self.odds.share(question, self.range)?;
        let part = if yes { share } else { self.range - share };
        let (bits, times) = &mut self.spent.0[question][usize::from(yes)];
        *bits += (self.range as f32 / part as f32).log2();
        *times += 1.0;
        if !yes {
            self.raise(share);
        }
        self.range = part;
        self.odds.learn(question, yes);
        while self.range < 1 << 24 {
            self.shift();
            self.range <<= 8;
        }
        Some(())
    }

    /// What `low` cannot hold is added to what is packed.
    fn raise(&mut self, by: u32) {
        let (low, is_over) = self.low.overflowing_add(by);
        self.low = low;
        if is_over {
            for byte in self.packed.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }
    }

    fn shift(&mut self) {
        self.packed.push((self.low >> 24) as u8);
        self.low <<= 8;
    }
}
