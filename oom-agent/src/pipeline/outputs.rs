//! Starts everything that reports: the sinks, the status check, the warnings.

use std::sync::{Arc, OnceLock};

use super::discover;
use super::health::Meters;
use super::no_victim::{self, Sightings};
use super::pod_annotations::PodAnnotations;
use super::sampling::{self, Watched};
use super::status_check::StatusChecker;
use super::warnings::{self, WarningTask};
use crate::act::Post;
use crate::args::{Action, Run};
use crate::enrich::Enricher;
use crate::host::Host;
use crate::k8s::PodReader;
use crate::metrics::Metrics;
use crate::receipts::Deliveries;
use crate::sinks::{BonkerUrl, EVENTS, Lines, Secrets, Sink, Sinks, start_bonker, start_events};
use pressure::Sampler;

/// The started outputs.
pub(super) struct Outputs {
    pub(super) sinks: Arc<Sinks>,
    pub(super) status_checker: StatusChecker,
    /// `None` where no cgroup can be sampled.
    pub(super) sampling: Option<(Sampler, Option<WarningTask>)>,
}

/// What the outputs need.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) args: &'a Run,
    pub(super) secrets: &'a Secrets,
    pub(super) host: &'a Host,
    pub(super) lines: &'a Arc<Lines>,
    pub(super) enricher: &'a Arc<Enricher>,
    pub(super) watched: &'a Watched,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) meters: &'a Meters,
    pub(super) deliveries: &'a Deliveries,
}

// === impl Parts ===

impl Parts<'_> {
    /// `post`: where warnings are posted to.
    pub(super) fn start(
        self,
        post: Option<Post>,
        sightings: Sightings,
        no_victim: no_victim::SightingReceiver,
    ) -> Outputs {
        let Self { args, metrics, .. } = self;
        let reader = Arc::default();
        let queued = self.start_queued(&reader);
        let sinks = Arc::new(Sinks::new(Arc::clone(self.lines), queued));
        no_victim.start(no_victim::NoVictimReporter {
            host: self.host.clone(),
            enricher: Arc::clone(self.enricher),
            sinks: Arc::clone(&sinks),
            counts: metrics.no_victim.clone(),
        });
        let meters = self.meters.clone();
        let status_checker = StatusChecker::start(self.enricher, &reader, metrics, meters, &sinks);
        let plan = self.plan_warnings(&reader, post, &sinks);
        Outputs {
            status_checker,
            sampling: sampling::start(
                args,
                Arc::clone(&metrics.sampler),
                self.watched,
                plan,
                Arc::clone(&self.enricher.names),
                &self.enricher.node,
                sightings,
            ),
            sinks,
        }
    }

    fn plan_warnings(
        self,
        reader: &Arc<OnceLock<PodReader>>,
        post: Option<Post>,
        sinks: &Arc<Sinks>,
    ) -> warnings::Parts {
        let counts = &self.metrics.warnings;
        let node = warnings::node_policy(&self.args.warnings);
        let annotations =
            || PodAnnotations::new(self.host, node.clone(), self.enricher, reader, counts);
        warnings::Parts {
            // Warnings that are only counted need none.
            annotations: self.args.warnings.does_any().then(annotations),
            node,
            host: self.host.clone(),
            enricher: Arc::clone(self.enricher),
            recorder: self.watched.recorder.clone(),
            sinks: Arc::clone(sinks),
            post,
            counts: counts.clone(),
        }
    }

    fn start_queued(self, reader: &Arc<OnceLock<PodReader>>) -> Vec<Sink> {
        let Self {
            args,
            secrets,
            host,
            metrics,
            deliveries,
            ..
        } = self;
        let warns = |action| args.warnings.does(action);
        let bonker = |url: &BonkerUrl| {
            let receipts = deliveries.receipts(&url.sink_name());
            start_bonker(url, secrets.clone(), warns(Action::Bonk), metrics, receipts)
        };
        let mut sinks: Vec<Sink> = args.bonkers.bonker.iter().map(bonker).collect();
        if args.no_kubernetes {
            tracing::info!("no Events: --no-kubernetes");
            return sinks;
        }
        let named = args.node_name.as_ref().is_some_and(|name| !name.is_empty());
        let found =
            discover::connect_recorder(args.reporter.kubeconfig.clone(), host.node.clone(), named);
        let reader = Arc::clone(reader);
        let connect = async move {
            let recorder = found.await?;
            // It is set only here.
            let _set = reader.set(recorder.pod_reader());
            Some(recorder)
        };
        let names = Arc::clone(&self.enricher.names);
        sinks.push(start_events(
            connect,
            move |id: &str| names.get_or_request(id),
            warns(Action::Event),
            metrics,
            deliveries.receipts(EVENTS),
        ));
        sinks
    }
}
