//! The names against a container runtime in this process.

use memcg::{MemoryReader, NodeRoot};
use tokio::time::timeout;

use super::*;
use crate::cri;
use crate::cri::tests::{Answer, ID, container, serve, socket};
use crate::enrich::Enricher;
use crate::host::Host;
use crate::incident::{Incident, Victim};

const WITHIN: Duration = Duration::from_secs(20);

struct Scene {
    names: Arc<ContainerNames>,
    enricher: Arc<Enricher>,
    runtimes: Arc<Runtimes>,
}

fn scene(socket: &cri::Socket, node: &str) -> Scene {
    let runtimes = Arc::new(Runtimes::new(Some(socket.clone())));
    let names = Arc::new(ContainerNames::new(NameCounts::default()));
    let enricher = Enricher::new(
        Host::read(None),
        None,
        MemoryReader::new(Err("not mounted".to_owned()), "/proc"),
        pressure::FlightRecorder::default(),
        NodeRoot::new(node),
        Arc::clone(&names),
        Arc::clone(&runtimes),
    );
    Scene {
        names,
        enricher,
        runtimes,
    }
}

impl Scene {
    /// Runs the background queries until `id` has a name.
    async fn until_named(&self, id: &str) -> ContainerInfo {
        let named = async {
            loop {
                if let Some(found) = self.names.get(id) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        let queries = Arc::clone(&self.names).keep_current(Arc::clone(&self.runtimes));
        tokio::select! {
            found = timeout(WITHIN, named) => found.unwrap(),
            () = queries => unreachable!("they run until they are dropped"),
        }
    }
}

fn labelled() -> proto::cri::Container {
    container(&[
        ("io.kubernetes.pod.name", "hungry"),
        ("io.kubernetes.pod.namespace", "shop"),
        ("io.kubernetes.container.name", "main"),
    ])
}

/// With a victim in each of these cgroups.
fn incident(cgroups: &[&str]) -> Incident {
    let victim = |path: &&str| Victim {
        process: oom_capture::Process {
            cgroup: Some((*path).to_owned()),
            ..oom_capture::Process::default()
        },
        container: cgroup::parse_path(path).container_id.map(|id| Container {
            id,
            ..Container::default()
        }),
        ..Victim::default()
    };
    Incident {
        victims: cgroups.iter().map(victim).collect(),
        ..crate::k8s::fake::incident()
    }
}

#[tokio::test]
async fn a_kill_has_its_names_though_the_runtime_hangs_by_then() {
    let (_dir, socket) = socket();
    let path = format!("/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/{ID}");
    let scene = scene(&socket, "");
    let server = serve(Answer::Containers(vec![labelled()]), &socket);
    scene.names.note_cgroup(&path, true);
    scene.until_named(ID).await;
    drop(server);
    std::fs::remove_file(socket.path()).unwrap();
    let _hangs = serve(Answer::Never, &socket);
    // Its cgroup may be gone before its kill is reported.
    scene.names.note_cgroup(&path, false);
    let mut incident = incident(&[&path]);
    assert!(
        scene.enricher.add_known_names(&mut incident),
        "no runtime is queried"
    );
    let victim = &incident.victims[0];
    let container = victim.container.as_ref().unwrap();
    assert_eq!(container.name.as_deref(), Some("main"));
    let pod = victim.pod.as_ref().unwrap();
    assert_eq!(
        (pod.namespace.as_deref(), pod.name.as_deref()),
        (Some("shop"), Some("hungry"))
    );
    assert_eq!(incident.degraded, Vec::<String>::new());
}

#[tokio::test]
async fn containers_from_before_the_agent_are_known_though_no_cgroup_is_watched() {
    let (_dir, socket) = socket();
    let _server = serve(Answer::Containers(vec![labelled()]), &socket);
    let found = scene(&socket, "").until_named(ID).await;
    assert_eq!(found.container.name.as_deref(), Some("main"));
}

#[tokio::test]
async fn a_runtime_that_starts_late_is_queried_again() {
    let (_dir, socket) = socket();
    let scene = scene(&socket, "");
    scene.names.note_cgroup(&format!("/docker/{ID}"), true);
    scene.names.query(ID, &scene.runtimes).await;
    assert_eq!(scene.names.counts.failed.get(), 1);
    let _server = serve(Answer::Containers(vec![labelled()]), &socket);
    scene.until_named(ID).await;
}

#[tokio::test]
async fn a_socket_without_cri_is_named_where_the_name_is_missing() {
    let (_dir, socket) = socket();
    crate::cri::tests::serve_bytes(
        &socket,
        b"HTTP/1.1 400 Bad Request\r\nServer: Docker/28\r\n\r\n",
    );
    let named = scene(&socket, "")
        .enricher
        .add_names(incident(&[&format!("/docker/{ID}")]))
        .await;
    let reason = &named.degraded[0];
    assert!(
        reason.starts_with("victims[0].container.name: the socket unix://"),
        "{reason}"
    );
    assert!(
        reason.contains("has no CRI v1: it speaks Docker's own API"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_container_whose_event_waits_is_queried_for() {
    let (_dir, socket) = socket();
    let _server = serve(Answer::Containers(vec![labelled()]), &socket);
    let scene = scene(&socket, "");
    assert!(scene.names.get_or_request(ID).is_none());
    scene.until_named(ID).await;
    let (container, pod) = scene.names.get_or_request(ID).unwrap();
    assert_eq!(container.name.as_deref(), Some("main"));
    assert_eq!(pod.unwrap().name.as_deref(), Some("hungry"));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_hangs_costs_a_group_of_containers_one_wait() {
    let (_dir, socket) = socket();
    let _hangs = serve(Answer::Never, &socket);
    let scene = scene(&socket, "");
    let paths: Vec<String> = (0..20).map(|n| format!("/docker/{n:064x}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let start = tokio::time::Instant::now();
    let named = scene.enricher.add_names(incident(&paths)).await;
    assert!(
        start.elapsed() < cri::CALL_TIMEOUT * 2,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(named.degraded.len(), 40, "{:?}", named.degraded);
    assert!(named.degraded[0].contains("did not answer within 500ms"));
}

#[tokio::test]
async fn a_kill_outside_of_the_nodes_cgroups_is_another_nodes_unless_a_runtime_knows_it() {
    let (_dir, socket) = socket();
    let _server = serve(Answer::Containers(vec![labelled()]), &socket);
    let scene = scene(&socket, "/docker/node-a");
    let other = "0".repeat(64);
    let other = format!("/docker/node-b/kubepods/pod1/{other}");
    let ours = format!("/docker/node-b/kubepods/pod1/{ID}");
    for (path, is_elsewhere) in [
        ("/docker/node-a/system.slice/kubelet.service", false),
        ("/docker/node-a/kubepods/pod1/x", false),
        ("/docker/node-b/system.slice/kubelet.service", true),
        ("/system.slice/sshd.service", true),
        (other.as_str(), true),
        (ours.as_str(), false),
    ] {
        let named = scene.enricher.add_names(incident(&[path])).await;
        assert_eq!(scene.enricher.is_elsewhere(&named), is_elsewhere, "{path}");
    }
    let mut unread = incident(&["/docker/node-b"]);
    unread.victims[0].cgroup = None;
    assert!(!scene.enricher.is_elsewhere(&unread));
    let whole = self::scene(&socket, "");
    assert!(
        !whole
            .enricher
            .is_elsewhere(&incident(&["/docker/node-b/x"]))
    );
}
