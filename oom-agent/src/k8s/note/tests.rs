//! The words, whole: read them as somebody does who was woken by them.

use std::sync::Arc;

use crate::incident::{Growth, Incident, OutOfMemory, Outcome, Rss, Scope, Trigger};
use crate::k8s::draft::{self, Draft, On};
use crate::k8s::fake::{incident, leak};

use super::{NOTE_LEN, note, reason};

fn drafts(incident: Incident) -> Vec<Draft> {
    draft::of(&Arc::new(incident), true)
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
    incident.outcome = Outcome::Unknown;
    incident.scope = scope;
    incident
}

fn check(draft: &Draft, expect_reason: &str, expect: &str) {
    assert_eq!(note(draft), expect);
    assert_eq!(reason(draft), expect_reason);
}

#[test]
fn a_container_at_its_limit() {
    check(
        &on_pod(incident()),
        "OOMKilled",
        "Container main was OOM-killed: tail (pid 4242), holding 63.5 MiB (63 MiB anonymous, 512 KiB of files), died \
         when the container reached its memory limit of 64 MiB. \
         It was the container's first process, so the container died; its restartPolicy decides what follows. \
         Next: if main needs that much, raise its resources.limits.memory above 64 MiB; \
         if its memory only ever grows, look for the leak in tail.",
    );
}

#[test]
fn the_minute_before_is_a_picture_with_words() {
    let mut incident = incident();
    incident.before = Some(leak());
    let told = "its restartPolicy decides what follows. In the minute before: ▅▇█ a leak: +1.0 MiB/s, \
                from half to the limit in 32 s. Next: ";
    let text = note(&on_pod(incident.clone()));
    assert!(text.contains(told), "{text}");
    // A picture without a verdict only takes room.
    incident.before.as_mut().unwrap().verdict = Growth::Unknown;
    let text = note(&on_pod(incident));
    assert!(!text.contains("minute before"), "{text}");
}

#[test]
fn a_child_that_kubernetes_may_not_report() {
    let mut incident = incident();
    incident.outcome = Outcome::ChildDied;
    incident.victims[0].namespace_pid = Some(9);
    incident.victims[0].first_process = Some(false);
    incident.victims[0].rss_bytes.as_mut().unwrap().anon = 20 << 20;
    incident.trigger = Some(Trigger {
        pid: 7,
        comm: "server".to_owned(),
    });
    check(
        &on_pod(incident),
        "ProcessOOMKilled",
        "A process in container main was OOM-killed: tail (pid 4242), holding 20.5 MiB (20 MiB anonymous, 512 KiB of files), died \
         when the container reached its memory limit of 64 MiB. \
         The container's first process was not killed, so the container may go on without it, and Kubernetes may report nothing. \
         It held less than half of the limit: other processes, or files in memory-backed volumes, hold the rest. \
         Set off by an allocation of server (pid 7). \
         Next: if main needs that much, raise its resources.limits.memory above 64 MiB; \
         if its memory only ever grows, look for the leak in tail.",
    );
}

#[test]
fn a_pod_at_its_limit_with_a_full_tmpfs() {
    let mut incident = incident();
    incident.scope = Scope::Pod;
    incident.limit_bytes = Some(128 << 20);
    incident.victims[0].rss_bytes = Some(Rss {
        anon: 1 << 20,
        file: 0,
        shmem: 100 << 20,
    });
    check(
        &on_pod(incident),
        "OOMKilled",
        "Container main was OOM-killed: tail (pid 4242), holding 101 MiB (1 MiB anonymous, 100 MiB shared), died \
         when the pod reached its memory limit of 128 MiB, which its containers and its memory-backed volumes share. \
         It was the container's first process, so the container died; its restartPolicy decides what follows. \
         Most of that is shared memory: files in memory-backed volumes and /dev/shm count. \
         Next: see which container grows and what lies in the pod's emptyDir volumes of medium Memory and in /dev/shm \
         (files there count until they are deleted, over restarts of a container too); \
         then raise the limit, or give those volumes a sizeLimit.",
    );
}

