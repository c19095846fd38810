//! The sampler of the containers' memory, and who is told of each pass.

use std::sync::Arc;
use std::time::Duration;

use memcg::{Hierarchy, NodeRoot};
use service::error_chain::chain;
use service::liveness::Liveness;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::args::Run;
use crate::metrics::SamplerCounts;
use crate::pressure::{Every, Latest, Notice, Pass, Recorder, Sampler, Source, Take};

use super::names::Names;
use super::no_victim::Sightings;
use super::warnings::{Plan, Warner};

/// What is known of containers' memory; a clone is the same.
#[derive(Clone, Default)]
pub(super) struct Watched {
    /// For whoever scrapes.
    pub(super) latest: Latest,
    /// For incidents, and to look ahead.
    pub(super) recorder: Recorder,
    /// Of the thread that looks, once it was started.
    pub(super) sampler: Liveness,
}

/// `None` where it cannot be had: what it adds is done without. Where sampling is turned off it only tells
/// `names` of containers, and nobody is warned.
pub(super) fn start(
    args: &Run,
    counts: SamplerCounts,
    watched: &Watched,
    warnings: Plan,
    names: Arc<Names>,
    node: &NodeRoot,
    sightings: Sightings,
) -> Option<(Sampler, Option<Warner>)> {
    // Why there is none was said already.
    let hierarchy = Hierarchy::find(args.cgroupfs.as_deref()).ok()?;
    let hierarchy = hierarchy.with_node(node.clone());
    let source = Source::Containers {
        root: hierarchy.path().to_owned(),
        version: hierarchy.version(),
        node: node.clone(),
    };
    let Watched {
        latest,
        recorder,
        sampler: liveness,
    } = watched.clone();
    let of_node = node.clone();
    let notice: Notice = Box::new(move |path, is_there| {
        names.notice(of_node.path_on_node(path).unwrap_or(path), is_there);
    });
    let (period, take, warner): (_, Take, _) = match args.sample {
        Every::Off => (None, Box::new(|_| {}), None),
        Every::Span(period) => {
            let (mut watcher, warner) = warnings.start(&hierarchy);
            let take = move |pass: &Pass<'_>| {
                recorder.take(pass.usages);
                latest.take(pass);
                sightings.of_pass(pass);
                watcher.take(pass);
            };
            (Some(period), Box::new(take), Some(warner))
        }
    };
    let sampler = Sampler::start(source, period, counts, liveness, take, notice)
        .inspect_err(|error| {
            tracing::warn!(error = %chain(error), "no container's memory is sampled, and none is named before it is killed");
        })
        .ok()?;
    Some((sampler, warner))
}

/// Drops the sampler, which waits for its thread, where nobody else has to wait. The channel closes
/// when that is done, or was given up.
pub(super) fn ending<T: Send + 'static>(sampler: T, patience: Duration) -> mpsc::Receiver<()> {
    let (ending, ended) = mpsc::channel(1);
    tokio::spawn(async move {
        let joined = spawn_blocking(move || drop(sampler));
        if timeout(patience, joined).await.is_err() {
            tracing::warn!("the thread that samples the containers' memory does not end: given up");
        }
        drop(ending);
    });
    ended
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// As a thread that is at something.
    struct Busy(Receiver<()>);

    impl Drop for Busy {
        fn drop(&mut self) {
            let _released = self.0.recv();
        }
    }

    #[tokio::test]
    async fn the_end_of_the_sampler_keeps_nobody_and_is_waited_for_so_long() {
        let (release, busy) = channel();
        let mut ended = ending(Busy(busy), Duration::from_mins(1));
        let early = timeout(Duration::from_millis(50), ended.recv()).await;
        assert!(early.is_err(), "it is waited for");
        release.send(()).unwrap();
        assert_eq!(ended.recv().await, None);

        let (release, busy) = channel();
        let mut ended = ending(Busy(busy), Duration::from_millis(50));
        let given_up = timeout(Duration::from_secs(20), ended.recv()).await;
        assert_eq!(given_up, Ok(None));
        // The runtime of a test waits for all that blocks.
        drop(release);
    }
}
