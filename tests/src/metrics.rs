//! A strict reader of Prometheus' text format, version 0.0.4: what it doesn't understand is a bug of the page.

use std::collections::{BTreeMap, BTreeSet};

/// One family of a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its help.
    pub help: String,
    /// Its samples: name, labels, value.
    pub samples: Vec<Sample>,
}

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The family's name, perhaps with a suffix.
    pub name: String,
    /// Its labels, in order.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

/// A whole page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// By name.
    pub families: BTreeMap<String, Family>,
}

impl Sample {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.iter().any(|(n, v)| n == name && v == value))
    }
}

impl Scrape {
    /// Reads a page.
    ///
    /// # Errors
    /// The first line that breaks a rule, and which rule.
    pub fn parse(page: &str) -> Result<Self, String> {
        if !page.ends_with('\n') {
            return Err("the page doesn't end with a newline".into());
        }
        let mut scrape = Scrape::default();
        let mut current = String::new();
        let mut seen = BTreeSet::new();
        for line in page.lines() {
            let bad = |rule: &str| format!("{rule}: {line}");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or_else(|| bad("no help"))?;
                current = name.to_owned();
                let family = Family { help: help.to_owned(), ..Family::default() };
                if scrape.families.insert(current.clone(), family).is_some() {
                    return Err(bad("a family comes twice"));
                }
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| bad("no type"))?;
                let family = scrape.families.get_mut(name).filter(|_| name == current).ok_or_else(|| bad("TYPE without HELP"))?;
                if !family.kind.is_empty() || !matches!(kind, "counter" | "gauge" | "histogram") {
                    return Err(bad("a second or unknown TYPE"));
                }
                family.kind = kind.to_owned();
            } else if line.starts_with('#') || line.is_empty() {
                return Err(bad("neither HELP, TYPE nor a sample"));
            } else {
                let sample = parse_sample(line).ok_or_else(|| bad("not a sample"))?;
                let family = scrape.families.get_mut(&current).ok_or_else(|| bad("a sample without a family"))?;
                check_sample(&current, family, &sample).map_err(|rule| bad(&rule))?;
                let labels: BTreeMap<_, _> = sample.labels.iter().cloned().collect();
                if !seen.insert((sample.name.clone(), labels)) {
                    return Err(bad("the same series twice"));
                }
                family.samples.push(sample);
            }
        }
        for (name, family) in scrape.families.iter().filter(|(_, family)| family.kind == "histogram") {
            check_histogram(family).map_err(|rule| format!("{name}: {rule}"))?;
        }
        Ok(scrape)
    }

    /// The sum of the samples of this name that have these labels; 0 without any.
    ///
    /// # Panics
    /// The page has no such family: the test asks for something that can't be there.
    #[must_use]
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let family = self.families.get(name).unwrap_or_else(|| panic!("no metric {name}"));
        family.samples.iter().filter(|sample| sample.name == name && sample.has(labels)).map(|sample| sample.value).sum()
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let close = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next()?.1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        _ => return None,
                    }),
                    (_, c) => value.push(c),
                }
            };
            if !is_name(label) || label.contains(':') {
                return None;
            }
            labels.push((label.to_owned(), value));
            rest = &after[close + 1..];
            match rest.split_at_checked(1)? {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                _ => return None,
            }
        }
    }
    let value = rest.strip_prefix(' ')?;
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().ok()? };
    is_name(name).then(|| Sample { name: name.to_owned(), labels, value })
}

fn check_sample(name: &str, family: &Family, sample: &Sample) -> Result<(), String> {
    let suffix = sample.name.strip_prefix(name).ok_or("a sample in another family")?;
    let fits = match family.kind.as_str() {
        "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count"),
        "counter" | "gauge" => suffix.is_empty(),
        _ => return Err("a sample before its TYPE".into()),
    };
    if !fits {
        return Err(format!("suffix {suffix:?} of a {}", family.kind));
    }
    if family.kind != "gauge" && (sample.value < 0.0 || sample.value.is_nan()) {
        return Err("a count below zero".into());
    }
    Ok(())
}

/// Per series: bounds ascend to +Inf, counts never fall, and the last bucket is the count.
fn check_histogram(family: &Family) -> Result<(), String> {
    let mut series: BTreeMap<Vec<(String, String)>, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let (le, labels): (Vec<_>, Vec<_>) = sample.labels.iter().cloned().partition(|(name, _)| name == "le");
        let [(_, le)] = le.as_slice() else { return Err("a bucket without le".into()) };
        let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().map_err(|_| format!("le {le:?}"))? };
        series.entry(labels).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in series {
        if !buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1) {
            return Err(format!("buckets of {labels:?} are not in order"));
        }
        let last = buckets.last().ok_or("no buckets")?;
        let of = |suffix: &str| {
            family.samples.iter().find(|sample| sample.name.ends_with(suffix) && sample.labels == labels).map(|sample| sample.value)
        };
        if last.0 != f64::INFINITY || of("_count") != Some(last.1) || of("_sum").is_none() {
            return Err(format!("count, sum and +Inf of {labels:?} don't agree"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Scrape;

    #[test]
    fn the_reader_is_strict() {
        let good = "# HELP a Help.\n# TYPE a counter\na{x=\"1\\\"\"} 2\na{x=\"2\"} 3\n";
        let scrape = Scrape::parse(good).unwrap();
        assert_eq!(scrape.sum("a", &[]), 5.0);
        assert_eq!(scrape.sum("a", &[("x", "1\"")]), 2.0);
        for bad in [
            "a 1\n",
            "# HELP a Help.\n# TYPE a counter\na 1",
            "# HELP a Help.\n# TYPE a counter\na 1\na 1\n",
            "# HELP a Help.\n# TYPE a counter\na{x=1} 1\n",
            "# HELP a Help.\n# TYPE a counter\nb 1\n",
            "# HELP a Help.\n# TYPE a counter\na -1\n",
            "# HELP a Help.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        ] {
            assert!(Scrape::parse(bad).is_err(), "{bad}");
        }
    }
}
