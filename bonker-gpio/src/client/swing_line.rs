//! Pure: a swing as one line, with nothing left in it that a terminal obeys.

use std::fmt::Write as _;

use serde_json::json;

use super::swings::HubSwing;
use crate::args::Output;
use crate::text::{escape, escape_json};

pub(super) fn line(swing: &HubSwing, output: Output) -> String {
    let HubSwing { bonk, swung_at, .. } = swing;
    match output {
        Output::Json => escape_json(
            &json!({
                "swings": swing.swings,
                "swung_at": swung_at.map(|time| time.to_string()),
                "missed": swing.missed,
                "id": bonk.id,
                "time": bonk.time.map(|time| time.to_string()),
                "source": bonk.source,
                "node": bonk.node,
                "namespace": bonk.namespace,
                "pod": bonk.pod,
                "container": bonk.container,
                "comm": bonk.comm,
                "summary": bonk.summary,
            })
            .to_string(),
        ),
        Output::Human | Output::Picture => {
            let when = swung_at.map_or_else(|| "?".to_owned(), |time| format!("{time:.3}"));
            let mut line = format!("{when} swing {}", swing.swings);
            let place = bonk.place();
            for (before, text) in [
                (": ", &place),
                (" on ", &bonk.node),
                (" comm=", &bonk.comm),
                (" from ", &bonk.source),
                (" - ", &bonk.summary),
            ] {
                if !text.is_empty() {
                    line.push_str(before);
                    line.push_str(&escape(text));
                }
            }
            if swing.missed > 0 {
                // Writing to a String cannot fail.
                let _ = write!(line, " ({} missed before this one)", swing.missed);
            }
            line
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::bonk::{BonkItem, WatchBonksResponse};

    use super::line;
    use crate::args::Output;

    fn hostile() -> WatchBonksResponse {
        WatchBonksResponse {
            item: Some(BonkItem {
                id: "1".into(),
                namespace: "default".into(),
                pod: "p\u{202e}".into(),
                comm: "\x1b[2Jx\n".into(),
                summary: "\u{9b}31m".into(),
                ..BonkItem::default()
            }),
            swings: 7,
            swung_at: Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 500_000_000,
            }),
            missed: 2,
            ..WatchBonksResponse::default()
        }
    }

    #[test]
    fn people_read_one_harmless_line() {
        assert_eq!(
            line(&hostile().into(), Output::Human),
            "1970-01-01T00:00:00.500Z swing 7: default/p\\u{202e} comm=\\u{1b}[2Jx\\n - \
             \\u{9b}31m (2 missed before this one)"
        );
    }

    #[test]
    fn programs_read_one_harmless_object() {
        let json = line(&hostile().into(), Output::Json);
        assert!(
            json.is_ascii() && !json.contains(char::is_control),
            "{json}"
        );
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["comm"], "\x1b[2Jx\n");
        assert_eq!(read["pod"], "p\u{202e}");
        assert_eq!(read["missed"], 2);
        assert_eq!(read["time"], serde_json::Value::Null);
    }
}
