//! Each incident as one line on standard output, written by a thread of its own: a reader that
//! stalls holds up nothing else.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::QUEUE;
use crate::escape;
use crate::incident::{Incident, sentence};

/// How incidents are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A sentence for people.
    Human,
    /// The JSON of `docs/incident.md`.
    Json,
}

/// The near end of the writer of lines.
pub struct Lines {
    format: Format,
    zone: TimeZone,
    queue: SyncSender<String>,
    unwritten: Arc<AtomicU64>,
    ended: oneshot::Receiver<()>,
}

// === impl Lines ===

impl Lines {
    /// Starts the thread. `zone` is for people's lines; JSON is always in UTC.
    pub fn start(
        format: Format,
        zone: TimeZone,
        mut out: impl Write + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel::<String>(QUEUE);
        let (end, ended) = oneshot::channel();
        let unwritten = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&unwritten);
        std::thread::Builder::new()
            .name("line-writer".to_owned())
            .spawn(move || {
                for line in lines {
                    if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                        lost.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(%error, "cannot write an incident to standard output");
                    }
                }
                // Nobody may be waiting any more.
                let _late = end.send(());
            })?;
        Ok(Self {
            format,
            zone,
            queue,
            unwritten,
            ended,
        })
    }

    /// Never waits: a full queue drops the line and counts it.
    pub fn offer(&self, incident: &Incident) {
        let line = match self.format {
            Format::Json => serde_json::to_string(incident),
            Format::Human => Ok(self.human(incident)),
        };
        let queued = line
            .map_err(|error| error.to_string())
            .and_then(|line| self.queue.try_send(line + "\n").map_err(|e| e.to_string()));
        if let Err(error) = queued {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error, incident = incident.id, "incident not written");
        }
    }

    /// Lets the thread write what is queued, for `patience` at most. Gives how many lines were not written.
    pub async fn finish(self, patience: Duration) -> u64 {
        drop(self.queue);
        if timeout(patience, self.ended).await.is_err() {
            tracing::error!("standard output stalls: what was queued for it is lost");
        }
        self.unwritten.load(Ordering::Relaxed)
    }

    fn human(&self, incident: &Incident) -> String {
        let time = incident.time.to_zoned(self.zone.clone());
        let mut line = format!(
            "{} {}",
            time.strftime("%H:%M:%S%.3f"),
            escape::terminal(&sentence(incident))
        );
        if let Some(cmdline) = incident
            .victims
            .first()
            .and_then(|victim| victim.cmdline.as_ref())
        {
            line.push_str(" — command line: ");
            line.push_str(&escape::terminal(&cmdline.join(" ")).to_string());
        }
        line
    }
}
