//! A page that outlives the server it listens to.

use lab::wait;
use serde_json::json;

use crate::desk::{Desk, MOVING, item};

const NAMES: &str = "[...document.querySelectorAll('#rows .name')].map(name => name.textContent)";

#[test]
fn a_page_comes_back_by_itself_with_all_that_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let mut desk = Desk::set_up(&["--state", state]);
    let web = desk.bonker.web().unwrap().to_string();
    desk.bonk(item("a", "one"));
    desk.counted(1);
    desk.page
        .until("document.getElementById('stage').dataset.mood === 'awake'")
        .unwrap();
    desk.page.eval("window.same = true").unwrap();

    // A run that the page knows nothing of, since it is elsewhere.
    desk.restart(&["--state", state, "--http-listen", "127.0.0.1:0"]);
    desk.page
        .until("document.getElementById('link').dataset.link === 'lost'")
        .unwrap();
    let mut swings = 0;
    for (id, pod) in [("b", "two"), ("c", "three")] {
        desk.bonk(item(id, pod));
        swings += 1;
    }
    let mut seen = 0;
    desk.bonker
        .log
        .find("both swings", wait::HANG, |line| {
            seen += usize::from(line.contains(" bonked "));
            (seen == swings).then_some(())
        })
        .unwrap();
    desk.restart(&["--state", state, "--http-listen", &web]);

    desk.live();
    desk.counted(3);
    let listed = json!(["shop/three", "shop/two", "shop/one"]);
    assert_eq!(desk.page.eval(NAMES).unwrap(), listed);
    assert_eq!(desk.page.eval(MOVING).unwrap(), false, "nothing swings now");
    let headline = "document.getElementById('headline').textContent";
    assert_eq!(desk.page.eval(headline).unwrap(), "shop/three lost node");
    assert_eq!(desk.page.eval("window.same").unwrap(), true, "no reload");

    desk.bonk(item("d", "four"));
    desk.page.until(MOVING).unwrap();
    desk.counted(4);
    let listed = json!(["shop/four", "shop/three", "shop/two", "shop/one"]);
    assert_eq!(desk.page.eval(NAMES).unwrap(), listed);
    desk.was_well(&["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"]);
}
