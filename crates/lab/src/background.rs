//! Tasks of tokio from code that blocks.

use std::thread;

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot::{Sender, channel};

/// A runtime that works while this thread waits for it.
pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().context("start a runtime")
}

/// A task on a thread of its own; dropping this aborts it.
#[derive(Debug)]
pub(crate) struct Background(#[expect(dead_code, reason = "its drop is what counts")] Sender<()>);

impl Background {
    pub(crate) fn spawn<F: Future>(task: impl FnOnce() -> F + Send + 'static) -> Result<Self> {
        let runtime = runtime()?;
        let (abort, aborted) = channel();
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = task() => {}
                    _ = aborted => {}
                }
            });
        });
        Ok(Self(abort))
    }
}
