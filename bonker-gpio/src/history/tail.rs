//! The latest swings, in memory; they may not be on the disk yet. Pure.

use std::collections::VecDeque;

use super::swing::Swing;

pub const MEMORY_CAPACITY: usize = 1000;

/// Bytes of text, so that long names do not take all of a Pi's memory.
const MAX_BYTES: usize = 2 << 20;

/// Memory of a swing beside its text, in bytes.
const OVERHEAD: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Tail {
    swings: VecDeque<Swing>,
    bytes: usize,
}

// === impl Tail ===

impl Tail {
    /// Adds the newest; returns the sequence of the last one that was dropped for it.
    pub(super) fn push(&mut self, swing: Swing) -> Option<u64> {
        self.bytes += size(&swing);
        self.swings.push_back(swing);
        let mut gone = None;
        while self.swings.len() > MEMORY_CAPACITY || self.bytes > MAX_BYTES {
            let Some(oldest) = self.swings.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(size(&oldest));
            gone = Some(oldest.position.sequence);
        }
        gone
    }

    /// The sequence of the oldest.
    pub(super) fn first(&self) -> Option<u64> {
        self.swings.front().map(|swing| swing.position.sequence)
    }

    /// The `limit` newest, newest first.
    pub(super) fn recent(&self, limit: usize) -> Vec<Swing> {
        self.swings.iter().rev().take(limit).cloned().collect()
    }

    /// The first `limit` after `sequence`, oldest first.
    pub(super) fn swings_after(&self, sequence: u64, limit: usize) -> Vec<Swing> {
        let begin = self
            .swings
            .partition_point(|swing| swing.position.sequence <= sequence);
        self.swings
            .iter()
            .skip(begin)
            .take(limit)
            .cloned()
            .collect()
    }
}

fn size(swing: &Swing) -> usize {
    let bonk = &swing.bonk;
    let texts = [
        &bonk.id,
        &bonk.source,
        &bonk.node,
        &bonk.namespace,
        &bonk.pod,
        &bonk.container,
        &bonk.comm,
        &bonk.summary,
    ];
    let labels = bonk.labels.iter();
    texts.into_iter().map(String::len).sum::<usize>()
        + labels
            .map(|(name, value)| name.len() + value.len() + 64)
            .sum::<usize>()
        + OVERHEAD
}
