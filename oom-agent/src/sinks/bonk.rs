//! The sink of a bonker: reports over one bidirectional stream, each acknowledged.

mod item;
mod secrets;
mod url;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::bonk::bonk_service_client::BonkServiceClient;
use proto::bonk::{Acknowledgement, Outcome, StreamBonksRequest};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::backlog::{Backlog, Entry, Setback};
use super::{Inlet, Plan, Sink, sleep_until};
use crate::metrics::{Metrics, SinkCounts, WarningCounts};
use crate::receipts::Receipts;
use crate::report::Report;
use item::{STALE, bonk_request, is_news};
use secrets::SecretsError;
pub(crate) use secrets::{Contradiction, Secrets};
use service::backoff::Backoff;
use service::clock;
use service::error_chain::chain;
use service::escape;
pub(crate) use url::BonkerUrl;

/// How long connecting, and opening the stream, may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A kill older than this is not bonked after a restart.
const REPLAY_FOR: Duration = Duration::from_secs(30);

/// Bonks sent and not acknowledged; more wait in the sink's queue.
const IN_FLIGHT: usize = 16;

/// Warnings are sent only while fewer bonks are in flight: the rest is for kills.
const WARNINGS_IN_FLIGHT: usize = 8;

/// No acknowledgement for this long means that the other side hangs.
const SILENCE: Duration = Duration::from_secs(5);

/// A new bonk cuts the wait for the next attempt down to this: a storm of them makes no storm of attempts.
const AT_ONCE: Duration = Duration::from_millis(250);

/// A stream that lasted this long and ends in order has not failed.
const LIVED: Duration = Duration::from_secs(1);

/// A quiet peer is probed this often.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// The queue of warnings.
const WARNINGS: usize = 32;

/// The longest sentence sent, in bytes.
const SUMMARY_LEN: usize = 1024;

/// Starts the sink; it connects by itself, and again after every break. `warns`: send warnings, too; these
/// are counted apart.
pub(crate) fn start(
    url: &BonkerUrl,
    secrets: Secrets,
    warns: bool,
    metrics: &Metrics,
    receipts: Receipts,
) -> Sink {
    let endpoint = url.endpoint();
    let tls = url.is_tls();
    let warned = metrics.warnings.clone();
    let plan = Plan {
        name: url.sink_name(),
        accepts: Box::new(move |report| match report {
            Report::Incident(_) => true,
            Report::Warning(warning) => warns && warning.is_bonked(),
            _ => false,
        }),
        others: WARNINGS,
        others_overflowed: Some(warned.unbonked.clone()),
        replay_for: REPLAY_FOR,
    };
    let counts = metrics.sink(&plan.name);
    Sink::start(plan, &counts.clone(), |inlet| {
        let bonker = Bonker {
            endpoint,
            tls,
            secrets,
            inlet,
            warned,
            counts,
            receipts,
            unanswered: VecDeque::new(),
            refused: Backlog::default(),
        };
        bonker.run()
    })
}

struct Bonker {
    endpoint: Endpoint,
    tls: bool,
    /// Read for every connection, so that rotated files are used.
    secrets: Secrets,
    inlet: Inlet,
    warned: WarningCounts,
    counts: SinkCounts,
    receipts: Receipts,
    /// Sent and not acknowledged, oldest first; a new stream sends them again.
    unanswered: VecDeque<Entry<Bonk>>,
    /// Answered FULL or `RATE_LIMITED`; new bonks do not wait for them.
    refused: Backlog<Bonk>,
}

/// A report that the bonker has not taken yet.
struct Bonk {
    report: Report,
    /// The last refusal.
    answer: Outcome,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error("cannot connect")]
    Connect(#[from] tonic::transport::Error),
    #[error("the stream broke: {} ({:?})", escape::terminal(escape::truncate(.0.message(), SUMMARY_LEN)), .0.code())]
    Stream(Status),
    #[error("the bonker ended the stream")]
    Ended,
    #[error("no answer within {0:?}")]
    Silent(Duration),
}

