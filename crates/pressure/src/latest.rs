use std::sync::{Arc, Mutex, PoisonError};

use super::sample::{CgroupKey, Sample, Sweep};

/// The last sample of each container, for occasional readers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LatestSamples(Arc<Mutex<Vec<(CgroupKey, Sample)>>>);

// === impl LatestSamples ===

impl LatestSamples {
    /// Adopts what a sweep has read.
    pub fn update(&self, sweep: &Sweep<'_>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sweep.whole {
            known.clear();
            known.extend_from_slice(sweep.samples);
            return;
        }
        for (key, sample) in sweep.samples {
            match known.iter_mut().find(|(known, _)| known == key) {
                Some((_, last)) => *last = *sample,
                // One that is new: the next whole sweep has it, or it is gone.
                None => known.push((key.clone(), *sample)),
            }
        }
    }

    /// All of them.
    pub fn get(&self) -> Vec<(CgroupKey, Sample)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_sweep_replaces_all_and_a_partial_one_updates() {
        let row = |path: &str, current| {
            let sample = Sample {
                at_ns: 0,
                current,
                working_set: 0,
                limit: None,
                throttles: false,
                psi: None,
            };
            (CgroupKey::new(path, 1), sample)
        };
        let latest = LatestSamples::default();
        let update = |whole, samples: &[(CgroupKey, Sample)]| {
            latest.update(&Sweep {
                samples,
                stuck: &[],
                whole,
            });
        };
        update(true, &[row("/a", 1), row("/b", 2)]);
        update(false, &[row("/b", 3), row("/c", 4)]);
        assert_eq!(latest.get(), [row("/a", 1), row("/b", 3), row("/c", 4)]);
        update(true, &[row("/b", 5)]);
        assert_eq!(latest.get(), [row("/b", 5)]);
    }
}
