//! A bonker, a sender and a browser in front of the page.

use std::path::PathBuf;

use lab::{Bonker, Bonks, Chromium, Page};
use proto::bonk::{BonkItem, Outcome, Severity};

/// Where the mallet is when nothing moves.
pub(crate) const AT_REST: &str = "getComputedStyle(document.getElementById('arm')).transform";

/// True while it moves.
pub(crate) const MOVING: &str = "document.getElementById('arm').getAnimations().length > 0";

/// In the order in which they are dropped.
pub(crate) struct Desk {
    pub(crate) page: Page,
    _browser: Chromium,
    pub(crate) bonks: Bonks,
    pub(crate) bonker: Bonker,
}

impl Desk {
    pub(crate) fn set_up(flags: &[&str]) -> Self {
        let mut desk = Self::start(flags);
        let url = desk.bonker.page().unwrap();
        desk.page.visit(&url).unwrap();
        desk.live();
        desk
    }

    /// The same, without the page open yet.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let flags = [&["--http-listen", "127.0.0.1:0"], flags].concat();
        let bonker = Bonker::start(&bonker_bin(), &flags).unwrap();
        let bonks = Bonks::connect(bonker.url()).unwrap();
        let mut browser = Chromium::start().unwrap();
        let page = browser.page().unwrap();
        Self {
            page,
            _browser: browser,
            bonks,
            bonker,
        }
    }

    /// Ends the server, and starts another.
    pub(crate) fn restart(&mut self, flags: &[&str]) {
        self.bonker.end().unwrap();
        self.bonker = Bonker::start(&bonker_bin(), flags).unwrap();
        self.bonks = Bonks::connect(self.bonker.url()).unwrap();
    }

    /// Waits until the page hears of bonks.
    pub(crate) fn live(&mut self) {
        self.page
            .until("document.getElementById('link').dataset.link === 'live' && document.getElementById('server').textContent")
            .unwrap();
    }

    pub(crate) fn bonk(&mut self, item: BonkItem) {
        assert_eq!(self.bonks.send(item).unwrap(), Outcome::Accepted);
    }

    /// Waits until this number of bonks is shown.
    pub(crate) fn counted(&mut self, total: u32) {
        let counted = format!("document.getElementById('total').textContent === '{total}'");
        self.page.until(&counted).unwrap();
    }

    /// Nothing went wrong in the browser, and it sent no request elsewhere.
    pub(crate) fn was_well(mut self, expected: &[&str]) {
        let complaints = self.page.complaints(expected);
        assert!(complaints.is_empty(), "{complaints:#?}");
        let own = self.bonker.page().unwrap();
        let requests = self.page.requests();
        assert!(requests.len() > 5, "{requests:?}");
        let foreign: Vec<_> = requests
            .iter()
            .filter(|url| !url.starts_with(&own))
            .collect();
        assert!(foreign.is_empty(), "{foreign:?}");
    }
}

pub(crate) fn bonker_bin() -> PathBuf {
    std::env::var_os("BONKER_GPIO_BIN")
        .expect("BONKER_GPIO_BIN is not set: run `cargo xtask test browser`")
        .into()
}

/// An incident of the agent's.
pub(crate) fn item(id: &str, pod: &str) -> BonkItem {
    BonkItem {
        id: id.to_owned(),
        source: "oom-agent".to_owned(),
        node: "worker-3".to_owned(),
        namespace: "shop".to_owned(),
        pod: pod.to_owned(),
        container: "cart".to_owned(),
        comm: "node".to_owned(),
        summary: format!("node was OOM-killed in container cart of shop/{pod}"),
        severity: Severity::Kill.into(),
        ..BonkItem::default()
    }
}
