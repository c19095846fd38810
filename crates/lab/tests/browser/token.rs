//! Where there is a token: anyone watches, and who presses shows it.

use tempfile::NamedTempFile;

use crate::buttons::{FOCUS, answer, tab_to};
use crate::desk::Desk;

const TOKEN: &str = "0123456789abcdef";

const OPEN: &str = "document.getElementById('token').open";

/// Nothing of it outlives the page.
const KEPT: &str = "sessionStorage.length + localStorage.length";

fn token() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TOKEN).unwrap();
    file
}

fn expect_token_dialog(desk: &mut Desk) {
    desk.page.until(OPEN).unwrap();
    assert_eq!(desk.page.eval(FOCUS).unwrap(), "token-text");
}

fn refused(desk: &mut Desk, button: &str) {
    answer(desk, "That takes the token. Nothing was moved.");
    desk.page
        .until(&format!("({FOCUS}) === '{button}'"))
        .unwrap();
    assert_eq!(desk.page.eval(OPEN).unwrap(), false);
}

#[test]
fn the_buttons_need_the_token_once() {
    let file = token();
    let mut desk = Desk::set_up(&["--token-file", file.path().to_str().unwrap()]);
    tab_to(&mut desk, "Bonk it");
    desk.page.press("Enter").unwrap();
    expect_token_dialog(&mut desk);
    let nodes = desk.page.accessible().unwrap();
    for (role, name) in [
        ("dialog", "This bonker wants a token"),
        ("textbox", "Token"),
        ("button", "Use it"),
        ("button", "Never mind"),
    ] {
        let named = nodes.iter().any(|node| node.0 == role && node.1 == name);
        assert!(named, "no {role} {name:?} in {nodes:#?}");
    }
    desk.page.press("Escape").unwrap();
    refused(&mut desk, "Bonk it");

    tab_to(&mut desk, "Snooze");
    desk.page.press(" ").unwrap();
    expect_token_dialog(&mut desk);
    tab_to(&mut desk, "token-cancel");
    desk.page.press("Enter").unwrap();
    refused(&mut desk, "Snooze");

    desk.page.press("Enter").unwrap();
    expect_token_dialog(&mut desk);
    desk.page.write("0123456789abcdeX").unwrap();
    desk.page.press("Enter").unwrap();
    let wrong = "!document.getElementById('token-wrong').hidden";
    desk.page.until(&format!("{OPEN} && {wrong}")).unwrap();
    expect_token_dialog(&mut desk);
    let described = desk.page.accessible().unwrap();
    let alert = ("alert".to_owned(), String::new());
    assert!(described.contains(&alert), "{described:#?}");
    desk.page.press("Escape").unwrap();
    refused(&mut desk, "Snooze");
    let still = "[document.getElementById('total').textContent, document.getElementById('snoozed').hidden].join()";
    assert_eq!(desk.page.eval(still).unwrap(), "0,true");

    tab_to(&mut desk, "Bonk it");
    desk.page.press("Enter").unwrap();
    expect_token_dialog(&mut desk);
    assert_eq!(desk.page.eval(wrong).unwrap(), false);
    desk.page.write(TOKEN).unwrap();
    desk.page.press("Enter").unwrap();
    answer(&mut desk, "Accepted: here it comes.");
    desk.counted(1);
    assert_eq!(desk.page.eval(FOCUS).unwrap(), "Bonk it");
    tab_to(&mut desk, "Snooze");
    desk.page.press("Enter").unwrap();
    answer(&mut desk, "Asleep for 60 minutes.");
    assert_eq!(desk.page.eval(OPEN).unwrap(), false, "a second dialog");
    assert_eq!(desk.page.eval(KEPT).unwrap(), 0);

    // With the page, the token is gone.
    desk.page.reload().unwrap();
    desk.live();
    tab_to(&mut desk, "wake");
    desk.page.press("Enter").unwrap();
    expect_token_dialog(&mut desk);
    desk.page.press("Escape").unwrap();
    refused(&mut desk, "wake");
    desk.was_well(&["status of 401"]);
}

#[test]
fn a_private_page_is_for_who_knows_the_token() {
    let file = token();
    let mut desk = Desk::start(&["--token-file", file.path().to_str().unwrap(), "--private"]);
    let url = desk.bonker.page().unwrap();
    let refused = desk.page.visit(&url).unwrap_err().to_string();
    // So Chromium reports that it would show a person a dialog, if one was there.
    let error = "ERR_INVALID_AUTH_CREDENTIALS";
    assert!(refused.contains(error), "{refused}");

    // As the browser's own window has it, once a person has filled it in.
    let known = url.replace("://", &format!("://me:{TOKEN}@"));
    desk.page.visit(&known).unwrap();
    desk.page.visit(&url).unwrap();
    desk.live();
    tab_to(&mut desk, "Bonk it");
    desk.page.press("Enter").unwrap();
    answer(&mut desk, "Accepted: here it comes.");
    desk.counted(1);
    assert_eq!(desk.page.eval(OPEN).unwrap(), false, "a second dialog");
    let complaints = desk.page.complaints(&["status of 401", "chrome-error:"]);
    assert!(complaints.is_empty(), "{complaints:#?}");
}