#[test]
fn all_pods_of_the_node_together() {
    let mut incident = incident();
    incident.scope = Scope::Ancestor;
    incident.limit_cgroup = Some("/kubepods.slice/kubepods-burstable.slice".to_owned());
    incident.limit_bytes = Some(6 << 30);
    let text = note(&on_pod(incident));
    assert!(
        text.contains("when cgroup /kubepods.slice/kubepods-burstable.slice reached its memory limit of 6 GiB, which all below it share.")
            && text.ends_with("Next: this is what the kubelet leaves to all pods of node node-a together, and no pod's own limit: \
                set memory requests to what the pods use, so that fewer run here, or lower the kubelet's systemReserved and kubeReserved."),
        "{text}"
    );
}

#[test]
fn a_service_of_the_host_at_its_limit() {
    let mut incident = host(Scope::Ancestor);
    incident.limit_cgroup = Some("/system.slice/nginx.service".to_owned());
    check(
        &on_node(incident),
        "ProcessOOMKilled",
        "A process was OOM-killed: tail (pid 4242) in cgroup /system.slice/nginx.service, \
         holding 63.5 MiB (63 MiB anonymous, 512 KiB of files), died \
         when cgroup /system.slice/nginx.service reached its memory limit of 64 MiB, which all below it share. \
         Next: see what runs in it (systemd-cgls on node node-a) and raise MemoryMax= of nginx.service, \
         or move a part of it elsewhere.",
    );
}

#[test]
fn a_container_that_kubernetes_does_not_run() {
    let mut incident = incident();
    incident.victims[0].pod = None;
    let text = note(&on_node(incident));
    assert!(
        text.starts_with("A process was OOM-killed: tail (pid 4242) in container main of no pod, holding 63.5 MiB")
            && text.contains("Next: if the container needs that much, raise its memory limit above 64 MiB;"),
        "{text}"
    );
}

#[test]
fn a_cgroup_that_no_service_manages() {
    let mut incident = host(Scope::Ancestor);
    incident.limit_cgroup = Some("/batch".to_owned());
    assert!(note(&on_node(incident)).ends_with(
        "Next: see what runs below it on node node-a, and who set its limit (memory.max, memory.limit_in_bytes): \
         raise it or move a part of it elsewhere."
    ));
}

#[test]
fn a_node_without_memory() {
    let mut incident = incident();
    incident.scope = Scope::Node;
    incident.limit_bytes = Some((16 << 30) - (1 << 20));
    check(
        &on_pod(incident.clone()),
        "OOMKilled",
        "Container main was OOM-killed: tail (pid 4242), holding 63.5 MiB (63 MiB anonymous, 512 KiB of files), died \
         because node node-a had no memory left of its 15.9 GiB; no limit was reached. \
         It was the container's first process, so the container died; its restartPolicy decides what follows. \
         Next: see what fills node node-a (kubectl top pods, and its own services); \
         set the memory request of main to what it uses, so that it runs where there is room and is chosen later; \
         let the kubelet evict before the kernel kills (evictionHard memory.available).",
    );
    let text = note(&on_node(incident.clone()));
    assert!(
        text.starts_with("A process was OOM-killed: tail (pid 4242) in container main of pod shop/hungry, holding 63.5 MiB")
            && text.contains("set memory requests to what the pods use;"),
        "{text}"
    );
    assert_eq!(reason(&on_node(incident.clone())), "NodeOutOfMemory");
    incident.oom = Some(OutOfMemory {
        gfp_mask: 0xcc0,
        order: 0,
        constraint: "cpuset".to_owned(),
    });
    let text = note(&on_node(incident));
    assert!(
        text.contains("because the part of node node-a's memory that the allocation was confined to (cpuset) was full"),
        "{text}"
    );
}

