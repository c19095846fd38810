//! Whole messages, to be read as the person on call reads them.

use memcg::{Memory, Stat};
use oom_capture::{Rss, Trigger};
use serde_json::json;

use crate::incident::{
    Container, Holder, Incident, LimitKind, OutOfMemory, Outcome, Pod, Process, Scope, Setting,
};
use crate::k8s::draft::{self, Draft, Regarding};
use crate::k8s::fake::{incident, leak};

use super::NOTE_LEN;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const POD: &str = "/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8";

fn note(draft: &Draft) -> String {
    super::message(draft, None)
}

fn drafts(incident: Incident) -> Vec<Draft> {
    draft::draft_events(&incident.into(), true)
}

fn on_pod(incident: Incident) -> Draft {
    drafts(incident).remove(0)
}

fn on_node(incident: Incident) -> Draft {
    drafts(incident).pop().unwrap()
}

/// A host's process in its own service.
fn host(scope: Scope) -> Incident {
    let mut incident = incident();
    let victim = &mut incident.victims[0];
    (victim.pod, victim.container) = (None, None);
    victim.cgroup = Some("/system.slice/nginx.service".to_owned());
    incident.limit_cgroup.clone_from(&victim.cgroup);
    incident.outcome = Outcome::Unknown;
    incident.scope = scope;
    incident
}

/// Of pod shop/`pod`, in MiB.
fn holder(cgroup: &str, container: Option<&str>, pod: Option<&str>, mib: u64) -> Holder {
    let some = |text: &str| Some(text.to_owned());
    Holder {
        cgroup: cgroup.to_owned(),
        usage_bytes: mib * MIB,
        container: container.map(|name| Container {
            id: "17db".to_owned(),
            name: some(name),
            runtime: None,
        }),
        pod: pod.map(|name| Pod {
            namespace: some("shop"),
            name: some(name),
            uid: None,
        }),
        ..Holder::default()
    }
}

fn memory(cgroup: Option<&str>, mib: u64, shmem: u64) -> Memory {
    Memory {
        cgroup: cgroup.map(str::to_owned),
        usage_bytes: Some(mib * MIB),
        stat: Some(Stat {
            shmem: Some(shmem),
            ..Stat::default()
        }),
        ..Memory::default()
    }
}

/// Checks the whole message and that it is short.
fn check(draft: &Draft, expect_reason: &str, expect: &str) {
    let text = note(draft);
    assert_eq!(text, expect);
    assert_eq!(draft.kind().reason, expect_reason);
    let first = text.split_inclusive(". ").next().unwrap_or_default();
    assert!(first.trim_end().chars().count() <= 120, "{first}");
    assert!(
        text.chars().count() <= 400,
        "{} {text}",
        text.chars().count()
    );
}

const HELD: &str = "tail held 63.5 MiB, mostly anonymous.";
const DIED: &str = "It was the first process (PID 1), so the container died.";

