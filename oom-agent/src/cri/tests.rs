//! The client against a CRI server in this process, on a socket.

use std::collections::HashMap;
use std::time::Duration;

use proto::cri::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use proto::cri::*;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::{CALL_TIMEOUT, ContainerInfo, Cri, CriError, RuntimeSet, Socket, discover};
use crate::incident::{Container as OurContainer, Pod};
use crate::status_check::State;

pub(crate) const ID: &str = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";

const UID: &str = "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8";

/// The id of a pod's sandbox.
const SANDBOX: &str = "93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26";

/// How the server answers a list of containers.
#[derive(Clone)]
pub(crate) enum Answer {
    Containers(Vec<Container>),
    Refuse,
    Never,
}

struct Runtime(Answer);

#[tonic::async_trait]
impl RuntimeService for Runtime {
    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            runtime_name: "containerd".to_owned(),
            ..VersionResponse::default()
        }))
    }
    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        let filter = request.into_inner().filter.unwrap();
        let running = ContainerState::ContainerRunning as i32;
        let pod_uid = filter.label_selector.get("io.kubernetes.pod.uid");
        assert!(pod_uid.is_none_or(|uid| uid == UID));
        assert!(filter.state.is_none_or(|state| state.state == running));
        match self.0.clone() {
            Answer::Containers(mut containers) => {
                containers.retain(|it| filter.id.is_empty() || filter.id == it.id);
                Ok(Response::new(ListContainersResponse { containers }))
            }
            Answer::Refuse => Err(Status::internal("the disk is on fire")),
            Answer::Never => std::future::pending().await,
        }
    }
    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        let filter = request.into_inner().filter.unwrap();
        let Answer::Containers(containers) = &self.0 else {
            return Err(Status::internal("the disk is on fire"));
        };
        let sandbox = |attempt: u32| PodSandbox {
            id: SANDBOX.to_owned(),
            metadata: Some(PodSandboxMetadata {
                name: "hungry".to_owned(),
                namespace: "shop".to_owned(),
                uid: UID.to_owned(),
                attempt,
            }),
            created_at: i64::from(attempt),
            annotations: [("attempt".to_owned(), attempt.to_string())].into(),
            ..PodSandbox::default()
        };
        if !filter.label_selector.is_empty() {
            assert_eq!(filter.label_selector["io.kubernetes.pod.uid"], UID);
            let items = containers
                .iter()
                .flat_map(|_| [sandbox(1), sandbox(2), sandbox(0)]);
            return Ok(Response::new(ListPodSandboxResponse {
                items: items.collect(),
            }));
        }
        let matches = filter.id.is_empty() || filter.id == SANDBOX;
        let items = matches.then(|| sandbox(0)).into_iter().collect();
        Ok(Response::new(ListPodSandboxResponse { items }))
    }
    async fn container_status(
        &self,
        request: Request<ContainerStatusRequest>,
    ) -> Result<Response<ContainerStatusResponse>, Status> {
        let id = request.into_inner().container_id;
        let Answer::Containers(containers) = &self.0 else {
            return Err(Status::internal("the disk is on fire"));
        };
        let found = containers.iter().find(|container| container.id == id);
        let found = found.ok_or_else(|| Status::not_found("no such container"))?;
        let mut status = ContainerStatus {
            id,
            metadata: found.metadata.clone(),
            created_at: 1_760_000_000_000_000_000,
            labels: found.labels.clone(),
            ..ContainerStatus::default()
        };
        status.set_state(found.state());
        if found.state() == ContainerState::ContainerExited {
            status.exit_code = 137;
            status.reason = "OOMKilled".repeat(1000);
            status.finished_at = 1_760_000_001_500_000_000;
        } else {
            // containerd 1.x has the year 1 for never.
            status.finished_at = -6_795_364_578_871_345_152;
        }
        Ok(Response::new(ContainerStatusResponse {
            status: Some(status),
            ..Default::default()
        }))
    }
}

