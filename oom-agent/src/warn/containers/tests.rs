//! Containers of a node, pass by pass.

use super::super::pods::{AT_ONCE, PODS};
use super::*;
use pressure::Sample;
use pressure::Thresholds;

const SECOND: u64 = 1_000_000_000;
const UID: &str = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";

fn container(n: u64) -> CgroupKey {
    CgroupKey::new(&format!("/kubepods/burstable/pod{UID}/{n:064x}"), n)
}

fn usage(at_s: u64, percent: u64) -> Sample {
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

fn levels(crossed: &[Crossed]) -> Vec<Level> {
    let level = |crossed: &Crossed| {
        assert_eq!(crossed.crossing.forecast, Some(FORECAST));
        crossed.crossing.level
    };
    crossed.iter().map(level).collect()
}

struct Node(Containers);

impl Node {
    fn new(heed: bool) -> Self {
        Self(Containers::new(
            Policy::of_node(Thresholds::default(), true),
            heed,
        ))
    }

    /// Levels that are told, and pods that are asked for.
    fn pass(&mut self, usages: &[(CgroupKey, Sample)]) -> (Vec<Level>, usize) {
        let pass = Sweep {
            stuck: &[],
            samples: usages,
            whole: true,
        };
        let seen = self
            .0
            .take(&pass, |_| OomScores::default(), |_| Some(FORECAST));
        (levels(&seen.crossed), seen.ask.len())
    }

    /// Pods that are asked for.
    fn asks(&mut self, usages: &[(CgroupKey, Sample)]) -> Vec<Ask> {
        let pass = Sweep {
            stuck: &[],
            samples: usages,
            whole: true,
        };
        self.0.take(&pass, |_| OomScores::default(), |_| None).ask
    }

    /// Levels that are told then.
    fn known(&mut self, known: Known) -> Vec<Level> {
        levels(&self.0.known(UID, known, |_| Some(FORECAST)))
    }
}

fn annotated(warning: &str) -> Known {
    let settings = Thresholds {
        warning: Some(warning.parse().unwrap()),
        ..Thresholds::default()
    };
    Known::Policy(Arc::new(Policy::of_node(settings, true)))
}

#[test]
fn each_container_is_told_by_itself_and_no_other_cgroup_is() {
    let mut node = Node::new(false);
    let service = CgroupKey::new("/system.slice/sshd.service", 9);
    let pass = [
        (container(1), usage(1, 80)),
        (container(2), usage(1, 95)),
        (container(3), usage(1, 20)),
        (service, usage(1, 99)),
    ];
    let expected = vec![Level::Warning, Level::Critical];
    assert_eq!(node.pass(&pass), (expected, 0));
    assert_eq!(node.0.at_level(), [1, 1]);
    assert_eq!(node.pass(&[]), (vec![], 0));
    assert_eq!(node.0.at_level(), [0, 0]);
}

#[test]
fn a_pod_that_alone_has_a_limit_is_told_by_it() {
    let mut node = Node::new(true);
    let pod = CgroupKey::new(&format!("/kubepods/burstable/pod{UID}"), 9);
    assert_eq!(node.pass(&[(pod.clone(), usage(1, 80))]), (vec![], 1));
    assert_eq!(node.known(annotated("70")), [Level::Warning]);
    assert_eq!(node.pass(&[(pod, usage(60, 95))]).0, [Level::Critical]);
}

#[test]
fn a_pod_is_not_asked_for_before_its_sandbox_is_there() {
    let mut node = Node::new(true);
    let pod = CgroupKey::new(&format!("/kubepods/burstable/pod{UID}"), 1);
    assert_eq!(node.asks(&[(pod.clone(), usage(1, 0))]), []);
    assert_eq!(node.asks(&[(pod, usage(2, 60))]).len(), 1);
    let mut node = Node::new(true);
    assert_eq!(node.asks(&[(container(1), usage(1, 0))]).len(), 1);
}

#[test]
fn a_pod_is_asked_for_at_first_sight_and_anew_when_it_matters() {
    let mut node = Node::new(true);
    let ask = |now| Ask {
        uid: UID.to_owned(),
        now,
    };
    let two = [(container(1), usage(1, 10)), (container(2), usage(1, 20))];
    assert_eq!(node.asks(&two), [ask(false)], "once for both");
    assert_eq!(
        node.asks(&[(container(1), usage(2, 60))]),
        [],
        "it is under way"
    );
    assert_eq!(node.known(annotated("20")), []);
    // By the pod's own mark, however low.
    assert_eq!(
        node.pass(&[(container(1), usage(3, 20))]),
        (vec![Level::Warning], 0)
    );
    assert_eq!(node.asks(&[(container(1), usage(4, 50))]), [ask(true)]);
    assert_eq!(node.asks(&[(container(1), usage(5, 50))]), []);
    // And anew after five minutes, if it is still near.
    assert_eq!(node.asks(&[(container(1), usage(305, 20))]), []);
    assert_eq!(node.asks(&[(container(1), usage(306, 50))]), [ask(true)]);
}

#[test]
fn a_crossing_waits_for_its_pod_but_not_for_long() {
    let mut node = Node::new(true);
    assert_eq!(node.pass(&[(container(1), usage(1, 80))]), (vec![], 1));
    assert_eq!(node.known(annotated("85")), []);
    assert_eq!(node.pass(&[(container(1), usage(2, 80))]).0, []);
    let mut soon = Node::new(true);
    assert_eq!(soon.pass(&[(container(1), usage(1, 80))]), (vec![], 1));
    assert_eq!(soon.known(annotated("60")), [Level::Warning]);
    // And once.
    assert_eq!(soon.known(annotated("60")), []);
    assert_eq!(soon.pass(&[(container(1), usage(2, 80))]).0, []);
    let mut silent = Node::new(true);
    assert_eq!(silent.pass(&[(container(1), usage(1, 80))]), (vec![], 1));
    assert_eq!(silent.pass(&[(container(1), usage(3, 80))]), (vec![], 0));
    assert_eq!(
        silent.pass(&[(container(1), usage(4, 80))]),
        (vec![Level::Warning], 0)
    );
}

#[test]
fn a_lookup_that_failed_is_tried_again_and_the_nodes_marks_hold_meanwhile() {
    let mut node = Node::new(true);
    assert_eq!(node.pass(&[(container(1), usage(1, 50))]).1, 1);
    assert_eq!(node.known(Known::Nothing), []);
    assert_eq!(
        node.pass(&[(container(1), usage(2, 80))]),
        (vec![Level::Warning], 0)
    );
    assert_eq!(node.pass(&[(container(1), usage(30, 60))]).1, 0);
    assert_eq!(node.pass(&[(container(1), usage(31, 60))]).1, 1);
}

#[test]
fn a_lookup_that_failed_later_leaves_what_was_known() {
    let mut node = Node::new(true);
    let ask = |now| Ask {
        uid: UID.to_owned(),
        now,
    };
    assert_eq!(node.asks(&[(container(1), usage(1, 10))]), [ask(false)]);
    assert_eq!(node.known(annotated("60")), []);
    assert_eq!(node.asks(&[(container(1), usage(2, 55))]), [ask(true)]);
    assert_eq!(node.known(Known::Nothing), []);
    assert_eq!(
        node.pass(&[(container(1), usage(3, 60))]),
        (vec![Level::Warning], 0)
    );
    // And it is tried again sooner than a renewal.
    assert_eq!(node.asks(&[(container(1), usage(32, 60))]), [ask(true)]);
}

#[test]
fn a_crossing_that_is_over_when_its_pod_is_known_is_not_told() {
    let mut node = Node::new(true);
    assert_eq!(node.pass(&[(container(1), usage(1, 80))]), (vec![], 1));
    assert_eq!(node.pass(&[(container(1), usage(2, 10))]), (vec![], 0));
    assert_eq!(node.known(annotated("60")), []);
}

#[test]
fn what_found_no_room_is_told_again_soon_and_as_new() {
    let mut node = Node::new(false);
    let usages = [(container(1), usage(101, 80))];
    let pass = Sweep {
        stuck: &[],
        samples: &usages,
        whole: true,
    };
    let seen = node.0.take(&pass, |_| OomScores::default(), |_| None);
    node.0.undone(&seen.crossed[0]);
    assert_eq!(
        node.pass(&[(container(1), usage(102, 80))]).0,
        [Level::Warning]
    );
    assert_eq!(node.pass(&[(container(1), usage(103, 80))]).0, []);
}

#[test]
fn a_complaint_is_news_once() {
    let mut node = Node::new(true);
    let complaint = |why: &str| {
        [Complaint {
            name: "warning",
            why: why.to_owned(),
        }]
    };
    assert!(!node.0.complained(UID, &complaint("a")), "of nobody");
    assert_eq!(node.pass(&[(container(1), usage(1, 50))]).1, 1);
    let mut news = |complaints: &[Complaint]| node.0.complained(UID, complaints);
    assert!(news(&complaint("a")));
    assert!(!news(&complaint("a")));
    assert!(news(&complaint("b")));
    assert!(!news(&[]));
    assert!(news(&complaint("b")));
}

#[test]
fn remembered_pods_are_bounded() {
    let many = |percent| -> Vec<(CgroupKey, Sample)> {
        let one = |n: u64| {
            let path = format!("/kubepods/pod6a4ce4a0-ba47-11ea-b2a7-{n:012x}/{n:064x}");
            (CgroupKey::new(&path, n), usage(1, percent))
        };
        (0..2000).map(one).collect()
    };
    let mut far = Node::new(true);
    assert_eq!(far.pass(&many(10)).1, AT_ONCE, "the others by and by");
    assert_eq!(far.pass(&many(10)).1, AT_ONCE);
    let mut near = Node::new(true);
    assert_eq!(near.pass(&many(60)).1, PODS);
    assert_eq!(near.0.pods.len(), PODS);
}
