//! The one task that follows.

use std::convert::Infallible;

use tracing::{error, info, warn};

use super::counts::Following;
use super::gap::Gap;
use super::progress::Progress;
use crate::args::ServerArgs;
use crate::client::{Backoff, ClientError, Swings, Told};
use crate::desk::{DeskHandle, Outcome};
use crate::report::chain;

/// Follows a hub.
pub struct Follow {
    hub: ServerArgs,
    desk: DeskHandle,
    following: Following,
}

// === impl Follow ===

impl Follow {
    /// Follows the bonker at `url`, as `http://HOST:PORT`, from where the desk's history says.
    pub fn new(url: &str, desk: DeskHandle) -> Self {
        let hub = ServerArgs {
            url: url.to_owned(),
            ca: None,
            cert: None,
            key: None,
            token_file: None,
            prefix: "follow-",
        };
        Self::of(hub, desk)
    }

    pub(crate) fn of(hub: ServerArgs, desk: DeskHandle) -> Self {
        let following = Following::default();
        desk.follows(following.clone());
        Self {
            hub,
            desk,
            following,
        }
    }

    /// How it fares.
    pub fn following(&self) -> Following {
        self.following.clone()
    }

    /// Follows for ever. Says once that the connection broke, and once that it is back. To be
    /// dropped before the desk stops.
    pub async fn run(self) -> Infallible {
        let url = self.hub.url.as_str();
        let mut progress = Progress::new(self.desk.history().followed());
        let mut backoff = Backoff::default();
        let mut said = false;
        loop {
            let connected = || {
                backoff.reset();
                self.following.connect();
                if said {
                    info!(url, "following again");
                } else {
                    info!(url, "following");
                }
                said = false;
            };
            let why = match self.connection(&mut progress, connected).await {
                Ok(never) => match never {},
                Err(why) => why,
            };
            self.following.disconnect();
            if !said {
                let why = chain(&why);
                warn!(url, why, "not following: trying again until it works");
                said = true;
            }
            let pause = tokio::time::sleep(backoff.next(fastrand::f64()));
            tokio::select! {
                () = pause => (),
                never = self.settle(&mut progress) => match never {},
            }
        }
    }

    /// One connection's worth; `connected` is called when the hub has taken the call.
    async fn connection(
        &self,
        progress: &mut Progress,
        connected: impl FnOnce(),
    ) -> Result<Infallible, ClientError> {
        let calling = Swings::after(&self.hub, progress.seen().cloned());
        let (mut swings, seen) = tokio::select! {
            called = calling => called?,
            never = self.settle(progress) => match never {},
        };
        connected();
        if progress.seen().is_none() {
            progress.begin(seen);
        }
        loop {
            let told = tokio::select! {
                told = swings.next() => told?,
                never = self.settle(progress) => match never {},
            };
            self.tell_gap(progress, &told);
            self.take(progress, told).await;
        }
    }

    /// Gives a swing to the own desk as soon as there is room. The hub is not read from
    /// before that, so that what waits does so in its history.
    async fn take(&self, progress: &mut Progress, told: Told) {
        let Told { bonk, position, .. } = told;
        let answer = loop {
            let changed = self.desk.progress();
            if let Some(answer) = self.desk.offer(&bonk) {
                break answer;
            }
            self.keep(progress);
            changed.await;
        };
        self.following.take();
        let id = bonk.as_ref().map_or("", |bonk| &bonk.id);
        progress.took(id, position, answer.outcome == Outcome::Accepted);
    }

    /// Keeps how far it is whenever the own desk gets on.
    async fn settle(&self, progress: &mut Progress) -> Infallible {
        loop {
            let changed = self.desk.progress();
            self.keep(progress);
            changed.await;
        }
    }

    fn keep(&self, progress: &mut Progress) {
        if let Some(position) = progress.settle(|id| self.desk.waits(id)) {
            self.desk.history().keep_followed(position);
        }
    }

    fn tell_gap(&self, progress: &Progress, told: &Told) {
        let url = self.hub.url.as_str();
        let Some(seen) = progress.seen() else {
            return;
        };
        let Gap { missed, lost } = Gap::between(seen, &told.position, told.missed);
        self.following.miss(missed);
        if lost {
            self.following.lose_history();
            let (had, missed) = (seen.sequence, missed);
            error!(
                url,
                had,
                missed,
                "the hub lost history that was followed already: what it swung for since may be \
                 missing here. Keep its --state on a disk that outlives it"
            );
        } else if missed > 0 {
            let all = self.following.missed();
            error!(
                url,
                missed, all, "the hub no longer has all it swung for since: some are missing here"
            );
        }
    }
}
