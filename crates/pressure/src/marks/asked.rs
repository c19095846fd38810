//! Which mark is set next. Pure.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Weak};

/// Marks that are still to be set; `T` is what tells of them, and what is dropped takes its own along.
#[derive(Debug)]
pub(super) struct Asked<T>(Vec<Ask<T>>);

/// Those of one cgroup.
#[derive(Debug)]
pub(super) struct Ask<T> {
    told: Weak<T>,
    dir: Arc<Path>,
    /// Thousandths of the limit that were used when it was asked.
    used: u64,
    /// In bytes, the next one first.
    marks: VecDeque<u64>,
}

/// One mark.
#[derive(Debug)]
pub(super) struct Next<T> {
    pub(super) told: Arc<T>,
    pub(super) dir: Arc<Path>,
    /// Bytes.
    pub(super) mark: u64,
    /// All that were asked for of that cgroup are set then.
    pub(super) last: bool,
}

// === impl Ask ===

impl<T> Ask<T> {
    /// `marks` are in percent of the limit. First come those that the usage meets first if it grows,
    /// then those below it from the nearest on.
    pub(super) fn new(told: &Arc<T>, dir: &Path, current: u64, limit: u64, marks: &[u64]) -> Self {
        let part = |of: u64, in_all: u128| {
            let part = u128::from(limit) * u128::from(of) / in_all;
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let mut marks: Vec<u64> = marks.iter().map(|percent| part(*percent, 100)).collect();
        marks.sort_by_key(|mark| (*mark < current, mark.abs_diff(current)));
        let used = u128::from(current) * 1000 / u128::from(limit.max(1));
        Self {
            told: Arc::downgrade(told),
            dir: dir.into(),
            used: u64::try_from(used).unwrap_or(u64::MAX),
            marks: marks.into(),
        }
    }
}

// === impl Asked ===

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Asked<T> {
    /// One of each that tells: there are no more than of these.
    pub(super) fn ask(&mut self, ask: Ask<T>) {
        self.0.retain(|one| one.told.strong_count() > 0);
        let mut there = self.0.iter_mut();
        match there.find(|one| one.told.ptr_eq(&ask.told)) {
            Some(one) => {
                one.used = ask.used;
                one.marks.extend(ask.marks);
            }
            None => self.0.push(ask),
        }
    }

    /// Of who is nearest to its limit.
    pub(super) fn next(&mut self) -> Option<Next<T>> {
        loop {
            let nearest = self.0.iter().enumerate().max_by_key(|(_, ask)| ask.used);
            let at = nearest.map(|(at, _)| at)?;
            let ask = self.0.get_mut(at)?;
            let next = (ask.told.upgrade(), ask.marks.pop_front());
            let dir = Arc::clone(&ask.dir);
            let last = ask.marks.is_empty();
            if last || next.0.is_none() {
                self.0.swap_remove(at);
            }
            if let (Some(told), Some(mark)) = next {
                return Some(Next {
                    told,
                    dir,
                    mark,
                    last,
                });
            }
        }
    }

    /// No more of these.
    pub(super) fn forget(&mut self, told: &Arc<T>) {
        let told = Arc::downgrade(told);
        self.0.retain(|one| !one.told.ptr_eq(&told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(told: &Arc<()>, name: &str, current: u64, marks: &[u64]) -> Ask<()> {
        Ask::new(told, Path::new(name), current, 1000, marks)
    }

    fn next(asked: &mut Asked<()>) -> Option<(String, u64, bool)> {
        let next = asked.next()?;
        Some((next.dir.display().to_string(), next.mark, next.last))
    }

    fn told<const N: usize>() -> [Arc<()>; N] {
        std::array::from_fn(|_| Arc::new(()))
    }

    #[test]
    fn what_growth_meets_first_is_set_first() {
        let (mut asked, [a]) = (Asked::default(), told());
        asked.ask(ask(&a, "a", 720, &[50, 60, 70, 75, 80]));
        let all: Vec<_> = std::iter::from_fn(|| next(&mut asked)).collect();
        let marks: Vec<_> = all.iter().map(|(_, mark, _)| *mark).collect();
        assert_eq!(marks, [750, 800, 700, 600, 500]);
        let lasts: Vec<_> = all.iter().map(|(_, _, last)| *last).collect();
        assert_eq!(lasts, [false, false, false, false, true]);
    }

    #[test]
    fn who_is_nearest_to_its_limit_comes_before_what_was_asked_earlier() {
        let (mut asked, [a, b]) = (Asked::default(), told());
        asked.ask(ask(&a, "a", 100, &[50, 60]));
        assert_eq!(next(&mut asked), Some(("a".into(), 500, false)));
        asked.ask(ask(&b, "b", 550, &[60]));
        assert_eq!(next(&mut asked), Some(("b".into(), 600, true)));
        assert_eq!(next(&mut asked), Some(("a".into(), 600, true)));
        assert_eq!(next(&mut asked), None);
    }

    #[test]
    fn what_is_asked_again_of_the_same_is_one() {
        let (mut asked, [a]) = (Asked::default(), told());
        asked.ask(ask(&a, "a", 100, &[50]));
        asked.ask(ask(&a, "a", 450, &[60, 70]));
        assert_eq!(asked.0.len(), 1);
        let marks = std::iter::from_fn(|| next(&mut asked)).map(|(_, mark, _)| mark);
        assert_eq!(marks.collect::<Vec<_>>(), [500, 600, 700]);
    }

    #[test]
    fn of_who_is_gone_or_was_given_up_none_is_set_nor_kept() {
        let (mut asked, [a, b, c]) = (Asked::default(), told());
        asked.ask(ask(&a, "a", 900, &[95]));
        asked.ask(ask(&b, "b", 100, &[50]));
        drop(a);
        assert_eq!(next(&mut asked), Some(("b".into(), 500, true)));
        asked.ask(ask(&b, "b", 100, &[60]));
        asked.forget(&b);
        assert_eq!(next(&mut asked), None);
        asked.ask(ask(&b, "b", 100, &[60]));
        drop(b);
        asked.ask(ask(&c, "c", 100, &[60]));
        assert_eq!(asked.0.len(), 1);
    }
}