/// With a tokio runtime of its own, so that its connections end with it.
pub(crate) struct Server(Option<tokio::runtime::Runtime>);

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn serve(answer: Answer, socket: &Socket) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let listener = UnixListener::bind(socket.path()).unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(RuntimeServiceServer::new(Runtime(answer)))
        .serve_with_incoming(UnixListenerStream::new(listener));
    runtime.spawn(server);
    Server(Some(runtime))
}

pub(crate) fn socket() -> (tempfile::TempDir, Socket) {
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/cri.sock", dir.path().display());
    (dir, socket.parse().unwrap())
}

async fn find(cri: &Cri) -> Result<ContainerInfo, CriError> {
    tokio::time::timeout(Duration::from_mins(3), cri.find_container(ID, CALL_TIMEOUT))
        .await
        .unwrap()
}

pub(crate) fn container(labels: &[(&str, &str)]) -> Container {
    Container {
        id: ID.to_owned(),
        metadata: Some(ContainerMetadata {
            name: "from-metadata".to_owned(),
            attempt: 0,
        }),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<HashMap<_, _>>(),
        ..Container::default()
    }
}

#[tokio::test]
async fn the_kubelets_labels_name_the_pod_and_the_container() {
    let (_dir, socket) = socket();
    let listed = container(&[
        ("io.kubernetes.pod.name", "hungry"),
        ("io.kubernetes.pod.namespace", "default"),
        (
            "io.kubernetes.pod.uid",
            "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8",
        ),
        ("io.kubernetes.container.name", "main"),
    ]);
    let _server = serve(Answer::Containers(vec![listed]), &socket);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        find(&Cri::new(socket)).await.unwrap(),
        ContainerInfo {
            container: OurContainer {
                id: ID.to_owned(),
                name: some("main"),
                runtime: some("containerd")
            },
            pod: Some(Pod {
                namespace: some("default"),
                name: some("hungry"),
                uid: some("a38c12e8-255a-11e9-8cd9-0007cb0b2cc8")
            }),
        }
    );
}

#[tokio::test]
async fn a_container_without_labels_has_its_own_name_and_no_pod() {
    let (_dir, socket) = socket();
    let _server = serve(Answer::Containers(vec![container(&[])]), &socket);
    let found = find(&Cri::new(socket)).await.unwrap();
    assert_eq!(found.pod, None);
    assert_eq!(found.container.name.as_deref(), Some("from-metadata"));
}

#[tokio::test]
async fn a_pod_is_that_of_its_newest_sandbox() {
    let (_dir, socket) = socket();
    let _server = serve(Answer::Containers(vec![container(&[])]), &socket);
    let sandbox = Cri::new(socket.clone()).find_sandbox(UID).await.unwrap();
    assert_eq!(sandbox.pod.name.as_deref(), Some("hungry"));
    assert_eq!(sandbox.pod.namespace.as_deref(), Some("shop"));
    assert_eq!(sandbox.pod.uid.as_deref(), Some(UID));
    assert_eq!(sandbox.annotations["attempt"], "2");
    let (_dir, socket) = self::socket();
    let _server = serve(Answer::Containers(vec![]), &socket);
    let unknown = Cri::new(socket).find_sandbox(UID).await.unwrap_err();
    assert!(matches!(unknown, CriError::NotFound { .. }), "{unknown}");
}