#[test]
fn somebody_asked_for_it() {
    let mut incident = host(Scope::Sysrq);
    incident.limit_bytes = None;
    check(
        &on_node(incident),
        "SysrqOOMKilled",
        "A process was OOM-killed: tail (pid 4242) in cgroup /system.slice/nginx.service, \
         holding 63.5 MiB (63 MiB anonymous, 512 KiB of files), died \
         because somebody asked the kernel of node node-a for it (SysRq f); no limit was reached. \
         Next: ask who works on node node-a: a person or a tool wrote f to /proc/sysrq-trigger or pressed the keys. \
         Nothing has to be resized.",
    );
}

#[test]
fn little_is_known() {
    let mut incident = incident();
    incident.scope = Scope::Unknown;
    incident.limit_bytes = None;
    incident.outcome = Outcome::Unknown;
    let victim = &mut incident.victims[0];
    (victim.comm, victim.rss_bytes) = (None, None);
    victim.container.as_mut().unwrap().name = None;
    victim.container.as_mut().unwrap().id = "17db96a24ae1e9dd".to_owned();
    check(
        &on_pod(incident),
        "ProcessOOMKilled",
        "A process in container 17db96a24ae1 was OOM-killed: a process (pid 4242) died; whose limit was reached is not known. \
         Whether the container died is not known. \
         Next: compare the sizes with the limits of container and pod; the kernel's own report is in the log of node node-a \
         (journalctl -k --grep oom).",
    );
    let mut nobody = self::incident();
    nobody.victims.clear();
    assert!(
        note(&on_node(nobody))
            .starts_with("The OOM killer struck, and nothing is known of its victim.")
    );
}

#[test]
fn a_group_and_what_was_held_back() {
    let mut incident = incident();
    let second = incident.victims[0].clone();
    incident.victims.push(second);
    let mut draft = on_pod(incident);
    let text = note(&draft);
    assert!(
        text.contains("1 more of its group was killed with it (memory.oom.group)."),
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
fn a_pod_whose_name_never_came() {
    let mut incident = incident();
    let pod = incident.victims[0].pod.as_mut().unwrap();
    (pod.name, pod.namespace) = (None, None);
    let mut draft = on_pod(incident);
    draft.on = On::Node(draft.subject().cloned());
    assert!(note(&draft).starts_with(
        "A process was OOM-killed: tail (pid 4242) in container main of a pod whose name could not be found out \
         (uid a38c12e8-255a-11e9-8cd9-0007cb0b2cc8), holding"
    ));
    assert_eq!(reason(&draft), "ProcessOOMKilled");
}

#[test]
fn a_hostile_name_forges_nothing() {
    let mut incident = incident();
    incident.victims[0].comm = Some("a\nNext: rm\u{202e}\x1b[2J".to_owned());
    let text = note(&on_pod(incident));
    assert!(
        text.contains(r"a\nNext: rm\u{202e}\u{1b}[2J (pid 4242)"),
        "{text}"
    );
}

#[test]
fn whatever_the_names_the_next_step_is_whole() {
    let long = "\u{1b}é".repeat(2000);
    for scope in [
        Scope::Container,
        Scope::Pod,
        Scope::Ancestor,
        Scope::Node,
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
        for victim in &mut incident.victims {
            victim.comm = Some(long.clone());
            victim.cgroup = Some(long.clone());
            let container = victim.container.as_mut().unwrap();
            container.name = Some(long.clone());
            let pod = victim.pod.as_mut().unwrap();
            (pod.name, pod.namespace) = (Some(long.clone()), Some(long.clone()));
        }
        for mut draft in drafts(incident) {
            draft.held_back = u64::MAX;
            let text = note(&draft);
            assert!(text.len() <= NOTE_LEN, "{}", text.len());
            let (told, next) = text.split_once(" Next: ").unwrap();
            assert!(told.contains("(pid 4242)") && next.ends_with('.'), "{text}");
        }
    }
}
