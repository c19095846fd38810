//! Test bonk and snooze, by keyboard alone.

use crate::desk::{Desk, item};

pub(crate) const FOCUS: &str =
    "document.activeElement.id || document.activeElement.textContent.trim()";

pub(crate) fn answer(desk: &mut Desk, is: &str) {
    let answered = format!("document.getElementById('answer').textContent === '{is}'");
    desk.page.until(&answered).unwrap();
}

/// Presses Tab until the focus is there.
pub(crate) fn tab_to(desk: &mut Desk, what: &str) {
    for _ in 0..12 {
        if desk.page.eval(FOCUS).unwrap() == what {
            return;
        }
        desk.page.press("Tab").unwrap();
    }
    panic!("{what} cannot be reached by keyboard");
}

#[test]
fn the_keyboard_is_enough_to_bonk_and_to_leave_in_peace() {
    let mut desk = Desk::set_up(&[]);
    let mut order = Vec::new();
    for _ in 0..5 {
        desk.page.press("Tab").unwrap();
        order.push(desk.page.eval(FOCUS).unwrap());
    }
    assert_eq!(
        order,
        [
            "Skip to the history",
            "severity",
            "Bonk it",
            "span",
            "Snooze"
        ]
    );

    desk.page.reload().unwrap();
    desk.live();
    tab_to(&mut desk, "Bonk it");
    let ring = "getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(desk.page.eval(ring).unwrap(), "solid");
    desk.page.press("Enter").unwrap();
    answer(&mut desk, "Accepted: here it comes.");
    desk.counted(1);
    desk.page
        .until("document.getElementById('stage').dataset.mood === 'dazed'")
        .unwrap();
    let headline = "document.getElementById('headline').textContent";
    assert_eq!(
        desk.page.eval(headline).unwrap(),
        "Somebody could not resist the button."
    );

    tab_to(&mut desk, "Snooze");
    desk.page.press(" ").unwrap();
    answer(&mut desk, "Asleep for 60 minutes.");
    desk.page
        .until("document.getElementById('stage').dataset.mood === 'asleep'")
        .unwrap();
    let quiet = desk.bonks.send(item("a", "cart")).unwrap();
    assert_eq!(quiet, proto::bonk::Outcome::Quiet);
    tab_to(&mut desk, "wake");
    desk.page.press("Enter").unwrap();
    answer(&mut desk, "Awake.");
    desk.page
        .until("document.getElementById('stage').dataset.mood === 'awake'")
        .unwrap();
    assert_eq!(
        desk.page
            .eval("document.getElementById('snoozed').hidden")
            .unwrap(),
        true
    );
    desk.was_well(&[]);
}