#[tokio::test]
async fn an_unknown_container_a_refusal_and_a_timeout_each_have_their_error() {
    for (answer, expected) in [
        (Answer::Containers(vec![]), "does not know this container"),
        (Answer::Refuse, "the disk is on fire"),
        (Answer::Never, "did not answer within 500ms"),
    ] {
        let (_dir, socket) = socket();
        let _server = serve(answer, &socket);
        let error = find(&Cri::new(socket)).await.unwrap_err();
        let text = service::error_chain::chain(&error).to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn more_containers_than_one_message_allows_are_listed() {
    let (_dir, socket) = socket();
    // 8 MiB: more than a message on one container may have.
    let label = "x".repeat(8 << 10);
    let listed = (0..1024).map(|n| Container {
        id: format!("{n:064}"),
        ..container(&[("io.kubernetes.container.name", "main"), ("other", &label)])
    });
    let _server = serve(Answer::Containers(listed.collect()), &socket);
    let running = Cri::new(socket).list_running().await.unwrap();
    assert_eq!(running.len(), 1024);
    assert_eq!(running[7].container.id, format!("{:064}", 7));
    assert_eq!(running[7].container.name.as_deref(), Some("main"));
}

/// With `number` as id and creation time.
fn numbered(number: i64, state: ContainerState) -> Container {
    let mut container = Container {
        id: format!("{number:064}"),
        created_at: number,
        ..container(&[
            ("io.kubernetes.pod.name", "hungry"),
            ("io.kubernetes.container.name", "main"),
        ])
    };
    container.set_state(state);
    container
}

#[tokio::test]
async fn statuses_are_those_of_the_pod_and_of_the_given_ids() {
    let (_dir, socket) = socket();
    let listed = vec![
        numbered(1, ContainerState::ContainerExited),
        numbered(2, ContainerState::ContainerRunning),
    ];
    let _server = serve(Answer::Containers(listed), &socket);
    let cri = Cri::new(socket);
    // The first exists, the other is garbage-collected.
    let ids = vec![format!("{:064}", 1), format!("{:064}", 9)];
    let statuses = cri.read_statuses(Some(UID), ids).await.unwrap();
    let [exited, running] = statuses.as_slice() else {
        panic!("{statuses:?}");
    };
    assert_eq!(exited.container.id, format!("{:064}", 1));
    assert_eq!(exited.container.name.as_deref(), Some("main"));
    assert_eq!(exited.container.runtime.as_deref(), Some("containerd"));
    let pod = exited.pod.as_ref().unwrap();
    assert_eq!(pod.name.as_deref(), Some("hungry"));
    assert_eq!((exited.state, exited.exit_code), (State::Exited, 137));
    assert_eq!(exited.reason.len(), 253);
    assert_eq!(
        (
            exited.created.to_string(),
            exited.finished.unwrap().to_string()
        ),
        (
            "2025-10-09T08:53:20Z".to_owned(),
            "2025-10-09T08:53:21.5Z".to_owned()
        )
    );
    assert_eq!(
        (running.state, running.finished, running.is_oom_killed()),
        (State::Running, None, false)
    );
    // Without a pod, only the given ids.
    let alone = cri
        .read_statuses(None, vec![format!("{:064}", 2)])
        .await
        .unwrap();
    assert_eq!(alone.as_slice(), std::slice::from_ref(running));
}

#[tokio::test]
async fn in_a_large_pod_the_given_ids_and_the_newest_are_read() {
    let (_dir, socket) = socket();
    let many = (0..100).map(|n| numbered(n, ContainerState::ContainerRunning));
    let _server = serve(Answer::Containers(many.collect()), &socket);
    let statuses = Cri::new(socket)
        .read_statuses(Some(UID), vec![format!("{:064}", 3)])
        .await
        .unwrap();
    let ids: Vec<&str> = statuses
        .iter()
        .map(|status| status.container.id.trim_start_matches('0'))
        .collect();
    assert_eq!((ids.len(), ids[0], ids[1], ids[31]), (32, "3", "99", "69"));
}

#[tokio::test]
async fn a_refusal_counts_as_an_answer() {
    for (answer, answered) in [
        (Some(Answer::Containers(vec![])), true),
        (Some(Answer::Refuse), true),
        (Some(Answer::Never), false),
        (None, false),
    ] {
        let (_dir, socket) = socket();
        let _server = answer.map(|answer| serve(answer, &socket));
        let cri = Cri::new(socket);
        assert_eq!(cri.answered(), None);
        let _result = find(&cri).await;
        assert_eq!(cri.answered(), Some(answered));
    }
}

#[tokio::test]
async fn a_runtime_that_starts_late_or_restarts_is_found() {
    let (_dir, socket) = socket();
    let cri = Cri::new(socket.clone());
    let error = find(&cri).await.unwrap_err();
    assert!(
        service::error_chain::chain(&error)
            .to_string()
            .contains("No such file or directory"),
        "{}",
        service::error_chain::chain(&error)
    );
    for _ in 0..2 {
        let server = serve(Answer::Containers(vec![container(&[])]), &socket);
        find(&cri).await.unwrap();
        drop(server);
        std::fs::remove_file(socket.path()).unwrap();
        // The connection ends with its server, and the next call fails at once.
        let gone = async {
            while find(&cri).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(3), gone)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn every_socket_that_answers_is_a_runtime() {
    let root = tempfile::tempdir().unwrap();
    assert!(discover(root.path(), &[]).await.runtimes.is_empty());
    let at = |path: &str| -> Socket {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path.to_str().unwrap().parse().unwrap()
    };
    // A file that is no socket, and two runtimes.
    std::fs::write(at("run/containerd/containerd.sock").path(), "").unwrap();
    let (crio, k3s) = (
        at("run/crio/crio.sock"),
        at("run/k3s/containerd/containerd.sock"),
    );
    let _servers = [serve(Answer::Refuse, &crio), serve(Answer::Refuse, &k3s)];
    let find_more = async |known: &[Cri]| {
        let found = tokio::time::timeout(Duration::from_mins(3), discover(root.path(), known));
        found.await.unwrap().runtimes
    };
    let found = find_more(&[]).await;
    let sockets: Vec<&Socket> = found.iter().map(Cri::socket).collect();
    assert_eq!(sockets, [&crio, &k3s]);
    // Known runtimes are left out.
    let more = find_more(&found[..1]).await;
    assert_eq!(more[0].socket(), &k3s);
}

#[tokio::test]
async fn a_pods_sandbox_names_its_pod_and_no_container() {
    let (_dir, socket) = socket();
    let _server = serve(Answer::Containers(vec![]), &socket);
    let found = Cri::new(socket)
        .find_container(SANDBOX, CALL_TIMEOUT)
        .await
        .unwrap();
    assert_eq!(
        (found.container.id.as_str(), found.container.name),
        (SANDBOX, None)
    );
    let pod = found.pod.unwrap();
    assert_eq!(
        (
            pod.namespace.as_deref(),
            pod.name.as_deref(),
            pod.uid.as_deref()
        ),
        (Some("shop"), Some("hungry"), Some(UID))
    );
}

#[tokio::test]
async fn all_containers_are_listed_with_the_sandboxes() {
    let (_dir, socket) = socket();
    let _server = serve(Answer::Containers(vec![container(&[])]), &socket);
    let all = Cri::new(socket)
        .list_all(Duration::from_mins(3))
        .await
        .unwrap();
    let ids: Vec<&str> = all.iter().map(|it| it.container.id.as_str()).collect();
    assert_eq!(ids, [ID, SANDBOX]);
}

#[tokio::test]
async fn of_several_runtimes_the_one_that_knows_the_container_answers() {
    let start = |answers: Vec<Answer>| {
        let started = answers.into_iter().map(|answer| {
            let (dir, socket) = socket();
            let server = serve(answer, &socket);
            (Cri::new(socket), (dir, server))
        });
        let (cris, kept): (Vec<_>, Vec<_>) = started.unzip();
        (RuntimeSet(cris), kept)
    };
    let knows = || Answer::Containers(vec![container(&[])]);
    let knows_none = || Answer::Containers(vec![]);
    let limit = Duration::from_millis(500);
    for answers in [
        vec![knows_none(), knows()],
        vec![knows(), knows_none()],
        vec![Answer::Refuse, knows()],
        vec![Answer::Never, knows()],
    ] {
        let (runtimes, _kept) = start(answers);
        // A hanging one delays nothing.
        let found = runtimes.find_container(ID, Duration::from_hours(1)).await;
        assert_eq!(found.unwrap().unwrap().container.id, ID);
    }
    // One that failed might have known it.
    let (runtimes, _kept) = start(vec![Answer::Refuse, knows_none()]);
    let error = runtimes
        .find_container(ID, limit)
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, CriError::Call { .. }), "{error}");
    let (runtimes, _kept) = start(vec![knows_none(), knows_none()]);
    let error = runtimes
        .find_container(ID, limit)
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, CriError::NotFound { .. }), "{error}");
    assert!(
        runtimes
            .read_statuses(None, &[ID.to_owned()])
            .await
            .unwrap()
            .unwrap()
            .is_empty()
    );
    assert!(RuntimeSet(vec![]).find_container(ID, limit).await.is_none());
    let (runtimes, _kept) = start(vec![Answer::Refuse, knows()]);
    assert!(
        runtimes.list_running().await.unwrap().is_err(),
        "not all are known"
    );
    let (runtimes, _kept) = start(vec![knows_none(), knows()]);
    assert_eq!(runtimes.list_running().await.unwrap().unwrap().len(), 1);
    let statuses = runtimes.read_statuses(Some(UID), &[ID.to_owned()]).await;
    assert_eq!(statuses.unwrap().unwrap().len(), 1);
}

