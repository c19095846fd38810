//! The names against a container runtime of this process.

use memcg::{MemoryReader, NodeRoot};
use tokio::time::timeout;

use super::*;
use crate::cri;
use crate::cri::tests::{Answer, ID, container, serve, socket};
use crate::host::Host;
use crate::incident::{Container, Incident, Victim};
use crate::pipeline::resolve::Resolver;
use crate::pipeline::sampling::Watched;

const WITHIN: Duration = Duration::from_secs(20);

struct Scene {
    names: Arc<Names>,
    resolver: Arc<Resolver>,
    runtimes: Arc<Runtimes>,
}

fn scene(socket: &cri::Socket, node: &str) -> Scene {
    let runtimes = Arc::new(Runtimes::new(Some(socket.clone())));
    let names = Arc::new(Names::new(NameCounts::default()));
    let resolver = Resolver::new(
        Host::read(None),
        None,
        MemoryReader::new(Err("not mounted".to_owned()), "/proc"),
        &Watched::default(),
        NodeRoot::new(node),
        Arc::clone(&names),
        Arc::clone(&runtimes),
    );
    Scene {
        names,
        resolver,
        runtimes,
    }
}

impl Scene {
    /// Runs the background's part until `id` has a name.
    async fn until_named(&self, id: &str) -> Identity {
        let named = async {
            loop {
                if let Some(found) = self.names.get(id) {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        let ask = Arc::clone(&self.names).ask(Arc::clone(&self.runtimes));
        tokio::select! {
            found = timeout(WITHIN, named) => found.unwrap(),
            () = ask => unreachable!("it asks until it is dropped"),
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
        cgroup: Some((*path).to_owned()),
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
async fn a_kill_is_named_though_the_runtime_hangs_by_then() {
    let (_dir, socket) = socket();
    let path = format!("/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/{ID}");
    let scene = scene(&socket, "");
    let server = serve(Answer::Containers(vec![labelled()]), &socket);
    scene.names.notice(&path, true);
    scene.until_named(ID).await;
    drop(server);
    std::fs::remove_file(socket.path()).unwrap();
    let _hangs = serve(Answer::Never, &socket);
    // Its cgroup may be gone before its kill is told.
    scene.names.notice(&path, false);
    let mut incident = incident(&[&path]);
    assert!(scene.resolver.name_known(&mut incident), "nobody is asked");
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
async fn a_runtime_that_comes_late_is_asked_again() {
    let (_dir, socket) = socket();
    let scene = scene(&socket, "");
    scene.names.notice(&format!("/docker/{ID}"), true);
    scene.names.ask_for(ID, &scene.runtimes).await;
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
        .resolver
        .name(incident(&[&format!("/docker/{ID}")]))
        .await;
    let says = &named.degraded[0];
    assert!(
        says.starts_with("victims[0].container.name: the socket unix://"),
        "{says}"
    );
    assert!(
        says.contains("has no CRI v1: it speaks Docker's own API"),
        "{says}"
    );
}

#[tokio::test]
async fn a_container_that_no_event_is_written_of_yet_is_asked_for_meanwhile() {
    let (_dir, socket) = socket();
    let _server = serve(Answer::Containers(vec![labelled()]), &socket);
    let scene = scene(&socket, "");
    let later = crate::pipeline::naming::Later(Arc::clone(&scene.names));
    assert!(crate::sinks::Names::name(&later, ID).is_none());
    scene.until_named(ID).await;
    let (container, pod) = crate::sinks::Names::name(&later, ID).unwrap();
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
    let named = scene.resolver.name(incident(&paths)).await;
    assert!(start.elapsed() < cri::PATIENCE * 2, "{:?}", start.elapsed());
    assert_eq!(named.degraded.len(), 40, "{:?}", named.degraded);
    assert!(named.degraded[0].contains("did not answer within 500ms"));
}

#[tokio::test]
async fn what_lies_outside_of_the_nodes_cgroups_is_another_nodes_unless_a_runtime_knows_it() {
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
        let named = scene.resolver.name(incident(&[path])).await;
        assert_eq!(scene.resolver.is_elsewhere(&named), is_elsewhere, "{path}");
    }
    let mut unread = incident(&["/docker/node-b"]);
    unread.victims[0].cgroup = None;
    assert!(!scene.resolver.is_elsewhere(&unread));
    let whole = self::scene(&socket, "");
    assert!(
        !whole
            .resolver
            .is_elsewhere(&incident(&["/docker/node-b/x"]))
    );
}
