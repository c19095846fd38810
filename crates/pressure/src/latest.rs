use std::sync::{Arc, Mutex, PoisonError};

use super::usage::{Key, Pass, Usage};

/// The last look at each container, for whoever asks now and then. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Latest(Arc<Mutex<Vec<(Key, Usage)>>>);

// === impl Latest ===

impl Latest {
    /// A pass was made.
    pub fn take(&self, pass: &Pass<'_>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pass.whole {
            known.clear();
            known.extend_from_slice(pass.usages);
            return;
        }
        for (key, usage) in pass.usages {
            match known.iter_mut().find(|(known, _)| known == key) {
                Some((_, last)) => *last = *usage,
                // One that is new: the next whole pass has it, or it is gone.
                None => known.push((key.clone(), *usage)),
            }
        }
    }

    /// All of them.
    pub fn get(&self) -> Vec<(Key, Usage)> {
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
    fn a_whole_pass_replaces_and_another_brings_up_to_date() {
        let row = |path: &str, current| {
            let usage = Usage {
                at_ns: 0,
                current,
                working_set: 0,
                limit: None,
                throttles: false,
                psi: None,
            };
            (Key::new(path, 1), usage)
        };
        let latest = Latest::default();
        let take = |whole, usages: &[(Key, Usage)]| {
            latest.take(&Pass {
                usages,
                stuck: &[],
                whole,
            });
        };
        take(true, &[row("/a", 1), row("/b", 2)]);
        take(false, &[row("/b", 3), row("/c", 4)]);
        assert_eq!(latest.get(), [row("/a", 1), row("/b", 3), row("/c", 4)]);
        take(true, &[row("/b", 5)]);
        assert_eq!(latest.get(), [row("/b", 5)]);
    }
}