/// A change of the incident, and the headline, the cause and the advice that follow.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of whole notes")]
fn the_message_advises_what_to_change() {
    type Change = fn(&mut Incident);
    let cases: [(Change, &str, &str, &str); 16] = [
        (
            |_| {},
            "Container main hit its memory limit of 64 MiB: tail (pid 4242) was OOM-killed.",
            HELD,
            "Next: raise main's resources.limits.memory above 64 MiB; if its memory only ever grows, look for the leak in tail.",
        ),
        (
            // The kernel counts it at the pod, which has the sum of its containers' limits.
            |incident| {
                incident.limit_bytes = Some(128 * MIB);
                incident.limit_cgroup = Some(POD.to_owned());
                incident.setting = Some(Setting {
                    cgroup: format!("{POD}/17db"),
                    limit_bytes: 64 * MIB,
                });
                incident.holders = vec![
                    holder("a", Some("main"), Some("hungry"), 64),
                    holder("b", Some("side"), Some("hungry"), 62),
                ];
            },
            "Container main hit its memory limit of 64 MiB: tail (pid 4242) was OOM-killed.",
            "tail held 63.5 MiB, mostly anonymous. In the pod: main 64 MiB, side 62 MiB.",
            "Next: raise main's resources.limits.memory above 64 MiB; if its memory only ever grows, look for the leak in tail.",
        ),
        (
            |incident| {
                incident.victims[0].rss_bytes.as_mut().unwrap().anon = 2 * MIB;
                let cgroup = incident.limit_cgroup.clone();
                incident.memory = vec![memory(cgroup.as_deref(), 64, 62 * MIB + MIB / 2)];
            },
            "Container main hit its memory limit of 64 MiB: tail (pid 4242) was OOM-killed.",
            "tail held 2.5 MiB (2 MiB anonymous, 512 KiB of files). 62.5 MiB of the 64 MiB is shared memory (memory-backed volumes, /dev/shm, memfd).",
            "Next: find what fills it, and give the volume a sizeLimit; if it is needed, raise main's resources.limits.memory above 64 MiB.",
        ),
        (
            |incident| {
                incident.limit_bytes = Some(48 * MIB);
                incident.limit_lowered = true;
                incident.trigger = Some(Trigger {
                    pid: 812,
                    comm: "runc".to_owned(),
                });
            },
            "The memory limit of container main was lowered to 48 MiB, below its use: tail (pid 4242) was OOM-killed.",
            "tail held 63.5 MiB, mostly anonymous.",
            "Next: raise main's resources.limits.memory above 48 MiB, or have it use less before its limit is lowered.",
        ),
        (
            |incident| incident.limit_kind = Some(LimitKind::MemoryAndSwap),
            "Container main hit its memory+swap limit of 64 MiB: tail (pid 4242) was OOM-killed.",
            HELD,
            "Next: raise main's resources.limits.memory above 64 MiB; if its memory only ever grows, look for the leak in tail.",
        ),
        (
            |incident| {
                let cgroup = incident.limit_cgroup.clone();
                incident.memory = vec![Memory {
                    swap_bytes: Some(32 * MIB),
                    swap_limit_bytes: Some(32 * MIB),
                    ..memory(cgroup.as_deref(), 64, 0)
                }];
            },
            "Container main hit its memory limit of 64 MiB: tail (pid 4242) was OOM-killed.",
            "tail held 63.5 MiB, mostly anonymous. Swap was full, too (32 MiB).",
            "Next: raise main's resources.limits.memory above 64 MiB; if its memory only ever grows, look for the leak in tail.",
        ),
        (
            |incident| {
                incident.scope = Scope::Pod;
                incident.limit_bytes = Some(128 * MIB);
                incident.limit_cgroup = Some(POD.to_owned());
                incident.holders = vec![
                    holder("b", Some("side"), Some("hungry"), 64),
                    holder("a", Some("main"), Some("hungry"), 63),
                ];
            },
            "The pod hit its memory limit of 128 MiB: tail (pid 4242) in container main was OOM-killed.",
            "tail held 63.5 MiB, mostly anonymous. In the pod: side 64 MiB, main 63 MiB.",
            "Next: find which container grows, or raise the pod's resources.limits.memory above 128 MiB.",
        ),
        (
            |incident| {
                incident.scope = Scope::Nested;
                incident.limit_bytes = Some(32 * MIB);
                incident.limit_cgroup = Some(format!("{POD}/17db/docker/e62e"));
            },
            "A cgroup within container main hit its memory limit of 32 MiB: tail (pid 4242) was OOM-killed.",
            HELD,
            "Next: main's own limit was not reached: raise the limit of the cgroup e62e, which was set within it (docker run --memory, MemoryMax=, memory.max).",
        ),
        (
            |incident| {
                incident.scope = Scope::Ancestor;
                incident.limit_bytes = Some(3662 * MIB);
                incident.limit_cgroup = Some("/kubepods.slice/kubepods-burstable.slice".to_owned());
                incident.holders = vec![holder("a", Some("eat"), Some("hog"), 3519)];
            },
            "The cgroup of the node's pods hit its memory limit of 3662 MiB: tail (pid 4242) in container main was OOM-killed.",
            "tail held 63.5 MiB, mostly anonymous. Pod shop/hog holds the most: 3519 MiB, without a memory limit.",
            "Next: give pod shop/hog a memory limit; set the pods' requests to what they use, so that node node-a is not overfilled.",
        ),
        (
            |incident| {
                incident.scope = Scope::Ancestor;
                incident.limit_cgroup = Some("/kubepods".to_owned());
                incident.limit_bytes = Some(GIB);
            },
            "The cgroup of the node's pods hit its memory limit of 1 GiB: tail (pid 4242) in container main was OOM-killed.",
            HELD,
            "Next: set the pods' requests to what they use, so that node node-a is not overfilled.",
        ),
        (
            |incident| {
                incident.scope = Scope::Ancestor;
                incident.limit_cgroup = Some(format!("/docker/{}", "e62ef4349cc5a70f".repeat(4)));
            },
            "The node's own container e62ef4349cc5 hit its memory limit of 64 MiB: tail (pid 4242) in container main was OOM-killed.",
            HELD,
            "Next: node node-a runs in a container (kind, minikube, k3d): give that more memory (docker update --memory --memory-swap), or run less on it.",
        ),
        (
            |incident| {
                incident.scope = Scope::Node;
                incident.limit_cgroup = None;
                incident.limit_bytes = Some(16 * GIB - MIB);
                incident.before = Some(leak());
                incident.victims[0].oom_score_adj = Some(1000);
                incident.victims[0].rss_bytes = Some(Rss {
                    anon: 100 << 10,
                    ..Rss::default()
                });
                let mut hog = holder("a", Some("eat"), Some("hog"), 3519);
                hog.process = Some(Process {
                    pid: 99,
                    comm: "java".to_owned(),
                    oom_score_adj: Some(999),
                    rss_bytes: 3500 * MIB,
                });
                incident.holders = vec![hog];
            },
            "The node ran out of memory (15.9 GiB): tail (pid 4242) in container main was OOM-killed.",
            "tail held 100 KiB, mostly anonymous. Pod shop/hog holds the most: 3519 MiB, without a memory limit; its largest process is java (pid 99).",
            "Next: limit pod shop/hog; give main a memory request: its oom_score_adj (1000) had it chosen, not its size.",
        ),
        (
            |incident| {
                incident.scope = Scope::Node;
                incident.limit_cgroup = None;
                incident.limit_bytes = Some(16 * GIB - MIB);
                incident.victims[0].rss_bytes.as_mut().unwrap().anon = 3 * GIB;
                incident.holders = vec![holder("a", Some("eat"), Some("other"), 519)];
            },
            "The node ran out of memory (15.9 GiB): tail (pid 4242) in container main was OOM-killed.",
            "tail held 3072.5 MiB, mostly anonymous.",
            "Next: set main's memory request to what it uses, so that it runs where there is room, and give it a limit; see what else fills node node-a (kubectl top pods -A).",
        ),
        (
            |incident| {
                incident.scope = Scope::Confined;
                incident.limit_cgroup = None;
                incident.limit_bytes = Some(8 * GIB);
                incident.oom = Some(OutOfMemory {
                    gfp_mask: 0xcc0,
                    order: 0,
                    constraint: "cpuset".to_owned(),
                });
            },
            "The memory nodes that its cpuset allows were full (8 GiB): tail (pid 4242) in container main was OOM-killed.",
            HELD,
            "Next: see what else fills the memory nodes (NUMA) of its cpuset on node node-a (numastat -m), or allow it more of them (cpuset.mems, the kubelet's memoryManagerPolicy).",
        ),
        (
            |incident| incident.scope = Scope::Sysrq,
            "SysRq f asked for a kill: tail (pid 4242) in container main was OOM-killed.",
            HELD,
            "Next: ask who works on node node-a: a person or a tool wrote f to /proc/sysrq-trigger or pressed the keys.",
        ),
        (
            |incident| (incident.scope, incident.limit_bytes) = (Scope::Unknown, None),
            "tail (pid 4242) in container main was OOM-killed; whose limit was reached is not known.",
            HELD,
            "Next: read the kernel's report on node node-a (journalctl -k): its constraint= and oom_memcg= name the limit.",
        ),
    ];
    for (change, first, cause, next) in cases {
        let mut incident = incident();
        change(&mut incident);
        let expect = format!("{first} {DIED} {cause} {next}");
        check(&on_pod(incident), "OOMKilled", &expect);
    }
}

