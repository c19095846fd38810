//! What the tier `cluster` changes in the pods of `OOMHero`'s users.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod support;

use serde_json::Value;
use support::oomhero::{FIRST, THIRD};

#[test]
fn of_the_examples_only_the_images_are_replaced() {
    for example in [FIRST, THIRD] {
        let read = |text: &str| -> Value { serde_saphyr::from_str(text).unwrap() };
        let mut ours = read(&example.with_images(["a", "b"]));
        let containers = ours["spec"]["containers"].as_array_mut().unwrap();
        for ((container, was), is) in containers.iter_mut().zip(example.images).zip(["a", "b"]) {
            assert_eq!(container["image"], is, "{}", example.file);
            container["image"] = was.into();
        }
        assert_eq!(ours, read(&example.text()), "{}", example.file);
    }
}