/// Sends `answer` to every peer that has sent something.
pub(crate) fn serve_bytes(socket: &Socket, answer: &'static [u8]) {
    let listener = UnixListener::bind(socket.path()).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 16];
            // The peer may have closed.
            let _closed = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let _closed = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        }
    });
}

#[tokio::test]
async fn the_error_of_a_socket_without_cri_v1_names_what_it_speaks() {
    const DOCKER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nServer: Docker/28.0 (linux)\r\n\r\n";
    for (answer, expected) in [
        (DOCKER, "Docker's own API"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "HTTP/1, not gRPC"),
        (b"-ERR unknown command\r\n", "does not speak gRPC"),
    ] {
        let (_dir, socket) = socket();
        serve_bytes(&socket, answer);
        let error = find(&Cri::new(socket)).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, CriError::Foreign { .. }), "{error:?}");
        assert!(
            text.contains("has no CRI v1") && text.contains(expected),
            "{text}"
        );
    }
}

fn serve_routes(socket: &Socket, routes: tonic::service::Routes) {
    let listener = UnixListener::bind(socket.path()).unwrap();
    let server = tonic::transport::Server::builder().add_routes(routes);
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
}

/// The one call of CRI v1alpha2 that is made.
#[derive(Clone)]
struct Alpha;

impl tonic::server::NamedService for Alpha {
    const NAME: &'static str = "runtime.v1alpha2.RuntimeService";
}

impl tower::Service<http::Request<tonic::body::Body>> for Alpha {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        // v1 serves it, too, by another path.
        let (mut parts, body) = request.into_parts();
        assert_eq!(parts.uri.path(), "/runtime.v1alpha2.RuntimeService/Version");
        parts.uri = "/runtime.v1.RuntimeService/Version".parse().unwrap();
        let mut server = RuntimeServiceServer::new(Runtime(Answer::Refuse));
        Box::pin(async move { server.call(http::Request::from_parts(parts, body)).await })
    }
}

#[tokio::test]
async fn the_error_of_grpc_without_cri_v1_names_its_version() {
    for (routes, expected) in [
        (tonic::service::Routes::default(), "without CRI"),
        (tonic::service::Routes::new(Alpha), "CRI v1alpha2 only"),
    ] {
        let (_dir, socket) = socket();
        serve_routes(&socket, routes);
        let error = find(&Cri::new(socket)).await.unwrap_err();
        assert!(matches!(error, CriError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
