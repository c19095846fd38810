//! Chromium's debugging protocol over two pipes: JSON messages, each with a NUL at its end.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use crate::wait::HANG;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Pipe {
    commands: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    events: VecDeque<Value>,
}

impl Pipe {
    pub(super) fn new(commands: ChildStdin, answers: ChildStdout) -> Self {
        let (sender, messages) = channel();
        // Ends with the browser, which closes the pipe.
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let message = message
                    .ok()
                    .and_then(|bytes| serde_json::from_slice(&bytes).ok());
                let Some(message) = message else { break };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Self {
            commands,
            messages,
            last: 0,
            events: VecDeque::new(),
        }
    }

    /// Sends a command and returns its result; events that come meanwhile are kept.
    pub(super) fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: &Value,
    ) -> Result<Value> {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if let (Some(session), Some(command)) = (session, command.as_object_mut()) {
            command.insert("sessionId".to_owned(), session.into());
        }
        let mut bytes = serde_json::to_vec(&command).context("write JSON")?;
        bytes.push(0);
        self.commands
            .write_all(&bytes)
            .with_context(|| format!("send {method} to chromium"))?;
        let deadline = Instant::now() + HANG;
        loop {
            let mut message = self
                .receive(deadline)
                .with_context(|| format!("wait for the answer to {method}"))?;
            if message.get("id").and_then(Value::as_u64) != Some(self.last) {
                self.events.push_back(message);
                continue;
            }
            if let Some(error) = message.get("error") {
                bail!("chromium refused {method}: {error}");
            }
            return Ok(message
                .get_mut("result")
                .map(Value::take)
                .unwrap_or_default());
        }
    }

    /// Waits for an event of that name; those before it stay kept.
    pub(super) fn event(&mut self, method: &str) -> Result<Value> {
        let deadline = Instant::now() + HANG;
        let of_name = |event: &Value| event.get("method").and_then(Value::as_str) == Some(method);
        if let Some(at) = self.events.iter().position(of_name)
            && let Some(event) = self.events.remove(at)
        {
            return Ok(event);
        }
        loop {
            let event = self
                .receive(deadline)
                .with_context(|| format!("wait for {method}"))?;
            if of_name(&event) {
                return Ok(event);
            }
            self.events.push_back(event);
        }
    }

    /// Every event that was kept.
    pub(super) fn events(&mut self) -> Vec<Value> {
        self.events.extend(self.messages.try_iter());
        self.events.drain(..).collect()
    }

    fn receive(&self, deadline: Instant) -> Result<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.messages.recv_timeout(left).map_err(|why| match why {
            RecvTimeoutError::Timeout => anyhow::anyhow!("not within {HANG:?}"),
            RecvTimeoutError::Disconnected => anyhow::anyhow!("chromium has ended"),
        })
    }
}
