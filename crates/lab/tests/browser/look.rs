//! Light and dark, narrow and wide, still and moving.

use lab::Look;
use serde_json::Value;

use crate::desk::{Desk, MOVING, item};

/// Text whose contrast with what is behind it is below WCAG 2.2's 4.5 (3 where large).
const PALE: &str = r"(() => {
    const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = color => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = color; paint.fillRect(0, 0, 1, 1); return [...paint.getImageData(0, 0, 1, 1).data]; };
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = el => { for (; el; el = el.parentElement) { const color = rgba(getComputedStyle(el).backgroundColor); if (color[3] === 255) return color; } return [255, 255, 255]; };
    const pale = [];
    for (const el of document.body.querySelectorAll('*:not(svg, svg *, template, noscript, script, option)')) {
        const own = [...el.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || el.closest('.unseen') || !el.checkVisibility()) continue;
        const style = getComputedStyle(el), size = parseFloat(style.fontSize);
        const [a, b] = [light(rgba(style.color)), light(behind(el))].sort((a, b) => b - a);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (large ? 3 : 4.5)) pale.push(`${el.localName}.${el.className} ${el.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
    return pale;
})()";

fn filled(desk: &mut Desk) {
    for (n, severity) in [1, 2, 3, 4].into_iter().enumerate() {
        let long = "very-long-name-".repeat(8);
        let mut bonk = item(&format!("{n}"), &format!("{long}{n}"));
        bonk.severity = severity;
        bonk.namespace = format!("{long}{n}");
        bonk.summary = "x".repeat(900);
        desk.bonk(bonk);
    }
    desk.counted(4);
}

#[test]
fn text_can_be_read_in_light_and_dark() {
    let mut desk = Desk::set_up(&[]);
    filled(&mut desk);
    let mut grounds = Vec::new();
    for dark in [false, true] {
        desk.page
            .look(Look {
                dark,
                ..Look::DESKTOP
            })
            .unwrap();
        grounds.push(
            desk.page
                .eval("getComputedStyle(document.body).backgroundColor")
                .unwrap(),
        );
        assert_eq!(
            desk.page.eval(PALE).unwrap(),
            Value::Array(Vec::new()),
            "dark: {dark}"
        );
    }
    assert_ne!(grounds.first(), grounds.last());
    desk.was_well(&[]);
}

#[test]
fn a_phone_shows_all_without_scrolling_sideways() {
    let mut desk = Desk::set_up(&[]);
    filled(&mut desk);
    for look in [
        Look::PHONE,
        Look {
            width: 320,
            ..Look::PHONE
        },
        Look {
            width: 768,
            ..Look::DESKTOP
        },
        Look::DESKTOP,
    ] {
        desk.page.look(look).unwrap();
        let width = desk
            .page
            .eval("document.documentElement.scrollWidth")
            .unwrap();
        assert_eq!(width, look.width);
        let over = desk.page.eval(
            "[...document.querySelectorAll('main *:not(svg *), footer *')].filter(el => el.checkVisibility() && !el.closest('.unseen, thead') && el.getBoundingClientRect().right > innerWidth + 0.5).map(el => el.outerHTML.slice(0, 80))",
        ).unwrap();
        assert_eq!(over, Value::Array(Vec::new()), "{look:?}");
    }
    // Big enough for a thumb (WCAG 2.2, 2.5.8 has 24).
    desk.page.look(Look::PHONE).unwrap();
    let small = desk.page.eval("[...document.querySelectorAll('button, select')].filter(el => el.checkVisibility() && el.getBoundingClientRect().height < 40).length").unwrap();
    assert_eq!(small, 0);
    desk.was_well(&[]);
}

#[test]
fn who_wants_no_motion_gets_none() {
    let mut desk = Desk::set_up(&[]);
    desk.page
        .look(Look {
            still: true,
            ..Look::DESKTOP
        })
        .unwrap();
    desk.page.eval("window.moved = 0; const look = () => { moved += document.getAnimations().length; requestAnimationFrame(look); }; look(); true").unwrap();
    desk.bonk(item("a", "cart"));
    desk.page
        .until("document.getElementById('stage').dataset.mood === 'dazed'")
        .unwrap();
    desk.page
        .until("document.getElementById('stage').dataset.mood === 'awake'")
        .unwrap();
    assert_eq!(desk.page.eval("moved").unwrap(), 0);
    assert_eq!(desk.page.eval(MOVING).unwrap(), false);
    desk.was_well(&[]);
}