// === impl Bonker ===

impl Bonker {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut quiet = false;
        loop {
            let delivered = self.counts.delivered.get();
            let begun = Instant::now();
            let Err(broken) = self.run_stream(quiet).await else {
                return;
            };
            if self.counts.delivered.get() > delivered {
                backoff.reset();
            }
            // A bonker ends an idle stream in order. The next stream sends again what was on its way then;
            // if that one ends too, it is broken.
            quiet = matches!(broken, Broken::Ended)
                && begun.elapsed() >= LIVED
                && (self.unanswered.is_empty() || !quiet);
            if quiet {
                backoff.reset();
                tracing::debug!(bonker = %self.endpoint.uri(), "the bonker ended a stream in order; opening a new one");
                continue;
            }
            self.drop_stale();
            let first = backoff.attempts() == 0;
            let wait = backoff.next_wait(fastrand::f64());
            self.log_broken(&broken, first, wait);
            if !self.wait_to_retry(wait).await {
                return;
            }
        }
    }

    /// The first failure is logged at warn, retries at debug.
    fn log_broken(&self, broken: &Broken, first: bool, wait: Duration) {
        let (bonker, error) = (self.endpoint.uri(), chain(broken));
        let (unanswered, retry_in) = (self.unanswered.len(), wait);
        if first {
            tracing::warn!(%bonker, %error, unanswered, "bonker not reached; trying on. Is `bonker-gpio serve` running there?");
        } else {
            tracing::debug!(%bonker, %error, unanswered, ?retry_in, "bonker still not reached");
        }
    }

    /// Waits for the retry, which a new incident brings forward. False: everything is delivered, and the agent
    /// ends.
    async fn wait_to_retry(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        let (mut until, mut open) = (start + time, true);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => return true,
                more = self.inlet.incidents.recv(), if open && self.unanswered.len() < IN_FLIGHT => match more {
                    Some(incident) => {
                        self.unanswered.push_back(new_entry(incident));
                        until = until.min(start + AT_ONCE);
                    }
                    None if self.is_done() => return false,
                    None => open = false,
                },
                // The bonker is away.
                Some(_) = self.inlet.others.recv() => {
                    self.warned.unbonked.inc();
                }
            }
        }
    }

    /// Sends on one stream until it breaks, or everything is delivered and the agent ends. `again`: the last
    /// stream ended in order.
    async fn run_stream(&mut self, again: bool) -> Result<(), Broken> {
        let silent = |_| Broken::Silent(CONNECT);
        let mut endpoint = self.endpoint.clone();
        if let Some(tls) = self.secrets.read_tls(self.tls)? {
            endpoint = endpoint.tls_config(tls)?;
        }
        let token = self.secrets.read_token()?;
        let connected = timeout(CONNECT, endpoint.connect()).await;
        let channel: Channel = connected.map_err(silent)??;
        let (requests, outgoing) = mpsc::channel(IN_FLIGHT);
        for bonk in self.unanswered.iter().take(IN_FLIGHT) {
            // The channel is as large as what is taken.
            let _room = requests.try_send(bonk_request(&bonk.job.report));
        }
        let mut client = BonkServiceClient::with_interceptor(channel, token);
        let mut answers = timeout(CONNECT, client.stream_bonks(ReceiverStream::new(outgoing)))
            .await
            .map_err(silent)?
            .map_err(Broken::Stream)?
            .into_inner();
        if again {
            tracing::debug!(bonker = %self.endpoint.uri(), "bonker reached again");
        } else {
            tracing::info!(bonker = %self.endpoint.uri(), "bonker reached");
        }
        let mut open = true;
        while open || !self.is_done() {
            // A quiet stream is read too: its end is noticed before the next kill.
            let patience = (!self.unanswered.is_empty()).then_some(SILENCE);
            let room = self.unanswered.len() < IN_FLIGHT;
            let warns = self.unanswered.len() < WARNINGS_IN_FLIGHT;
            tokio::select! {
                biased;
                answer = next_answer(&mut answers, patience) => self.handle_answer(answer?),
                more = self.inlet.incidents.recv(), if open && room => match more {
                    Some(incident) => self.send_bonk(new_entry(incident), &requests)?,
                    None => open = false,
                },
                Some(warning) = self.inlet.others.recv(), if open && warns => {
                    let entry = new_entry(warning);
                    if is_news(&entry.job.report) {
                        self.send_bonk(entry, &requests)?;
                    } else {
                        self.give_up(&entry.job, "a warning that is too old");
                    }
                }
                () = sleep_until(self.refused.next_due()), if room => match self.refused.pop_due(Instant::now()) {
                    Some(entry) if is_news(&entry.job.report) => self.send_bonk(entry, &requests)?,
                    Some(entry) => self.give_up(&entry.job, "it is too old to be sent again"),
                    None => {}
                },
            }
        }
        Ok(())
    }

    fn send_bonk(
        &mut self,
        entry: Entry<Bonk>,
        requests: &mpsc::Sender<StreamBonksRequest>,
    ) -> Result<(), Broken> {
        let request = bonk_request(&entry.job.report);
        self.unanswered.push_back(entry);
        requests.try_send(request).map_err(|_| Broken::Ended)
    }

    /// Whether every bonk has its final answer.
    fn is_done(&self) -> bool {
        self.unanswered.is_empty() && self.refused.is_empty()
    }

    fn handle_answer(&mut self, acknowledgement: Option<Acknowledgement>) {
        let Some(acknowledgement) = acknowledgement else {
            tracing::warn!("the bonker answered without an acknowledgement");
            return;
        };
        let position = self
            .unanswered
            .iter()
            .position(|entry| entry.job.report.id() == acknowledgement.id);
        let Some(entry) = position.and_then(|position| self.unanswered.remove(position)) else {
            tracing::warn!(
                id = %escape::terminal(escape::truncate(&acknowledgement.id, 128)),
                "the bonker acknowledged what was not sent"
            );
            return;
        };
        let outcome = acknowledgement.outcome();
        match outcome {
            Outcome::Accepted | Outcome::Duplicate | Outcome::Coalesced | Outcome::Quiet => {
                self.settle_delivered(&entry.job.report, outcome);
            }
            Outcome::Full | Outcome::RateLimited => self.keep_refused(entry, outcome),
            _ => {
                self.settle_failed(&entry.job.report);
                let answer = escape::truncate(&acknowledgement.message, SUMMARY_LEN);
                tracing::warn!(
                    incident = entry.job.report.id(),
                    outcome = outcome.as_str_name(),
                    answer = %escape::terminal(answer),
                    "bonk not taken"
                );
            }
        }
    }

    fn settle_delivered(&self, report: &Report, outcome: Outcome) {
        self.receipts.settle(report.id());
        let now_ns = clock::monotonic_ns();
        let stamp_ns = report.stamp_ns().unwrap_or(now_ns);
        let latency = Duration::from_nanos(now_ns.saturating_sub(stamp_ns));
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if report.is_warning() {
            self.warned.bonked.inc();
        } else {
            self.counts.count_delivered(stamp_ns, now_ns);
        }
        tracing::info!(
            incident = report.id(),
            outcome = outcome.as_str_name(),
            latency_us,
            "bonk acknowledged"
        );
    }

    /// Keeps a bonk for later: the bonker has no room, or limits the rate.
    fn keep_refused(&mut self, mut entry: Entry<Bonk>, answer: Outcome) {
        let bonk = &mut entry.job;
        bonk.answer = answer;
        let (incident, outcome) = (bonk.report.id(), answer.as_str_name());
        tracing::debug!(incident, outcome, "bonk refused for now");
        if bonk.report.is_warning() {
            self.give_up(bonk, "a warning is sent once");
            return;
        }
        if !is_news(&bonk.report) {
            self.give_up(bonk, "it is too old to be sent again");
            return;
        }
        if !self.refused.has_room() {
            let oldest = self.refused.remove_first_by(|bonk| bonk.report.stamp_ns());
            if let Some(oldest) = oldest {
                self.give_up(&oldest.job, "too many wait to be sent again");
            }
        }
        let (now, chance) = (Instant::now(), fastrand::f64());
        let kept = self
            .refused
            .put_back(entry, Setback::default(), now, chance);
        if let Err(bonk) = kept {
            self.give_up(&bonk, "it is too old to be sent again");
        }
    }

    fn give_up(&self, bonk: &Bonk, why: &'static str) {
        let (incident, outcome) = (bonk.report.id(), bonk.answer.as_str_name());
        self.settle_failed(&bonk.report);
        if bonk.report.is_warning() {
            tracing::debug!(incident, outcome, why, "bonk not taken");
        } else {
            tracing::warn!(incident, outcome, why, "bonk not taken");
        }
    }

    fn settle_failed(&self, report: &Report) {
        if report.is_warning() {
            self.warned.unbonked.inc();
        } else {
            self.receipts.settle(report.id());
            self.counts.failed.inc();
        }
    }

    fn drop_stale(&mut self) {
        let mut stale = Vec::new();
        // A warning is sent once.
        let mut keep = |bonk: &Bonk| {
            let is_kept = !bonk.report.is_warning() && is_news(&bonk.report);
            stale.extend((!is_kept).then(|| bonk.report.clone()));
            is_kept
        };
        self.unanswered.retain(|entry| keep(&entry.job));
        self.refused.retain(keep);
        for report in &stale {
            self.settle_failed(report);
        }
        let dropped = stale.iter().filter(|it| !it.is_warning()).count();
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "bonks given up: too old (of kills, after {STALE:?})"
            );
        }
    }
}

