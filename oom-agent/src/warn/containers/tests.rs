//! Containers of a node, sweep by sweep.

use super::super::pod_policies::{AT_ONCE, PODS};
use super::*;
use pressure::{Sample, Thresholds};

const SECOND: u64 = 1_000_000_000;
const UID: &str = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";

fn container(n: u64) -> CgroupKey {
    CgroupKey::new(&format!("/kubepods/burstable/pod{UID}/{n:064x}"), n)
}

fn sample(at_s: u64, percent: u64) -> Sample {
    Sample {
        at_ns: at_s * SECOND,
        current: percent,
        working_set: percent,
        limit: Some(100),
        throttles: false,
        psi: None,
    }
}

const FORECAST: Duration = Duration::from_secs(9);

fn levels(crossings: &[ContainerCrossing]) -> Vec<Level> {
    let level = |one: &ContainerCrossing| {
        assert_eq!(one.crossing.forecast, Some(FORECAST));
        one.crossing.level
    };
    crossings.iter().map(level).collect()
}

struct Node(Containers);

impl Node {
    fn new(reads_annotations: bool) -> Self {
        Self(Containers::new(
            Policy::for_node(Thresholds::default(), true),
            reads_annotations,
        ))
    }

    /// Levels of the crossings, and the number of lookups.
    fn sweep(&mut self, samples: &[(CgroupKey, Sample)]) -> (Vec<Level>, usize) {
        let sweep = Sweep {
            stuck: &[],
            samples,
            whole: true,
        };
        let outcome = self
            .0
            .update(&sweep, |_| OomScores::default(), |_| Some(FORECAST));
        (levels(&outcome.crossings), outcome.lookups.len())
    }

    fn lookups(&mut self, samples: &[(CgroupKey, Sample)]) -> Vec<PodLookup> {
        let sweep = Sweep {
            stuck: &[],
            samples,
            whole: true,
        };
        self.0
            .update(&sweep, |_| OomScores::default(), |_| None)
            .lookups
    }

    /// Levels of the crossings then.
    fn finish(&mut self, found: Option<Arc<Policy>>) -> Vec<Level> {
        levels(&self.0.finish_lookup(UID, found, |_| Some(FORECAST)))
    }
}

fn annotated(warning: &str) -> Arc<Policy> {
    let thresholds = Thresholds {
        warning: Some(warning.parse().unwrap()),
        ..Thresholds::default()
    };
    Arc::new(Policy::for_node(thresholds, true))
}

#[test]
fn each_container_has_levels_of_its_own_and_no_other_cgroup_has() {
    let mut node = Node::new(false);
    let service = CgroupKey::new("/system.slice/sshd.service", 9);
    let samples = [
        (container(1), sample(1, 80)),
        (container(2), sample(1, 95)),
        (container(3), sample(1, 20)),
        (service, sample(1, 99)),
    ];
    let expected = vec![Level::Warning, Level::Critical];
    assert_eq!(node.sweep(&samples), (expected, 0));
    assert_eq!(node.0.count_at_levels(), [1, 1]);
    assert_eq!(node.sweep(&[]), (vec![], 0));
    assert_eq!(node.0.count_at_levels(), [0, 0]);
}

#[test]
fn a_pod_that_alone_has_a_limit_has_levels() {
    let mut node = Node::new(true);
    let pod = CgroupKey::new(&format!("/kubepods/burstable/pod{UID}"), 9);
    assert_eq!(node.sweep(&[(pod.clone(), sample(1, 80))]), (vec![], 1));
    assert_eq!(node.finish(Some(annotated("70"))), [Level::Warning]);
    assert_eq!(node.sweep(&[(pod, sample(60, 95))]).0, [Level::Critical]);
}

#[test]
fn a_pod_is_not_looked_up_before_its_sandbox_is_there() {
    let mut node = Node::new(true);
    let pod = CgroupKey::new(&format!("/kubepods/burstable/pod{UID}"), 1);
    assert_eq!(node.lookups(&[(pod.clone(), sample(1, 0))]), []);
    assert_eq!(node.lookups(&[(pod, sample(2, 60))]).len(), 1);
    let mut node = Node::new(true);
    assert_eq!(node.lookups(&[(container(1), sample(1, 0))]).len(), 1);
}

#[test]
fn a_pod_is_looked_up_at_first_and_again_near_its_limit() {
    let mut node = Node::new(true);
    let lookup = |current| PodLookup {
        uid: UID.to_owned(),
        current,
    };
    let two = [(container(1), sample(1, 10)), (container(2), sample(1, 20))];
    assert_eq!(node.lookups(&two), [lookup(false)], "once for both");
    assert_eq!(
        node.lookups(&[(container(1), sample(2, 60))]),
        [],
        "it is under way"
    );
    assert_eq!(node.finish(Some(annotated("20"))), []);
    // By the pod's own threshold, however low.
    assert_eq!(
        node.sweep(&[(container(1), sample(3, 20))]),
        (vec![Level::Warning], 0)
    );
    assert_eq!(
        node.lookups(&[(container(1), sample(4, 50))]),
        [lookup(true)]
    );
    assert_eq!(node.lookups(&[(container(1), sample(5, 50))]), []);
    // And anew after five minutes, if it is still near.
    assert_eq!(node.lookups(&[(container(1), sample(305, 20))]), []);
    assert_eq!(
        node.lookups(&[(container(1), sample(306, 50))]),
        [lookup(true)]
    );
}

