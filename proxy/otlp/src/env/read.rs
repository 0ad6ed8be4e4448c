//! How a variable is read: a value that can't be used is said, and its default holds.

use std::time::Duration;

/// What the specification calls no limit.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);
/// Longer intervals are mistakes, and would be too much for the clock's arithmetic.
const LONGEST: u64 = 24 * 3600 * 1000;

/// Reads variables and collects what is wrong with them.
pub(super) struct Reader<'a> {
    source: &'a dyn Fn(&str) -> Option<String>,
    pub(super) problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Reader { source, problems: Vec::new() }
    }

    /// The value, without blanks around it; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = (self.source)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value of the first of these variables that has one, and that variable.
    pub(super) fn first(&self, names: &[String]) -> Option<(String, String)> {
        names.iter().find_map(|name| Some((name.clone(), self.get(name)?)))
    }

    pub(super) fn problem(&mut self, name: &str, what: &str) {
        let problem = format!("{name}: {what}");
        // Both signals look at the general variables.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// A word that nobody knows.
    pub(super) fn unknown(&mut self, name: &str, word: &str, known: &[&str], instead: &str) {
        let guess = match nearest(word, known) {
            Some(guess) => format!("is {guess} meant?"),
            None => format!("known: {}", known.join(", ")),
        };
        self.problem(name, &format!("{word:?} is not known ({guess}); taken: {instead}"));
    }

    /// One of these words, or the default.
    pub(super) fn word(
        &mut self,
        name: &str,
        known: &[&'static str],
        otherwise: &'static str,
    ) -> &'static str {
        let Some(value) = self.get(name) else { return otherwise };
        match known.iter().find(|word| word.eq_ignore_ascii_case(&value)) {
            Some(word) => word,
            None => {
                self.unknown(name, &value, known, otherwise);
                otherwise
            }
        }
    }

    /// Only `true` is true.
    pub(super) fn yes_or_no(&mut self, name: &str) -> bool {
        self.word(name, &["true", "false"], "false") == "true"
    }

    /// A number of at least 1.
    pub(super) fn count(&mut self, name: &str, otherwise: usize) -> usize {
        let Some(text) = self.get(name) else { return otherwise };
        match text.parse() {
            Ok(count) if count > 0 => count,
            _ => {
                self.problem(name, &format!("{text:?} is no number of at least 1; taken: {otherwise}"));
                otherwise
            }
        }
    }

    /// A time in milliseconds, at least so many.
    pub(super) fn milliseconds(&mut self, name: &str, otherwise: u64, least: u64) -> Duration {
        let taken = match self.get(name) {
            None => otherwise,
            Some(text) => match text.parse::<u64>() {
                Ok(value) if (least..=LONGEST).contains(&value) => value,
                _ => {
                    let what = format!("{text:?} is no number of milliseconds from {least} to {LONGEST}");
                    self.problem(name, &format!("{what}; taken: {otherwise}"));
                    otherwise
                }
            },
        };
        Duration::from_millis(taken)
    }

    /// A time in milliseconds; 0 is no limit.
    pub(super) fn timeout(&mut self, name: &str, otherwise: u64) -> Duration {
        match self.milliseconds(name, otherwise, 0) {
            Duration::ZERO => NO_LIMIT,
            limit => limit,
        }
    }

    /// `key=value,key=value`, percent-encoded; of a key that comes twice the last one counts.
    pub(super) fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let Some(list) = self.get(name) else { return pairs };
        for pair in list.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
                self.problem(name, &format!("{} is not of the form key=value; left out", quoted(pair)));
                continue;
            };
            let (Some(key), Some(value)) = (decoded(key.trim()), decoded(value.trim())) else {
                self.problem(name, &format!("{} is not percent-encoded UTF-8; left out", quoted(key)));
                continue;
            };
            match pairs.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => pairs.push((key, value)),
            }
        }
        pairs
    }
}

/// The beginning of it: headers hold passwords, which must not get into the log.
fn quoted(text: &str) -> String {
    let beginning: String = text.chars().take(16).collect();
    format!("{beginning:?}")
}

/// Percent-decoding. A `%` that is not followed by two digits stands for itself, as in other SDKs.
fn decoded(text: &str) -> Option<String> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        let escaped = pair.filter(|pair| byte == b'%' && pair.bytes().all(|c| c.is_ascii_hexdigit()));
        match escaped.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// The known word that is most like this one, if any is much like it.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let best = known.iter().map(|known| (distance(&word, known), *known)).min()?;
    (best.0 <= 1 + word.len() / 4).then_some(best.1)
}

/// How many letters must be put in, left out or changed to make the one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let (mut before, mut left) = (row[0], i + 1);
        row[0] = left;
        for (j, b) in b.iter().enumerate() {
            let changed = before + usize::from(a != *b);
            before = row[j + 1];
            left = changed.min(before + 1).min(left + 1);
            row[j + 1] = left;
        }
    }
    row[b.len()]
}
