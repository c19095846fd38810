//! Bonks over gRPC, seen.

use proto::bonk::Severity;
use serde_json::json;

use crate::desk::{AT_REST, Desk, MOVING, item};

#[test]
fn a_bonk_over_grpc_moves_the_penguin() {
    let mut desk = Desk::set_up(&[]);
    let page = &mut desk.page;
    let rest = page.eval(AT_REST).unwrap();
    assert_eq!(page.eval(MOVING).unwrap(), false);
    // Kept from now on, since what moves does not wait to be looked at.
    page.eval(
        "window.seen = {turns: new Set(), squashes: new Set(), moods: new Set(), shouts: new Set()};
         const look = () => {
             const of = id => getComputedStyle(document.getElementById(id)).transform;
             seen.turns.add(of('arm'));
             seen.squashes.add(of('penguin'));
             const stage = document.getElementById('stage').dataset;
             seen.moods.add(stage.mood);
             if ('shout' in stage) seen.shouts.add(document.getElementById('burst-text').textContent);
             requestAnimationFrame(look);
         };
         look(); true",
    )
    .unwrap();
    desk.bonk(item("a", "cart-7f9c5d"));
    desk.page.until(MOVING).unwrap();
    desk.counted(1);
    let page = &mut desk.page;
    page.until("document.getElementById('stage').dataset.mood === 'dazed'")
        .unwrap();
    page.until("document.getElementById('stage').dataset.mood === 'awake'")
        .unwrap();
    assert_eq!(page.eval(AT_REST).unwrap(), rest);
    let number = |page: &mut lab::Page, what| page.eval(what).unwrap().as_u64().unwrap();
    assert!(number(page, "seen.turns.size") > 5);
    assert!(number(page, "seen.squashes.size") > 2);
    assert_eq!(
        page.eval("[...seen.moods].join()").unwrap(),
        "awake,wary,dazed"
    );
    assert_eq!(page.eval("[...seen.shouts].join()").unwrap(), "BONK!");
    let text = |page: &mut lab::Page, id: &str| {
        let text = format!("document.getElementById('{id}').textContent");
        page.eval(&text).unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(text(page, "headline"), "shop/cart-7f9c5d lost node");
    assert_eq!(text(page, "days"), "0");
    assert_eq!(text(page, "sign-number"), "0");
    assert_eq!(text(page, "news"), "Bonk: shop/cart-7f9c5d lost node");
    assert_eq!(text(page, "leaders"), "shop1 bonk");
    assert_eq!(
        page.eval("document.querySelectorAll('#rows tr').length")
            .unwrap(),
        1
    );
    desk.was_well(&[]);
}

#[test]
fn a_page_that_is_opened_later_shows_what_was() {
    let mut desk = Desk::set_up(&[]);
    for n in 1..=3 {
        desk.bonk(item(&format!("{n}"), &format!("pod-{n}")));
    }
    desk.counted(3);
    desk.page.reload().unwrap();
    desk.live();
    let names =
        "[...document.querySelectorAll('#rows .name')].map(name => name.textContent).join()";
    assert_eq!(
        desk.page.eval(names).unwrap(),
        "shop/pod-3,shop/pod-2,shop/pod-1"
    );
    assert_eq!(desk.page.eval(MOVING).unwrap(), false);
    desk.was_well(&[]);
}

#[test]
fn each_gesture_looks_like_itself() {
    let mut desk = Desk::set_up(&[]);
    let blows = "window.seen = {blows: 0, taps: 0, moods: new Set(), shouts: new Set()};
        window.down = window.tapped = false; true";
    desk.page
        .eval(
            "window.seen = {};
             const look = () => {
                 const turn = new DOMMatrix(getComputedStyle(document.getElementById('arm')).transform);
                 const angle = Math.atan2(turn.b, turn.a) * 180 / Math.PI;
                 if (!down && angle < 0) seen.blows++;
                 if (!tapped && angle < 40) seen.taps++;
                 down = angle < 0;
                 tapped = angle < 40;
                 const stage = document.getElementById('stage').dataset;
                 seen.moods.add(stage.mood);
                 if ('shout' in stage) seen.shouts.add(document.getElementById('burst-text').textContent);
                 requestAnimationFrame(look);
             };
             window.watch = look; true",
        )
        .unwrap();
    desk.page.eval(blows).unwrap();
    desk.page.eval("watch(); true").unwrap();
    for (n, (severity, blow, tap, dazed, shout)) in [
        (Severity::Warning, 0, 1, false, "tap"),
        (Severity::Critical, 0, 2, false, "tap tap"),
        (Severity::Kill, 1, 1, true, "BONK!"),
        (Severity::Node, 4, 1, true, "BONK BONK"),
    ]
    .into_iter()
    .enumerate()
    {
        desk.page.eval(blows).unwrap();
        let mut bonk = item(&format!("{n}"), &format!("pod-{n}"));
        bonk.severity = severity.into();
        desk.bonk(bonk);
        desk.page.until(MOVING).unwrap();
        desk.page
            .until("!('gesture' in document.getElementById('stage').dataset)")
            .unwrap();
        let seen = desk
            .page
            .eval("[seen.blows, seen.taps, seen.moods.has('dazed'), [...seen.shouts].join()]")
            .unwrap();
        assert_eq!(seen, json!([blow, tap, dazed, shout]), "{severity:?}");
    }
    desk.was_well(&[]);
}