#[test]
fn a_limit_in_the_pods_spec_only_is_the_pods() {
    let facts = |spec: serde_json::Value| {
        let pod = json!({"metadata": {}, "spec": spec});
        serde_json::from_value::<crate::k8s::Pod>(pod).unwrap()
    };
    let limit = json!({"limits": {"memory": "64Mi"}});
    for (spec, start) in [
        (
            json!({"resources": limit, "containers": [{"name": "main"}]}),
            "The pod hit",
        ),
        (
            json!({"resources": limit, "containers": [{"name": "main", "resources": limit}]}),
            "Container main hit",
        ),
        (
            json!({"containers": [{"name": "main", "resources": limit}]}),
            "Container main hit",
        ),
    ] {
        let text = super::message(&on_pod(incident()), Some(&facts(spec.clone())));
        assert!(text.starts_with(start), "{spec}: {text}");
    }
}

#[test]
fn a_pods_limit_that_its_spec_does_not_have_is_made_of_its_containers() {
    let mut incident = incident();
    incident.scope = Scope::Pod;
    incident.limit_bytes = Some(256 * MIB);
    incident.limit_cgroup = Some(POD.to_owned());
    let draft = on_pod(incident);
    let next = |spec: serde_json::Value| {
        let pod = json!({"metadata": {"uid": "u"}, "spec": spec});
        let facts = serde_json::from_value::<crate::k8s::Pod>(pod).unwrap();
        let text = super::message(&draft, Some(&facts));
        text.split_once(" Next: ").unwrap().1.to_owned()
    };
    let limit = json!({"limits": {"memory": "256Mi"}});
    assert_eq!(
        next(
            json!({"containers": [{"name": "main"}], "initContainers": [{"name": "i", "resources": limit}]})
        ),
        "find which container grows, or raise its containers' resources.limits.memory: the pod's 256 MiB is made up of these.",
    );
    assert_eq!(
        next(json!({"containers": [{"name": "main"}], "resources": limit})),
        "find which container grows, or raise the pod's resources.limits.memory above 256 MiB.",
    );
}

