//! Which namespaces and labels may bonk; deny overrides allow.

use std::collections::BTreeMap;
use std::str::FromStr;

use wildmatch::WildMatch;

use crate::bonk::Bonk;

/// Empty, it allows everything. One of the allowed namespaces has to match, if there are any, and
/// one of the allowed labels.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct Filter {
    /// Namespace that may bonk, with * and ?; repeatable; by default all may
    #[arg(long = "allow-namespace", env = "BONKER_ALLOW_NAMESPACE", value_delimiter = ',',
          value_name = "PATTERN", value_parser = pattern)]
    pub allow_namespaces: Vec<WildMatch>,
    /// Namespace that may not bonk, even if it is allowed; repeatable
    #[arg(long = "deny-namespace", env = "BONKER_DENY_NAMESPACE", value_delimiter = ',',
          value_name = "PATTERN", value_parser = pattern)]
    pub deny_namespaces: Vec<WildMatch>,
    /// Label that a bonk needs (one of those given); its value may have * and ?; repeatable
    #[arg(
        long = "allow-label",
        env = "BONKER_ALLOW_LABEL",
        value_delimiter = ',',
        value_name = "NAME=PATTERN"
    )]
    pub allow_labels: Vec<LabelRule>,
    /// Label that a bonk must not have, even if it is allowed; its value may have * and ?; repeatable
    #[arg(
        long = "deny-label",
        env = "BONKER_DENY_LABEL",
        value_delimiter = ',',
        value_name = "NAME=PATTERN"
    )]
    pub deny_labels: Vec<LabelRule>,
}

/// A label's name, and its value with `*` and `?`.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRule {
    /// The name, to the letter.
    pub name: String,
    pub value: WildMatch,
}

// === impl Filter ===

impl Filter {
    /// `None` if `bonk` is allowed.
    pub(super) fn denies(&self, bonk: &Bonk) -> Option<&'static str> {
        let named = |rules: &[WildMatch]| rules.iter().any(|rule| rule.matches(&bonk.namespace));
        let labelled = |rules: &[LabelRule]| rules.iter().any(|rule| rule.matches(&bonk.labels));
        if named(&self.deny_namespaces) {
            return Some("this namespace is denied (--deny-namespace)");
        }
        if labelled(&self.deny_labels) {
            return Some("a label of it is denied (--deny-label)");
        }
        if !self.allow_namespaces.is_empty() && !named(&self.allow_namespaces) {
            return Some("this namespace is not among the allowed (--allow-namespace)");
        }
        if !self.allow_labels.is_empty() && !labelled(&self.allow_labels) {
            return Some("no label of it is among the allowed (--allow-label)");
        }
        None
    }
}

// === impl LabelRule ===

impl LabelRule {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        labels
            .get(&self.name)
            .is_some_and(|value| self.value.matches(value))
    }
}

impl FromStr for LabelRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: WildMatch::new(value),
            }),
            _ => Err("use NAME=PATTERN, as in bonk=yes".to_owned()),
        }
    }
}

fn pattern(text: &str) -> Result<WildMatch, String> {
    if text.is_empty() {
        return Err("use a name, or a pattern as team-*".to_owned());
    }
    Ok(WildMatch::new(text))
}

#[cfg(test)]
mod tests {
    use wildmatch::WildMatch;

    use super::{Filter, LabelRule};
    use crate::bonk::Bonk;

    fn rule((name, value): (&str, &str)) -> LabelRule {
        LabelRule {
            name: name.to_owned(),
            value: WildMatch::new(value),
        }
    }

    #[test]
    fn deny_wins() {
        let names = |names: &[&str]| names.iter().map(|name| WildMatch::new(name)).collect();
        let filter = Filter {
            allow_namespaces: names(&["prod-*", "shop"]),
            deny_namespaces: names(&["prod-secret"]),
            allow_labels: vec![rule(("bonk", "yes")), rule(("team", "a?"))],
            deny_labels: vec![rule(("bonk", "no*"))],
        };
        let check = |namespace: &str, labels: &[(&str, &str)], expect: Option<&str>| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let bonk = Bonk {
                namespace: namespace.to_owned(),
                labels: labels.iter().map(own).collect(),
                ..Bonk::default()
            };
            let denied = filter.denies(&bonk);
            assert_eq!(denied.is_some(), expect.is_some(), "{namespace} {labels:?}");
            let texts = (denied.unwrap_or_default(), expect.unwrap_or_default());
            assert!(texts.0.contains(texts.1), "{texts:?}");
        };
        let yes = ("bonk", "yes");
        check("prod-1", &[yes], None);
        check("shop", &[("team", "a1")], None);
        check("shopping", &[yes], Some("--allow-namespace"));
        check("prod-secret", &[yes], Some("--deny-namespace"));
        check(
            "prod-1",
            &[("bonk", "no"), ("team", "a1")],
            Some("--deny-label"),
        );
        check("prod-1", &[("team", "b1")], Some("--allow-label"));
        check("prod-1", &[], Some("--allow-label"));
        check("", &[yes], Some("--allow-namespace"));
        assert_eq!(Filter::default().denies(&Bonk::default()), None);
    }
}
