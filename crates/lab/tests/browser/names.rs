//! What peers send stays text.

use proto::bonk::BonkItem;

use crate::desk::{Desk, item};

const SCRIPT: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";
const TURNED: &str = "\u{202e}gpj.\u{2066}exe\u{200b}";

#[test]
fn hostile_names_stay_text() {
    let mut desk = Desk::set_up(&[]);
    let before = desk
        .page
        .eval("document.querySelectorAll('img, script').length")
        .unwrap();
    let hostile = |id: &str, text: &str| BonkItem {
        id: id.to_owned(),
        source: text.to_owned(),
        node: text.to_owned(),
        namespace: text.to_owned(),
        pod: text.to_owned(),
        container: text.to_owned(),
        comm: "javascript:alert(3)".to_owned(),
        summary: format!("{text}\nevent: bonk\ndata: {{}}"),
        ..item(id, "x")
    };
    desk.bonk(hostile("a", SCRIPT));
    desk.counted(1);
    desk.bonk(hostile("b", TURNED));
    desk.counted(2);
    desk.page
        .until("document.getElementById('stage').dataset.mood === 'awake'")
        .unwrap();
    desk.page.reload().unwrap();
    desk.live();
    let page = &mut desk.page;
    let after = page
        .eval("document.querySelectorAll('img, script').length")
        .unwrap();
    assert_eq!(before, after);
    assert_eq!(
        page.eval("document.querySelector('img[src=x]')").unwrap(),
        serde_json::Value::Null
    );
    let names = page
        .eval("[...document.querySelectorAll('#rows .name')].map(name => name.textContent)")
        .unwrap();
    let shown = r"\u{202e}gpj.\u{2066}exe\u{200b}";
    assert_eq!(names[0], format!("{shown}/{shown}"));
    assert_eq!(names[1], format!("{SCRIPT}/{SCRIPT}"));
    let unseen = page
        .eval(r"/[\u202a-\u202e\u2066-\u2069\u200b]/.test(document.documentElement.outerHTML)")
        .unwrap();
    assert_eq!(unseen, false);
    // Each name is turned by itself alone.
    let isolated = page.eval("[...document.querySelectorAll('#rows .name, #headline .died, .leader-name > *')].every(name => name.localName === 'bdi')").unwrap();
    assert_eq!(isolated, true);
    desk.was_well(&[]);
}