#[test]
fn a_crossing_waits_for_its_pod_but_not_for_long() {
    let mut node = Node::new(true);
    assert_eq!(node.sweep(&[(container(1), sample(1, 80))]), (vec![], 1));
    assert_eq!(node.finish(Some(annotated("85"))), []);
    assert_eq!(node.sweep(&[(container(1), sample(2, 80))]).0, []);
    let mut soon = Node::new(true);
    assert_eq!(soon.sweep(&[(container(1), sample(1, 80))]), (vec![], 1));
    assert_eq!(soon.finish(Some(annotated("60"))), [Level::Warning]);
    // And once.
    assert_eq!(soon.finish(Some(annotated("60"))), []);
    assert_eq!(soon.sweep(&[(container(1), sample(2, 80))]).0, []);
    let mut silent = Node::new(true);
    assert_eq!(silent.sweep(&[(container(1), sample(1, 80))]), (vec![], 1));
    assert_eq!(silent.sweep(&[(container(1), sample(3, 80))]), (vec![], 0));
    assert_eq!(
        silent.sweep(&[(container(1), sample(4, 80))]),
        (vec![Level::Warning], 0)
    );
}

#[test]
fn a_failed_lookup_is_retried_and_the_nodes_thresholds_hold_meanwhile() {
    let mut node = Node::new(true);
    assert_eq!(node.sweep(&[(container(1), sample(1, 50))]).1, 1);
    assert_eq!(node.finish(None), []);
    assert_eq!(
        node.sweep(&[(container(1), sample(2, 80))]),
        (vec![Level::Warning], 0)
    );
    assert_eq!(node.sweep(&[(container(1), sample(30, 60))]).1, 0);
    assert_eq!(node.sweep(&[(container(1), sample(31, 60))]).1, 1);
}

#[test]
fn a_lookup_that_fails_later_leaves_what_was_known() {
    let mut node = Node::new(true);
    let lookup = |current| PodLookup {
        uid: UID.to_owned(),
        current,
    };
    assert_eq!(
        node.lookups(&[(container(1), sample(1, 10))]),
        [lookup(false)]
    );
    assert_eq!(node.finish(Some(annotated("60"))), []);
    assert_eq!(
        node.lookups(&[(container(1), sample(2, 55))]),
        [lookup(true)]
    );
    assert_eq!(node.finish(None), []);
    assert_eq!(
        node.sweep(&[(container(1), sample(3, 60))]),
        (vec![Level::Warning], 0)
    );
    // And it is tried again sooner than a renewal.
    assert_eq!(
        node.lookups(&[(container(1), sample(32, 60))]),
        [lookup(true)]
    );
}

#[test]
fn a_crossing_that_ends_during_the_lookup_is_dropped() {
    let mut node = Node::new(true);
    assert_eq!(node.sweep(&[(container(1), sample(1, 80))]), (vec![], 1));
    assert_eq!(node.sweep(&[(container(1), sample(2, 10))]), (vec![], 0));
    assert_eq!(node.finish(Some(annotated("60"))), []);
}

#[test]
fn a_retried_crossing_comes_again_soon_and_as_new() {
    let mut node = Node::new(false);
    let samples = [(container(1), sample(101, 80))];
    let sweep = Sweep {
        stuck: &[],
        samples: &samples,
        whole: true,
    };
    let outcome = node.0.update(&sweep, |_| OomScores::default(), |_| None);
    node.0.retry(&outcome.crossings[0]);
    assert_eq!(
        node.sweep(&[(container(1), sample(102, 80))]).0,
        [Level::Warning]
    );
    assert_eq!(node.sweep(&[(container(1), sample(103, 80))]).0, []);
}

#[test]
fn annotation_errors_are_new_once() {
    let mut node = Node::new(true);
    let error = |reason: &str| {
        [AnnotationError {
            name: "warning",
            reason: reason.to_owned(),
        }]
    };
    assert!(!node.0.set_annotation_errors(UID, &error("a")), "of no pod");
    assert_eq!(node.sweep(&[(container(1), sample(1, 50))]).1, 1);
    let mut are_new = |errors: &[AnnotationError]| node.0.set_annotation_errors(UID, errors);
    assert!(are_new(&error("a")));
    assert!(!are_new(&error("a")));
    assert!(are_new(&error("b")));
    assert!(!are_new(&[]));
    assert!(are_new(&error("b")));
}

#[test]
fn pod_policies_are_bounded() {
    let many = |percent| -> Vec<(CgroupKey, Sample)> {
        let one = |n: u64| {
            let path = format!("/kubepods/pod6a4ce4a0-ba47-11ea-b2a7-{n:012x}/{n:064x}");
            (CgroupKey::new(&path, n), sample(1, percent))
        };
        (0..2000).map(one).collect()
    };
    let mut far = Node::new(true);
    assert_eq!(far.sweep(&many(10)).1, AT_ONCE, "the others by and by");
    assert_eq!(far.sweep(&many(10)).1, AT_ONCE);
    let mut near = Node::new(true);
    assert_eq!(near.sweep(&many(60)).1, PODS);
    assert_eq!(near.0.pods.len(), PODS);
}
