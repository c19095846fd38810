//! A reader of metrics as text. Pure.

/// All series of one scrape.
#[derive(Debug, Default)]
pub struct Scrape(Vec<Series>);

#[derive(Debug)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

// === impl Scrape ===

impl Scrape {
    /// Prometheus's text format or `OpenMetrics`; what is no series is passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(series).collect())
    }

    /// The sum of all series of that name that have all those labels; `None` where there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |series: &&Series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(key, value)| series.label(key) == Some(*value))
        };
        let values: Vec<f64> = self.0.iter().filter(has).map(|one| one.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// As [`Scrape::sum`], of a counter: 0 where there is none.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        whole(self.sum(name, labels).unwrap_or_default())
    }

    /// The counts of that name by the values of some labels.
    pub fn by<const N: usize>(&self, name: &str, labels: [&str; N]) -> Vec<([String; N], u64)> {
        let ours = self.0.iter().filter(|series| series.name == name);
        let mut all: Vec<([String; N], u64)> = Vec::new();
        for series in ours {
            let key = labels.map(|label| series.label(label).unwrap_or_default().to_owned());
            let value = whole(series.value);
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some((_, sum)) => *sum = sum.saturating_add(value),
                None => all.push((key, value)),
            }
        }
        all.sort();
        all
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole and small; the cast saturates"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}

impl Series {
    fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// `name{label="value",…} 1.5 …`, or without labels.
fn series(line: &str) -> Option<Series> {
    let (name, labels, rest) = if let Some((name, rest)) = line.split_once('{') {
        let (labels, rest) = labels(rest)?;
        (name, labels, rest)
    } else {
        let (name, rest) = line.split_once(' ')?;
        (name, Vec::new(), rest)
    };
    Some(Series {
        name: name.to_owned(),
        labels,
        value: rest.split_whitespace().next()?.parse().ok()?,
    })
}

/// What is between the braces, and what follows them.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut all = Vec::new();
    loop {
        text = text.trim_start_matches(',');
        if let Some(rest) = text.strip_prefix('}') {
            return Some((all, rest));
        }
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => value.push(chars.next()?.1),
                (at, '"') => break at,
                (_, other) => value.push(other),
            }
        };
        all.push((key.to_owned(), value));
        text = rest.get(end.checked_add(1)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP x y\n\
        drift -2\n\
        done_total{sink=\"bonker http://127.0.0.1:1\",result=\"delivered\"} 7\n\
        done_total{sink=\"kubernetes\",result=\"held-back\"} 30 1700000000\n\
        done_total{sink=\"kubernetes\",result=\"delivered\"} 25\n\
        odd{a=\"}\\\",=\"} 1\n\
        broken{a=\"b\n# EOF\n";

    #[test]
    fn series_are_found_by_their_labels() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.sum("drift", &[]), Some(-2.0));
        assert_eq!(scrape.count("done_total", &[("sink", "kubernetes")]), 55);
        assert_eq!(scrape.count("done_total", &[("result", "delivered")]), 32);
        assert_eq!(scrape.sum("odd", &[("a", "}\",=")]), Some(1.0));
        assert_eq!(scrape.sum("broken", &[]), None);
        assert_eq!(scrape.count("nothing", &[]), 0);
    }

    #[test]
    fn counts_are_added_up_by_labels() {
        let counts = Scrape::parse(TEXT).by("done_total", ["result"]);
        let key = |text: &str| [text.to_owned()];
        assert_eq!(counts, [(key("delivered"), 32), (key("held-back"), 30)]);
    }
}
