//! Starts the sampler of the containers' memory, with the consumers of its sweeps.

use std::sync::Arc;
use std::time::Duration;

use memcg::Hierarchy;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service::error_chain::chain;
use service::liveness::Liveness;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::no_victim::Sightings;
use super::{Node, warnings};
use crate::act::Post;
use crate::args::Run;
use pressure::{
    FlightRecorder, LatestSamples, OnContainer, OnSweep, SamplePeriod, Sampler, Source, Sweep,
};

/// Files that may be open: six of each container, and what else there is.
const OPEN_FILES: u64 = 8192;

/// What is known of containers' memory; a clone is the same.
#[derive(Clone, Default)]
pub(super) struct Watched {
    /// For metrics.
    pub(super) latest: LatestSamples,
    /// For incidents and forecasts.
    pub(super) recorder: FlightRecorder,
    /// Of the sampler's thread, once it was started.
    pub(super) sampler: Liveness,
}

/// `None` where it cannot be started: the agent runs without. Where sampling is turned off it only notifies
/// the names of containers, and there are no warnings.
pub(super) fn start(
    args: &Run,
    node: &Arc<Node>,
    post: Option<Post>,
    sightings: Sightings,
) -> Option<(Sampler, Option<AbortOnDropHandle<()>>)> {
    let root = node.enricher.node.clone();
    // Why there is none was logged already.
    let hierarchy = Hierarchy::find(args.cgroupfs.as_deref()).ok()?;
    let source = Source::new(&hierarchy.with_node(root.clone()));
    let Watched {
        latest,
        recorder,
        sampler: liveness,
    } = node.watched.clone();
    let names = Arc::clone(&node.enricher.names);
    let on_container: OnContainer = Box::new(move |path, is_there| {
        names.note_cgroup(root.path_on_node(path).unwrap_or(path), is_there);
    });
    let (period, on_sweep, warner): (_, OnSweep, _) = match args.sample {
        SamplePeriod::Off => (None, Box::new(|_| {}), None),
        SamplePeriod::Span(period) => {
            let (mut warn, warner) = warnings::start(node, &args.warnings, post, &source);
            let on_sweep = move |sweep: &Sweep<'_>| {
                recorder.record(sweep.samples);
                latest.update(sweep);
                sightings.offer_sweep(sweep);
                warn(sweep);
            };
            (Some(period), Box::new(on_sweep), Some(warner))
        }
    };
    let counts = Arc::clone(&node.metrics.sampler);
    raise_open_files();
    let sampler = Sampler::start(source, period, counts, liveness, on_sweep, on_container)
        .inspect_err(|error| {
            tracing::warn!(error = %chain(error), "no container's memory is sampled, and none is named before it is killed");
        })
        .ok()?;
    Some((sampler, warner))
}

/// The soft limit is 1024 files in many places, for the sake of select(2), which nothing here calls.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files: with many containers some are not sampled; raise the hard limit of RLIMIT_NOFILE");
        }
    }
}

/// Drops the sampler, which waits for its thread, in the background. The channel closes when that is done, or
/// was given up.
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

    /// Like a thread that is busy.
    struct Busy(Receiver<()>);

    impl Drop for Busy {
        fn drop(&mut self) {
            let _released = self.0.recv();
        }
    }

    #[tokio::test]
    async fn the_end_of_the_sampler_is_waited_for_in_the_background_and_not_forever() {
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