#[test]
fn the_swap_shown_is_that_of_the_limit_cgroup() {
    let full = |cgroup: Option<&str>| Memory {
        swap_bytes: Some(20 * MIB),
        swap_limit_bytes: Some(20 * MIB),
        ..memory(cgroup, 64, 0)
    };
    let mut incident = host(Scope::Node);
    incident.limit_cgroup = None;
    incident.memory = vec![full(incident.victims[0].cgroup.as_deref())];
    let text = note(&on_node(incident.clone()));
    assert!(!text.contains("Swap"), "{text}");
    incident.memory.push(full(None));
    let text = note(&on_node(incident));
    assert!(text.contains("Swap was full, too (20 MiB)."), "{text}");
}

#[test]
fn the_history_is_a_sparkline_with_its_pattern() {
    let mut incident = incident();
    incident.before = Some(leak());
    check(
        &on_pod(incident.clone()),
        "OOMKilled",
        "Container main hit its memory limit of 64 MiB: tail (pid 4242) was OOM-killed. \
         It was the first process (PID 1), so the container died. \
         tail held 63.5 MiB, mostly anonymous. \
         Last minute: ▅▇█ a leak: +1.0 MiB/s, from half to the limit in 32 s. \
         Next: raise main's resources.limits.memory above 64 MiB; if its memory only ever grows, look for the leak in tail.",
    );
    // A sparkline without a known pattern is left out.
    incident.before.as_mut().unwrap().pattern = pressure::GrowthPattern::Unknown;
    let text = note(&on_pod(incident.clone()));
    assert!(!text.contains("Last minute"), "{text}");
    // The history is that of another limit.
    incident.before = Some(leak());
    for (scope, expected) in [
        (Scope::Pod, true),
        (Scope::Node, false),
        (Scope::Sysrq, false),
        (Scope::Ancestor, false),
        (Scope::Nested, false),
    ] {
        incident.scope = scope;
        incident.limit_cgroup = None;
        let text = note(&on_pod(incident.clone()));
        assert_eq!(text.contains("Last minute"), expected, "{text}");
    }
}

