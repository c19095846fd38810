//! Each incident as one line on standard output.

use std::io::{self, Write};

use jiff::tz::TimeZone;

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

/// Writes whole lines, and nothing else.
pub struct Lines<W> {
    format: Format,
    zone: TimeZone,
    out: W,
}

// === impl Lines ===

impl<W: Write> Lines<W> {
    /// `zone` is for people's lines; JSON is always in UTC.
    pub fn new(format: Format, zone: TimeZone, out: W) -> Self {
        Self { format, zone, out }
    }

    /// One line, at once.
    pub fn write(&mut self, incident: &Incident) -> io::Result<()> {
        let mut line = match self.format {
            Format::Json => serde_json::to_string(incident)?,
            Format::Human => self.human(incident),
        };
        line.push('\n');
        self.out.write_all(line.as_bytes())?;
        self.out.flush()
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
