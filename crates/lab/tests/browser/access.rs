//! What assistive technology is given.

use crate::desk::{Desk, item};

#[test]
fn everything_has_a_role_and_a_name() {
    let mut desk = Desk::set_up(&[]);
    desk.bonk(item("a", "cart-7f9c5d"));
    desk.counted(1);
    let nodes = desk.page.accessible().unwrap();
    let named = |role: &str, name: &str| {
        nodes
            .iter()
            .any(|node| node.0 == role && node.1.contains(name))
    };
    for (role, name) in [
        ("heading", "bonker"),
        ("heading", "shop/cart-7f9c5d lost node"),
        ("heading", "History"),
        ("heading", "Most bonked"),
        ("image", "A toy penguin"),
        ("combobox", "Test bonk"),
        ("combobox", "Leave it in peace"),
        ("button", "Bonk it"),
        ("button", "Snooze"),
        ("link", "Skip to the history"),
        ("table", "History"),
        ("columnheader", "Why"),
        ("cell", "shop/cart-7f9c5d"),
        ("listitem", ""),
        ("status", ""),
        ("banner", ""),
        ("main", ""),
        ("contentinfo", ""),
    ] {
        assert!(named(role, name), "no {role} {name:?} in {nodes:#?}");
    }
    for (role, name) in &nodes {
        let wants = [
            "button", "combobox", "link", "image", "img", "table", "region", "heading",
        ];
        assert!(
            !wants.contains(&role.as_str()) || !name.is_empty(),
            "a {role} without a name"
        );
    }
    let levels = "[...document.querySelectorAll('h1, h2, h3')].filter(h => h.checkVisibility()).map(h => h.localName).join()";
    assert_eq!(desk.page.eval(levels).unwrap(), "h1,h2,h2,h2,h2");
    let polite = "document.getElementById('news').ariaLive + document.documentElement.lang";
    assert_eq!(desk.page.eval(polite).unwrap(), "politeen");
    desk.was_well(&[]);
}
