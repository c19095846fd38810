//! Prometheus' fingerprint of a set of labels, for senders that leave it out.

use std::collections::BTreeMap;

/// FNV-1a of 64 bits over name, 0xff, value, 0xff of each label in the order of their names, as
/// Alertmanager computes it (`model.LabelSet.Fingerprint`): the same alert has the same id,
/// whether its sender leaves the fingerprint out or not.
pub(super) fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let parts = labels.iter().flat_map(|(name, value)| [name, value]);
    let bytes = parts.flat_map(|part| part.bytes().chain([0xff]));
    let sum = bytes.fold(OFFSET, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    format!("{sum:016x}")
}