#[test]
fn a_killed_child_may_be_unknown_to_kubernetes() {
    let mut incident = incident();
    incident.outcome = Outcome::ChildDied;
    incident.victims[0].namespace_pid = Some(9);
    incident.victims[0].first_process = Some(false);
    incident.victims[0].rss_bytes.as_mut().unwrap().anon = 20 << 20;
    incident.trigger = Some(Trigger {
        pid: 7,
        comm: "server".to_owned(),
    });
    let text = note(&on_pod(incident.clone()));
    assert_eq!(
        text,
        "Container main hit its memory limit of 64 MiB: tail (pid 4242) was OOM-killed. \
         The container's first process lives on, and Kubernetes may report nothing. \
         tail held 20.5 MiB, mostly anonymous. \
         That is less than half of the limit: other processes, or files in memory-backed volumes, hold the rest. \
         Set off by server (pid 7). \
         Next: see what else holds memory in it; if that is needed, raise main's resources.limits.memory above 64 MiB.",
    );
    assert_eq!(on_pod(incident).kind().reason, "ProcessOOMKilled");
}

#[test]
fn a_pod_at_its_limit_with_a_full_tmpfs() {
    let mut incident = incident();
    incident.scope = Scope::Pod;
    incident.limit_bytes = Some(128 << 20);
    incident.limit_cgroup = Some(POD.to_owned());
    incident.memory = vec![memory(Some(POD), 128, 100 * MIB)];
    // A group's victims hold little of it, and another cgroup's figures do not matter.
    let second = incident.victims[0].clone();
    incident.victims.push(second);
    incident.victim_count = 2;
    incident.memory.push(memory(Some("/other"), 1, 0));
    assert_eq!(
        note(&on_pod(incident)),
        "The pod hit its memory limit of 128 MiB: tail (pid 4242) in container main was OOM-killed. \
         1 more process died with it (memory.oom.group). \
         The first process was among them, so the container died. \
         100 MiB of the 128 MiB is shared memory (memory-backed volumes, /dev/shm, memfd). \
         Next: find what fills it, and give the volume a sizeLimit; \
         if it is needed, raise the pod's resources.limits.memory above 128 MiB.",
    );
}

