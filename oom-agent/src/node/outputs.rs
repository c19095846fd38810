//! Starts the sinks with a queue: bonkers and Events.

use std::sync::{Arc, OnceLock};

use super::discover;
use crate::args::{Action, Run};
use crate::enrich::Enricher;
use crate::host::Host;
use crate::k8s::PodReader;
use crate::metrics::Metrics;
use crate::receipts::Deliveries;
use crate::sinks::{BonkerUrl, EVENTS, Secrets, Sink, start_bonker, start_events};

/// `pods` is set once an API server was found.
pub(super) fn start_queued(
    args: &Run,
    secrets: &Secrets,
    host: &Host,
    enricher: &Enricher,
    metrics: &Metrics,
    deliveries: &Deliveries,
    pods: &Arc<OnceLock<PodReader>>,
) -> Vec<Sink> {
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
    let pods = Arc::clone(pods);
    let connect = async move {
        let recorder = found.await?;
        // It is set only here.
        let _set = pods.set(recorder.pod_reader());
        Some(recorder)
    };
    let names = Arc::clone(&enricher.names);
    sinks.push(start_events(
        connect,
        move |id: &str| names.get_or_request(id),
        warns(Action::Event),
        metrics,
        deliveries.receipts(EVENTS),
    ));
    sinks
}