fn new_entry(report: Report) -> Entry<Bonk> {
    let (answer, now) = (Outcome::Unspecified, Instant::now());
    Entry::new(Bonk { report, answer }, now, now)
}

/// Reads the next answer; `patience` bounds the wait where one is due.
async fn next_answer(
    answers: &mut Streaming<proto::bonk::StreamBonksResponse>,
    patience: Option<Duration>,
) -> Result<Option<Acknowledgement>, Broken> {
    let answer = match patience {
        Some(patience) => timeout(patience, answers.message())
            .await
            .map_err(|_| Broken::Silent(patience))?,
        None => answers.message().await,
    };
    match answer {
        Err(status) => Err(Broken::Stream(status)),
        Ok(None) => Err(Broken::Ended),
        Ok(Some(answer)) => Ok(answer.acknowledgement),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::tests::incident;

    #[tokio::test]
    async fn of_too_many_refused_kills_the_oldest_is_given_up_and_counted() {
        let metrics = Metrics::default();
        let counts = metrics.sink("bonker test");
        let plan = Plan {
            name: "bonker test".to_owned(),
            accepts: Box::new(|_| true),
            others: WARNINGS,
            others_overflowed: None,
            replay_for: REPLAY_FOR,
        };
        let mut inlet = None;
        let _sink = Sink::start(plan, &counts, |it| {
            inlet = Some(it);
            async {}
        });
        let url: BonkerUrl = "http://127.0.0.1:1".parse().unwrap();
        let mut bonker = Bonker {
            endpoint: url.endpoint(),
            tls: false,
            secrets: Secrets::default(),
            inlet: inlet.unwrap(),
            warned: metrics.warnings.clone(),
            counts,
            receipts: Receipts::default(),
            unanswered: VecDeque::new(),
            refused: Backlog::default(),
        };
        let mut most = 0;
        for n in 0..300 {
            bonker.keep_refused(new_entry(Report::Incident(incident(n))), Outcome::Full);
            most = most.max(bonker.refused.len());
        }
        assert_eq!((most, bonker.counts.failed.get()), (256, 44));
        let oldest = bonker
            .refused
            .remove_first_by(|bonk| bonk.report.stamp_ns());
        assert_eq!(oldest.unwrap().job.report.id(), "6f1c0a52-44-4242");
    }
}