#[test]
fn a_group_that_does_not_explain_its_limit_points_at_files() {
    let mut incident = incident();
    incident.victims[0].rss_bytes.as_mut().unwrap().anon = 2 * MIB;
    let second = incident.victims[0].clone();
    incident.victims.push(second);
    incident.victim_count = 2;
    let text = note(&on_pod(incident));
    let expected =
        "Together they held 5 MiB: files in memory-backed volumes or /dev/shm may hold the rest.";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_victims_own_shared_memory_counts_too() {
    let mut incident = incident();
    incident.victims[0].rss_bytes = Some(Rss {
        anon: MIB,
        file: 0,
        shmem: 50 * MIB,
    });
    let text = note(&on_pod(incident.clone()));
    assert!(text.contains("Most of that is shared memory"), "{text}");
    // It was freed before the cgroup's file was read.
    let cgroup = incident.limit_cgroup.clone();
    incident.memory = vec![memory(cgroup.as_deref(), 64, 0)];
    let text = note(&on_pod(incident));
    assert!(text.contains("50 MiB of the 64 MiB is shared"), "{text}");
}

#[test]
fn a_service_of_the_host_at_its_limit() {
    let mut incident = host(Scope::Ancestor);
    check(
        &on_node(incident.clone()),
        "ProcessOOMKilled",
        "Cgroup nginx.service hit its memory limit of 64 MiB: tail (pid 4242) was OOM-killed. \
         tail held 63.5 MiB, mostly anonymous. \
         Next: see what runs in it (systemd-cgls on node node-a) and raise MemoryMax= of nginx.service, \
         or move a part of it elsewhere.",
    );
    // The limit is not the unit's above, and a machine may have any name.
    for cgroup in [
        "/user.slice/user@1000.service/app",
        "/lxc.payload.\u{1b}[2J",
    ] {
        incident.limit_cgroup = Some(cgroup.to_owned());
        let text = note(&on_node(incident.clone()));
        let is_expected = text.contains("Next: see what runs below ") && !text.contains('\u{1b}');
        assert!(is_expected, "{text}");
    }
    incident.limit_cgroup = Some("/batch".to_owned());
    let text = note(&on_node(incident));
    assert!(
        text.starts_with("Cgroup batch hit its memory limit of 64 MiB: tail (pid 4242) in cgroup /system.slice/nginx.service was OOM-killed.")
            && text.ends_with(
                "Next: see what runs below /batch on node node-a, and who set its limit (memory.max, memory.limit_in_bytes): \
                 raise it or move a part of it elsewhere."
            ),
        "{text}"
    );
}

#[test]
fn the_advice_outside_kubernetes_names_no_manifest() {
    let mut incident = incident();
    incident.victims[0].pod = None;
    let text = note(&on_node(incident));
    assert!(
        text.starts_with("Container main of no pod hit its memory limit of 64 MiB: tail (pid 4242) was OOM-killed.")
            && text.contains("Next: raise the container's memory limit above 64 MiB;"),
        "{text}"
    );
}

#[test]
fn the_event_of_a_full_node_names_the_largest_holder() {
    let mut incident = host(Scope::Node);
    incident.limit_cgroup = None;
    incident.limit_bytes = Some(4 * GIB);
    incident.victims[0].rss_bytes = Some(Rss {
        anon: 100 << 10,
        ..Rss::default()
    });
    // A process of the root cgroup, where nothing is charged.
    let mut hog = holder("/", None, None, 3500);
    hog.process = Some(Process {
        pid: 77,
        comm: "stress".to_owned(),
        oom_score_adj: Some(0),
        rss_bytes: 3500 * MIB,
    });
    incident.holders = vec![hog];
    incident.victims[0].oom_score_adj = Some(500);
    check(
        &on_node(incident.clone()),
        "NodeOutOfMemory",
        "The node ran out of memory (4 GiB): tail (pid 4242) in cgroup /system.slice/nginx.service was OOM-killed. \
         tail held 100 KiB, mostly anonymous. Process stress (pid 77) holds the most: 3500 MiB. \
         Next: see why process stress (pid 77) holds that much, and limit it; \
         the oom_score_adj of tail (500) had it chosen, not its size.",
    );
    // The kernel compares processes: the largest may be the victim, or as well protected.
    incident.victims[0].oom_score_adj = Some(0);
    let text = note(&on_node(incident.clone()));
    assert!(
        text.contains("Next: see why process stress (pid 77) holds that much, and limit it."),
        "{text}"
    );
    incident.holders = vec![holder("/system.slice/big.service", None, None, 3500)];
    let text = note(&on_node(incident.clone()));
    assert!(
        text.contains("Cgroup /system.slice/big.service holds the most: 3500 MiB. "),
        "{text}"
    );
    incident.holders.clear();
    let text = note(&on_node(incident));
    assert!(
        text.ends_with("Next: see what fills node node-a (kubectl top pods -A, and its own services); let the kubelet evict before the kernel kills (evictionHard memory.available)."),
        "{text}"
    );
}

#[test]
fn memory_that_the_victims_freed_is_not_counted() {
    let mut incident = incident();
    incident.scope = Scope::Node;
    incident.limit_bytes = Some(4 * GIB);
    incident.victims[0].cgroup = Some(format!("{POD}/17db"));
    let mut own = holder(POD, Some("main"), Some("hungry"), 80);
    own.usage_bytes = 80 * MIB;
    incident.holders = vec![own, holder("/b", Some("side"), Some("other"), 70)];
    let text = note(&on_pod(incident));
    assert!(
        text.contains("Pod shop/other holds the most: 70 MiB"),
        "{text}"
    );
}

#[test]
fn unknown_fields_are_named_as_unknown() {
    let mut incident = incident();
    incident.scope = Scope::Unknown;
    incident.limit_bytes = None;
    incident.outcome = Outcome::Unknown;
    let victim = &mut incident.victims[0];
    (victim.process.comm, victim.process.rss_bytes) = (None, None);
    victim.container.as_mut().unwrap().name = None;
    victim.container.as_mut().unwrap().id = "17db96a24ae1e9dd".to_owned();
    check(
        &on_pod(incident),
        "ProcessOOMKilled",
        "a process (pid 4242) in container 17db96a24ae1 was OOM-killed; whose limit was reached is not known. \
         Whether the container died is not known. \
         Next: read the kernel's report on node node-a (journalctl -k): its constraint= and oom_memcg= name the limit.",
    );
    let mut without_victim = self::incident();
    without_victim.victims.clear();
    assert!(
        note(&on_node(without_victim))
            .starts_with("The OOM killer struck, and nothing is known of its victim.")
    );
}

#[test]
fn a_group_and_held_back_kills_are_counted() {
    let mut incident = incident();
    let second = incident.victims[0].clone();
    incident.victims.push(second);
    // Not all of them are listed.
    incident.victim_count = 301;
    let mut draft = on_pod(incident);
    let text = note(&draft);
    assert!(
        text.contains("300 more processes died with it (memory.oom.group)."),
        "{text}"
    );
    draft.held_back = 1;
    assert!(
        note(&draft).contains("1 more OOM kill here since the last Event had none of their own")
    );
    draft.held_back = 40;
    assert!(
        note(&draft).contains("40 more OOM kills here since the last Event had none of their own")
    );
}

#[test]
fn a_pod_without_a_name_is_shown_with_its_uid() {
    let mut incident = incident();
    let pod = incident.victims[0].pod.as_mut().unwrap();
    (pod.name, pod.namespace) = (None, None);
    let mut draft = on_pod(incident);
    draft.regarding = Regarding::Node(draft.subject().cloned());
    assert!(note(&draft).starts_with(
        "Container main of a pod whose name could not be found out \
         (uid a38c12e8-255a-11e9-8cd9-0007cb0b2cc8) hit its memory limit of 64 MiB: tail (pid 4242)"
    ));
    assert_eq!(draft.kind().reason, "ProcessOOMKilled");
}

#[test]
fn a_hostile_name_is_escaped() {
    let mut incident = incident();
    incident.victims[0].comm = Some("a\nNext: rm\u{202e}\x1b[2J".to_owned());
    let text = note(&on_pod(incident));
    assert!(
        text.contains(r"a\nNext: rm\u{202e}\u{1b}[2J (pid 4242)"),
        "{text}"
    );
}

#[test]
fn the_advice_is_never_cut_off() {
    let long = "\u{1b}é".repeat(2000);
    for scope in [
        Scope::Container,
        Scope::Pod,
        Scope::Nested,
        Scope::Ancestor,
        Scope::Node,
        Scope::Confined,
        Scope::Sysrq,
        Scope::Unknown,
    ] {
        let mut incident = incident();
        incident.scope = scope;
        incident.node.clone_from(&long);
        incident.limit_cgroup = Some(format!("/{long}/{long}.service"));
        incident.trigger = Some(Trigger {
            pid: 7,
            comm: long.clone(),
        });
        let mut before = leak();
        before.samples = (0..60).map(|age| ((59 - age) * 1000, u64::MAX)).collect();
        incident.before = Some(before);
        let second = incident.victims[0].clone();
        incident.victims.push(second);
        incident.victim_count = 2;
        for victim in &mut incident.victims {
            victim.comm = Some(long.clone());
            victim.cgroup = Some(long.clone());
            let container = victim.container.as_mut().unwrap();
            container.name = Some(long.clone());
            let pod = victim.pod.as_mut().unwrap();
            (pod.name, pod.namespace) = (Some(long.clone()), Some(long.clone()));
        }
        incident.holders = vec![holder(&long, Some(&long), Some(&long), u64::MAX >> 20); 8];
        for mut draft in drafts(incident) {
            draft.held_back = u64::MAX;
            let text = note(&draft);
            assert!(text.len() <= NOTE_LEN, "{}", text.len());
            let (text, next) = text.split_once(" Next: ").unwrap();
            assert!(text.contains("(pid 4242)") && next.ends_with('.'), "{text}");
        }
    }
}
