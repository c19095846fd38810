//! The one task that follows.

use std::convert::Infallible;

use service::backoff::Backoff;
use service::error_chain::chain;
use tracing::{error, info, warn};

use super::gap::Gap;
use super::progress::Progress;
use crate::admission::Outcome;
use crate::app::App;
use crate::args::ServerArgs;
use crate::client::{ClientError, HubSwing, RETRY_AFTER, Swings};
use crate::counters::FollowCounters;

pub struct Follow {
    hub: ServerArgs,
    app: App,
}

// === impl Follow ===

impl Follow {
    /// Follows the bonker at `url`, as `http://HOST:PORT`, from the position in the app's history.
    pub fn new(url: &str, app: App) -> Self {
        let hub = ServerArgs {
            url: url.to_owned(),
            ca: None,
            cert: None,
            key: None,
            token_file: None,
            prefix: "follow-",
        };
        Self::hub(hub, app)
    }

    pub(crate) fn hub(hub: ServerArgs, app: App) -> Self {
        let follow = Self { hub, app };
        // From now on, the metrics have them.
        follow.counters();
        follow
    }

    fn counters(&self) -> &FollowCounters {
        let counters = &self.app.counters().following;
        counters.get_or_init(FollowCounters::default)
    }

    /// Follows for ever. The first failure is logged, and the next success. Drop it before the
    /// app stops.
    pub async fn run(self) -> Infallible {
        let url = self.hub.url.as_str();
        let mut progress = Progress::new(self.app.history().followed());
        let mut backoff = Backoff::starting_at(RETRY_AFTER);
        let (mut is_failing, mut is_reconnect) = (false, false);
        loop {
            let connected = || {
                backoff.reset();
                let counters = self.counters();
                counters.connected.set(1);
                if is_reconnect {
                    counters.reconnects.inc();
                }
                is_reconnect = true;
                if is_failing {
                    info!(url, "following again");
                } else {
                    info!(url, "following");
                }
                is_failing = false;
            };
            let why = match self.connection(&mut progress, connected).await {
                Ok(never) => match never {},
                Err(why) => why,
            };
            self.counters().connected.set(0);
            if !is_failing {
                warn!(url, why = %chain(&why), "not following: trying again until it works");
                is_failing = true;
            }
            let pause = tokio::time::sleep(backoff.next_wait(fastrand::f64()));
            tokio::select! {
                () = pause => (),
                never = self.keep_progress(&mut progress) => match never {},
            }
        }
    }

    /// Follows until the connection breaks; calls `connected` when the hub has accepted the call.
    async fn connection(
        &self,
        progress: &mut Progress,
        connected: impl FnOnce(),
    ) -> Result<Infallible, ClientError> {
        let calling = Swings::watch_after(&self.hub, progress.seen().cloned());
        let (mut swings, seen) = tokio::select! {
            called = calling => called?,
            never = self.keep_progress(progress) => match never {},
        };
        connected();
        if progress.seen().is_none() {
            progress.begin(seen);
        }
        loop {
            let swing = tokio::select! {
                swing = swings.next() => swing?,
                never = self.keep_progress(progress) => match never {},
            };
            self.log_gap(progress, &swing);
            self.submit(progress, swing).await;
        }
    }

    /// Waits until there is room for the swing. The hub is not read before that: further swings
    /// wait in its history.
    async fn submit(&self, progress: &mut Progress, swing: HubSwing) {
        let HubSwing { bonk, position, .. } = swing;
        let answer = loop {
            let changed = self.app.progress();
            if let Some(answer) = self.app.offer(&bonk) {
                break answer;
            }
            self.save_progress(progress);
            changed.await;
        };
        self.counters().taken.inc();
        let id = bonk.as_ref().map_or("", |bonk| &bonk.id);
        progress.submitted(id, position, answer.outcome == Outcome::Accepted);
    }

    /// Keeps the progress in the history whenever the arm makes some.
    async fn keep_progress(&self, progress: &mut Progress) -> Infallible {
        loop {
            let changed = self.app.progress();
            self.save_progress(progress);
            changed.await;
        }
    }

    fn save_progress(&self, progress: &mut Progress) {
        if let Some(position) = progress.commit(|id| self.app.is_pending(id)) {
            self.app.history().keep_followed(position);
        }
    }

    fn log_gap(&self, progress: &Progress, swing: &HubSwing) {
        let url = self.hub.url.as_str();
        let Some(seen) = progress.seen() else {
            return;
        };
        let Gap { missed, lost } = Gap::between(seen, &swing.position, swing.missed);
        self.counters().missed.inc_by(missed);
        if lost {
            self.counters().histories_lost.inc();
            let (had, missed) = (seen.sequence, missed);
            error!(
                url,
                had,
                missed,
                "the hub lost history that was followed already: what it swung for since may be \
                 missing here. Keep its --state on a disk that outlives it"
            );
        } else if missed > 0 {
            let all = self.counters().missed.get();
            error!(
                url,
                missed, all, "the hub no longer has all it swung for since: some are missing here"
            );
        }
    }
}
