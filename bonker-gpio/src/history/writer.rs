//! The thread that writes, so that neither the arm nor an answer waits for the disk.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use service::error_chain::chain;
use tracing::error;

use super::error::HistoryError;
use super::shared::Shared;
use super::store::Store;

/// How long a change waits for others to share its transaction: an SD card wears out with
/// every one. Younger changes are lost in a power cut.
const LINGER: Duration = Duration::from_millis(200);

/// Writes the batches of `shared` into `store` until it is closed. The first failure is logged;
/// from then on the history is in memory only.
pub(super) fn start_writer(shared: Arc<Shared>, store: Arc<Store>) -> Result<(), HistoryError> {
    let write = move || {
        let mut broken = false;
        while let Some(batch) = shared.next_batch(LINGER) {
            if broken {
                continue;
            }
            let written = batch.head.total;
            match store.write(&batch) {
                Ok(()) => shared.written(written),
                Err(why) => {
                    broken = true;
                    error!(
                        error = %chain(&why),
                        "the history is not written any more: check the disk, then restart"
                    );
                }
            }
        }
        store.close();
        shared.closed();
    };
    thread::Builder::new()
        .name("history".to_owned())
        .spawn(write)
        .map_err(HistoryError::Thread)?;
    Ok(())
}
