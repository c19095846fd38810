//! Pods as `OOMHero`'s users have them: its image, its settings, an application beside it.

use std::fs;

use xtask::workspace;

/// A pod of an application and its sidecar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Example {
    /// From the workspace's root on.
    pub(crate) file: &'static str,
    /// Of the application, and of the sidecar.
    pub(crate) images: [&'static str; 2],
}

/// Of the first version.
pub(crate) const FIRST: Example = Example {
    file: "crates/lab/tests/oomhero/first.yaml",
    images: ["example/application:1", "quay.io/rmarasch/oomhero:latest"],
};

/// Of the third.
pub(crate) const THIRD: Example = Example {
    file: "crates/lab/tests/oomhero/third.yaml",
    images: [
        "example/application:1",
        "ghcr.io/ricardomaraschini/oomhero:latest",
    ],
};

// === impl Example ===

impl Example {
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(workspace::root().join(self.file)).unwrap()
    }

    /// The same with other images, and nothing else changed.
    pub(crate) fn with_images(&self, images: [&str; 2]) -> String {
        let mut text = self.text();
        for (theirs, ours) in self.images.iter().zip(images) {
            let line = |image: &str| format!("image: {image}\n");
            let found = text.matches(&line(theirs)).count();
            assert_eq!(found, 1, "{theirs} in {}", self.file);
            text = text.replace(&line(theirs), &line(ours));
        }
        text
    }
}
