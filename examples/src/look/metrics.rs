//! Prometheus' text format, as far as the proxy writes it.

/// One sample.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metrics(Vec<Sample>);

impl Metrics {
    /// Reads a page. Lines that can't be read are left out: a metric that is shown less is no reason to stop the show.
    pub(crate) fn parse(page: &str) -> Self {
        Metrics(page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum of a metric over all samples that carry these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let carries = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.label(key).is_some_and(|found| found == *value))
        };
        // Not `sum()`, whose neutral element is -0.
        self.0.iter().filter(carries).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The sum of a metric for each value of a label, in the order of the page.
    pub(crate) fn by_label(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut sums: Vec<(String, f64)> = Vec::new();
        for sample in self.0.iter().filter(|sample| sample.name == name) {
            let Some(found) = sample.label(label) else { continue };
            match sums.iter_mut().find(|(value, _)| value == found) {
                Some((_, sum)) => *sum += sample.value,
                None => sums.push((found.to_owned(), sample.value)),
            }
        }
        sums
    }
}

impl Sample {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// `name{key="value",…} number`, the braces optional.
fn sample(line: &str) -> Option<Sample> {
    let name_ends = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_ends);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((key, after)) = rest.split_once("=\"") {
            if rest.starts_with('}') {
                break;
            }
            let (value, after) = quoted(after)?;
            labels.push((key.trim_start_matches(',').to_owned(), value));
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, unescaped, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c => c,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Metrics, sample};

    const PAGE: &str = "\
# HELP bowline_retries_total Attempts after the first.
# TYPE bowline_retries_total counter
bowline_retries_total{service=\"server\",reason=\"connect_failure\"} 3
bowline_retries_total{service=\"server\",reason=\"reset\"} 2
bowline_retries_total{service=\"stream\",reason=\"reset\"} 1
bowline_endpoint_duration_seconds_bucket{service=\"server\",endpoint=\"127.0.0.1:9001\",le=\"+Inf\"} 7
bowline_mesh_generation 4
process_cpu_seconds_total 0.25
broken line
bowline_odd{unclosed=\"x} 1
";

    #[test]
    fn sums() {
        let metrics = Metrics::parse(PAGE);
        let retries = |labels: &[(&str, &str)]| metrics.sum("bowline_retries_total", labels);
        assert_eq!(retries(&[]), 6.0);
        assert_eq!(retries(&[("service", "server")]), 5.0);
        assert_eq!(retries(&[("service", "server"), ("reason", "reset")]), 2.0);
        assert_eq!(retries(&[("zone", "a")]), 0.0);
        assert_eq!(metrics.sum("bowline_mesh_generation", &[]), 4.0);
        assert_eq!(metrics.sum("process_cpu_seconds_total", &[]), 0.25);
        let by_reason = metrics.by_label("bowline_retries_total", "reason");
        assert_eq!(by_reason, [("connect_failure".to_owned(), 3.0), ("reset".to_owned(), 3.0)]);
    }

    #[test]
    fn label_values_may_hold_anything() {
        let sample = sample(r#"m{a="x\"},y=\\",b="1=\"2\"",c="l\n"} 1e3 1700000000"#).expect("a sample");
        let labels: Vec<&str> = sample.labels.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(labels, ["x\"},y=\\", "1=\"2\"", "l\n"]);
        assert_eq!(sample.value, 1000.0);
    }
}
