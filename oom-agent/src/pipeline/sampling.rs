//! The sampler of the containers' memory, and who is told of each pass.

use crate::args::Run;
use crate::error_chain::chain;
use crate::liveness::Liveness;
use crate::metrics::SamplerCounts;
use crate::pressure::{Every, Latest, Pass, Recorder, Sampler, Source};
use crate::snapshot::Hierarchy;

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

/// `None` where it is turned off or cannot be had: what it adds is done without.
pub(super) fn start(
    args: &Run,
    counts: SamplerCounts,
    watched: &Watched,
    warnings: Plan,
) -> Option<(Sampler, Warner)> {
    let Every::Span(period) = args.sample else {
        return None;
    };
    // Why there is none was said already.
    let hierarchy = Hierarchy::find(args.cgroupfs.as_deref()).ok()?;
    let source = Source::Containers {
        root: hierarchy.path().to_owned(),
        version: hierarchy.version(),
    };
    let Watched {
        latest,
        recorder,
        sampler: liveness,
    } = watched.clone();
    let (mut watcher, warner) = warnings.start(hierarchy.path());
    let take = Box::new(move |pass: &Pass<'_>| {
        recorder.take(pass.usages);
        latest.take(pass);
        watcher.take(pass);
    });
    let sampler = Sampler::start(source, period, counts, liveness, take)
        .inspect_err(
            |error| tracing::warn!(error = %chain(error), "no container's memory is sampled"),
        )
        .ok()?;
    Some((sampler, warner))
}
