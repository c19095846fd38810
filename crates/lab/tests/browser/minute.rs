//! The memory of the minute before a kill.

use proto::bonk::BonkItem;
use serde_json::json;

use crate::desk::{Desk, item};

#[test]
fn the_minute_before_is_a_picture_with_words() {
    let mut desk = Desk::set_up(&[]);
    desk.bonk(item("a", "quiet"));
    desk.counted(1);
    desk.bonk(BonkItem {
        usage_permille: (0..=10).map(|n| n * 100).collect(),
        verdict: "leak".to_owned(),
        ..item("b", "cart")
    });
    desk.counted(2);
    let page = &mut desk.page;
    let label =
        "Memory in the minute before: from 0 % to 100 % of the limit, 100 % at most; a leak";
    for place in ["#usage", "#rows tr:first-child .usage"] {
        let found = page
            .eval(&format!(
                "(() => {{ const slot = document.querySelector('{place}'), figure = slot.querySelector('svg'), box = figure.getBoundingClientRect(); return {{role: figure.getAttribute('role'), label: figure.getAttribute('aria-label'), verdict: slot.querySelector('.verdict').textContent, line: slot.querySelector('.spark-line').getAttribute('points'), wide: box.width > 40 && box.height > 20}}; }})()"
            ))
            .unwrap();
        let line = "0.0,24.0 12.0,21.6 24.0,19.2 36.0,16.8 48.0,14.4 60.0,12.0 72.0,9.6 84.0,7.2 96.0,4.8 108.0,2.4 120.0,0.0";
        let expected =
            json!({"role": "img", "label": label, "verdict": "a leak", "line": line, "wide": true});
        assert_eq!(found, expected, "{place}");
    }
    // Without samples there is nothing, not even room.
    let quiet = "#rows tr:nth-child(2) .usage";
    let shown = page
        .eval(&format!(
            "document.querySelector('{quiet}').checkVisibility()"
        ))
        .unwrap();
    assert_eq!(shown, false);
    desk.was_well(&[]);
}

#[test]
fn a_strange_verdict_stays_text() {
    let mut desk = Desk::set_up(&[]);
    desk.bonk(BonkItem {
        usage_permille: vec![u32::MAX, 0],
        verdict: "<b>\u{202e}x</b>".to_owned(),
        ..item("a", "cart")
    });
    desk.counted(1);
    let page = &mut desk.page;
    let shown = page
        .eval("document.querySelector('#usage .verdict').textContent")
        .unwrap();
    assert_eq!(shown, r"<b>\u{202e}x</b>");
    let line = page
        .eval("document.querySelector('#usage .spark-line').getAttribute('points')")
        .unwrap();
    assert_eq!(line, "0.0,0.0 120.0,24.0");
    desk.was_well(&[]);
}
