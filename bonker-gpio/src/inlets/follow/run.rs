//! The one task that follows.

use std::convert::Infallible;

use service::error_chain::chain;
use tracing::{error, info, warn};

use super::gap::Gap;
use super::progress::Progress;
use crate::admission::Outcome;
use crate::app::App;
use crate::args::ServerArgs;
use crate::bonk::Bonk;
use crate::client::{Begin, Event, HubSwing, Swings};
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
        let counters = self.counters();
        let kept = self.app.history().followed();
        let mut swings = Swings::new(&self.hub, Begin::After(kept.clone()));
        let mut progress = Progress::new(kept);
        let (mut is_failing, mut is_reconnect) = (false, false);
        loop {
            let event = tokio::select! {
                event = swings.next() => event,
                never = self.keep_progress(&mut progress) => match never {},
            };
            match event {
                Ok(Event::Connected(end)) => {
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
                    if progress.seen().is_none() {
                        progress.begin(end.position);
                    }
                }
                Ok(Event::Swing(swing)) => {
                    self.log_gap(&progress, &swing);
                    self.submit(&mut progress, *swing).await;
                }
                Err(why) => {
                    counters.connected.set(0);
                    if !is_failing {
                        warn!(url, why = %chain(&why), "not following: trying again until it works");
                        is_failing = true;
                    }
                }
            }
        }
    }

    /// Waits until there is room for the swing. The hub is not read before that: further swings
    /// wait in its history.
    async fn submit(&self, progress: &mut Progress, swing: HubSwing) {
        let HubSwing {
            bonk,
            position,
            swung_at,
            ..
        } = swing;
        // A cause without a time has that of the swing.
        let time = bonk.time.or(swung_at);
        let bonk = Bonk { time, ..bonk }.bounded();
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
