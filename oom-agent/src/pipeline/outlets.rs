//! Everything that is told something: the sinks, the comparison with Kubernetes' story, the warnings.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::discover;
use super::health::Meters;
use super::naming::Later;
use super::no_victim::{self, Sightings};
use super::pod_annotations::PodAnnotations;
use super::resolve::Resolver;
use super::sampling::{self, Watched};
use super::verdicts::{self, Findings, Verdicts};
use super::warnings::{self, Destinations, WarningTask};
use crate::act::Post;
use crate::args::{Action, Run};
use crate::host::Host;
use crate::journal::Journal;
use crate::k8s::{Aside, PodReader};
use crate::metrics::{Metrics, SinkCounts};
use crate::sinks::{EVENTS, Lines, Secrets, Sink, start_bonker, start_events};
use crate::warn::Warning;
use pressure::Sampler;

/// All of them, started.
pub(super) struct Outlets {
    pub(super) sinks: Vec<Sink>,
    pub(super) verdicts: Verdicts,
    /// `None` where no cgroup can be watched.
    pub(super) sampling: Option<(Sampler, Option<WarningTask>)>,
}

/// What they are made of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) args: &'a Run,
    pub(super) secrets: &'a Secrets,
    pub(super) host: &'a Host,
    pub(super) lines: &'a Arc<Lines>,
    pub(super) resolver: &'a Arc<Resolver>,
    pub(super) watched: &'a Watched,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) meters: &'a Meters,
    pub(super) journal: Option<&'a Journal>,
}

// === impl Parts ===

impl Parts<'_> {
    /// `post`: where warnings are posted to.
    pub(super) fn start(
        self,
        post: Option<Post>,
        sightings: Sightings,
        no_victim: no_victim::Told,
    ) -> Outlets {
        let Self { args, metrics, .. } = self;
        let (events, asides) = mpsc::channel(verdicts::QUEUE);
        let events = (!args.no_kubernetes).then(|| (events, metrics.sink(EVENTS)));
        let findings = Findings {
            lines: args.verdicts.then(|| Arc::clone(self.lines)),
            events: events.clone(),
        };
        let meters = self.meters.clone();
        no_victim.start(no_victim::Ends {
            host: self.host.clone(),
            resolver: Arc::clone(self.resolver),
            lines: Arc::clone(self.lines),
            events: events.clone(),
            counts: metrics.no_victim.clone(),
        });
        let reader = Arc::default();
        let verdicts = Verdicts::start(self.resolver, &reader, metrics, meters, findings);
        let (bonks, warned) = self.bonks();
        let warns = |action| args.warnings.does(action);
        let tell = Destinations {
            lines: warns(Action::Line).then(|| Arc::clone(self.lines)),
            events: events.clone().filter(|_| warns(Action::Event)),
            bonks,
            post,
        };
        let plan = self.plan(&reader, tell, events);
        Outlets {
            verdicts,
            sampling: sampling::start(
                args,
                Arc::clone(&metrics.sampler),
                self.watched,
                plan,
                Arc::clone(&self.resolver.names),
                &self.resolver.node,
                sightings,
            ),
            sinks: self.sinks(asides, warned, reader),
        }
    }

    fn plan(
        self,
        reader: &Arc<OnceLock<PodReader>>,
        destinations: Destinations,
        bad_annotations: Option<(mpsc::Sender<Aside>, SinkCounts)>,
    ) -> warnings::Parts {
        let counts = &self.metrics.warnings;
        let node = warnings::node_policy(&self.args.warnings);
        let annotations =
            || PodAnnotations::new(self.host, node.clone(), self.resolver, reader, counts);
        warnings::Parts {
            // Warnings that are only counted need none.
            annotations: self.args.warnings.does_any().then(annotations),
            node,
            host: self.host.clone(),
            resolver: Arc::clone(self.resolver),
            recorder: self.watched.recorder.clone(),
            destinations,
            bad_annotations,
            counts: counts.clone(),
        }
    }

    /// By which warnings come to the bonkers: nothing comes of a sender that is dropped.
    fn bonks(self) -> (Bonks, Vec<mpsc::Receiver<Arc<Warning>>>) {
        let bonkers = self.args.bonkers.bonker.iter();
        let channels = bonkers.map(|_| mpsc::channel(warnings::BONKS));
        let (mut bonks, warned): (Bonks, Vec<_>) = channels.unzip();
        if !self.args.warnings.does(Action::Bonk) {
            bonks.clear();
        }
        (bonks, warned)
    }

    fn sinks(
        self,
        asides: mpsc::Receiver<Aside>,
        warned: Vec<mpsc::Receiver<Arc<Warning>>>,
        reader: Arc<OnceLock<PodReader>>,
    ) -> Vec<Sink> {
        let Self {
            args,
            secrets,
            host,
            metrics,
            journal,
            ..
        } = self;
        let debts = |sink: &str| {
            journal
                .map(|journal| journal.debts(sink))
                .unwrap_or_default()
        };
        let bonkers = args.bonkers.bonker.iter().zip(warned);
        let mut sinks: Vec<Sink> = bonkers
            .map(|(url, warned)| {
                start_bonker(url, secrets.clone(), warned, metrics, debts(&url.sink()))
            })
            .collect();
        if args.no_kubernetes {
            tracing::info!("no Events: --no-kubernetes");
        } else {
            let named = args.node_name.as_ref().is_some_and(|name| !name.is_empty());
            let found = discover::recorder(args.kubeconfig.clone(), host.node.clone(), named);
            let connect = async move {
                let recorder = found.await?;
                // Nobody else sets it.
                let _set = reader.set(recorder.pod_reader());
                Some(recorder)
            };
            sinks.push(start_events(
                connect,
                Later(Arc::clone(&self.resolver.names)),
                asides,
                metrics,
                debts(EVENTS),
            ));
        }
        sinks
    }
}

type Bonks = Vec<mpsc::Sender<Arc<Warning>>>;
