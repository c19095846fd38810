//! Paths as machines show them. Their ids are abbreviated: see [`expand`].

use super::{Identity, Runtime, parse, parse_bytes};

const ID: &str = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";
const OUTER: &str = "93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26";
const UID: &str = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
const HASH: &str = "9729a196c4723b60ab401eaff722982d";

const CONTAINERD: Option<Runtime> = Some(Runtime::Containerd);
const CRIO: Option<Runtime> = Some(Runtime::CriO);
const DOCKER: Option<Runtime> = Some(Runtime::Docker);
const PODMAN: Option<Runtime> = Some(Runtime::Podman);
const NERDCTL: Option<Runtime> = Some(Runtime::Nerdctl);

#[test]
fn cgroupfs_driver_names_pod_and_container_but_no_runtime() {
    for path in [
        "/kubepods/pod<uid>/<id>",
        "/kubepods/burstable/pod<uid>/<id>",
        "/kubepods/besteffort/pod<uid>/<id>",
        "/kubepods/burstable/pod<u_i_d>/<id>",
        "/k8s/kubepods/burstable/pod<uid>/<id>",
        "kubepods/pod<uid>/<id>",
        "/pod<uid>/<id>",
        // A gVisor sandbox and its containers look no different.
        "/kubepods/besteffort/pod<uid>/<id>/",
        "/kubepods//besteffort/pod<uid>///<id>//",
        "/kubepods/besteffort/pod<uid>/<id> (deleted)",
        "/kubepods/besteffort/pod<uid>/<id>/ (deleted)",
        "/kubepods/besteffort/pod<uid>/<id>/kube-proxy",
        "/kubepods/besteffort/pod<uid>/<id>/init.scope",
        "/kubepods/besteffort/pod<uid>/<id>/system.slice/nginx.service (deleted)",
        "/kubepods/besteffort/pod<uid>/<id>/user.slice/user-0.slice/session-1.scope",
        // Seen from within another cgroup namespace.
        "/../../../burstable/pod<uid>/<id>",
        "/../../pod<uid>/<id>/child",
        // Docker Desktop, kind, minikube and k3d: the node is a container itself.
        "/kubepods/kubepods/besteffort/pod<uid>/<id>",
        "/docker/<outer>/kubepods/besteffort/pod<uid>/<id>",
        "/docker/<outer>/kubelet/kubepods/burstable/pod<uid>/<id>",
        "/docker/<outer>/k3s/kubepods/pod<uid>/<id>",
        "/actions_job/<outer>/kubepods/burstable/pod<uid>/<id>",
        "/libpod_parent/libpod-<outer>/kubepods/pod<uid>/<id>",
        "/system.slice/docker-<outer>.scope/kubepods/burstable/pod<uid>/<id>",
        // A node in a pod: the innermost pod counts.
        "/kubepods/podffffffff-0000-4000-8000-ffffffffffff/<outer>/kubepods/pod<uid>/<id>",
        "/lxc.payload.node-1/kubepods/burstable/pod<uid>/<id>",
        "/user.slice/user-1000.slice/user@1000.service/k3s/kubepods/burstable/pod<uid>/<id>",
        // Docker and Podman in a pod: the node's runtime knows the pod's container only.
        "/kubepods/burstable/pod<uid>/<id>/docker/<outer>",
        "/kubepods/burstable/pod<uid>/<id>/libpod_parent/libpod-<outer>",
        "/kubepods/burstable/pod<uid>/<id>/system.slice/docker-<outer>.scope",
        // Kata.
        "/kubepods/burstable/pod<uid>/kata_<id>",
        "/kata_overhead/kubepods/burstable/pod<uid>/<id>",
    ] {
        check(path, Some(UID), Some(ID), None);
    }
    check(
        "/kubepods/burstable/pod<hash>/<id>",
        Some(HASH),
        Some(ID),
        None,
    );
    check("/kubepods/pod<hash>/<id>/etcd", Some(HASH), Some(ID), None);
}

#[test]
fn a_scope_names_its_runtime() {
    for path in [
        "/kubepods/pod<uid>/crio-<id>",
        "/kubepods/burstable/pod<uid>/crio-<id>/container",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u_i_d>.slice/crio-<id>.scope",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u_i_d>.slice/crio-<id>.scope/container",
        "/kubepods.slice/kubepods-pod<u_i_d>.slice/crio-<id>.scope/system.slice/sshd.service",
        "/my.slice/my-pods.slice/my-pods-kubepods.slice/my-pods-kubepods-pod<u_i_d>.slice/crio-<id>.scope",
        "/container.slice/container-kubepods.slice/container-kubepods-burstable.slice/container-kubepods-burstable-pod<u_i_d>.slice/crio-<id>.scope",
        "/kubepods-burstable-pod<u_i_d>.slice:crio:<id>",
    ] {
        check(path, Some(UID), Some(ID), CRIO);
    }
    for path in [
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<u_i_d>.slice/docker-<id>.scope",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/docker-<id>.scope",
        "/system.slice/docker.service/kubepods-burstable-pod<u_i_d>.slice:docker:<id>",
    ] {
        check(path, Some(UID), Some(ID), DOCKER);
    }
    for path in [
        "/kubepods.slice/kubepods-pod<u_i_d>.slice/cri-containerd-<id>.scope",
        "/kubepods.slice/kubepods-pod<u_i_d>.slice/cri-containerd-<id>.scope/init.scope (deleted)",
        "/kubepods.slice/kubepods-pod<u_i_d>.slice/cri-containerd-kata_<id>.scope",
        // kubelet --cgroup-root, as kind sets it.
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<u_i_d>.slice/cri-containerd-<id>.scope",
        "/system.slice/docker-<outer>.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod<u_i_d>.slice/cri-containerd-<id>.scope",
        "/machine.slice/libpod-<outer>.scope/container/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<u_i_d>.slice/cri-containerd-<id>.scope",
        "/docker/<outer>/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<u_i_d>.slice/cri-containerd-<id>.scope",
        "/../../kubelet-kubepods-burstable-pod<u_i_d>.slice/cri-containerd-<id>.scope",
        // kubelet speaks systemd, the runtime cgroupfs.
        "/system.slice/containerd.service/kubepods-burstable-pod<u_i_d>.slice:cri-containerd:<id>",
        "/system.slice/containerd.service/kubepods-burstable-pod<u_i_d>.slice:cri-containerd:<id>/child",
        "/kubepods-besteffort-pod<u_i_d>.slice:cri-containerd:<id>",
        "/kata_overhead/kubepods-besteffort-pod<u_i_d>.slice:cri-containerd:kata_<id>",
        "/system.slice/snap.microk8s.daemon-containerd.service/kubepods-pod<u_i_d>.slice:cri-containerd:<id>",
        "/docker/<outer>/system.slice/containerd.service/kubepods-burstable-pod<u_i_d>.slice:cri-containerd:<id>",
    ] {
        check(path, Some(UID), Some(ID), CONTAINERD);
    }
    check(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<hash>.slice/crio-<id>.scope",
        Some(HASH),
        Some(ID),
        CRIO,
    );
    check(
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<hash>.slice/cri-containerd-<id>.scope",
        Some(HASH),
        Some(ID),
        CONTAINERD,
    );
    check(
        "/kubepods-pod<hash>.slice:cri-containerd:<id>",
        Some(HASH),
        Some(ID),
        CONTAINERD,
    );
}

#[test]
fn a_container_needs_no_pod() {
    for path in [
        "/docker/<id>",
        "/docker/<id>/init.scope",
        "/docker/<id>/machine.slice/libpod-conmon-<outer>.scope",
        "/docker/<id>/kubelet.slice/kubelet.service",
        "/docker/<outer>/docker/<id>",
        "/system.slice/docker-<id>.scope",
        "/../../../../system.slice/docker-<id>.scope",
        "/../docker-<id>.scope (deleted)",
        "/system.slice/docker-<id>.scope/system.slice/containerd.service",
        "/system.slice/docker-<outer>.scope/docker/<id>",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-<id>.scope",
        "/system.slice:docker:<id>",
        "/ecs/61484b46f9ea4d0d8ee2dd1b7cf5a3a6/<id>",
        "/ecs/0f3b0f9a-12f0-4bd3-b8c5-5a5c3a0d7e1f/<id>",
        "/ecstasks.slice/ecstasks-61484b46f9ea4d0d8ee2dd1b7cf5a3a6.slice/docker-<id>.scope",
    ] {
        check(path, None, Some(ID), DOCKER);
    }
    for path in [
        "/machine.slice/libpod-<id>.scope",
        "/machine.slice/libpod-<id>.scope/container",
        "/machine.slice/machine-libpod_pod_<outer>.slice/libpod-<id>.scope/container",
        "/libpod_parent/libpod-<id>",
        "/libpod_parent/<outer>/libpod-<id>",
        "/system.slice/nginx.service/libpod-payload-<id>",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-<id>",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope/container",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_<outer>.slice/libpod-<id>.scope",
        "/docker/<outer>/machine.slice/libpod-<id>.scope",
    ] {
        check(path, None, Some(ID), PODMAN);
    }
    for path in [
        "/system.slice/nerdctl-<id>.scope",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-<id>.scope",
        "/system.slice:nerdctl:<id>",
        "/:nerdctl:<id>",
    ] {
        check(path, None, Some(ID), NERDCTL);
    }
    check("/../crio-<id>.scope", None, Some(ID), CRIO);
    check(
        "/../cri-containerd-<id>.scope/system.slice",
        None,
        Some(ID),
        CONTAINERD,
    );
    // What Kata keeps of a sandbox outside of its pod.
    check("/kata_overhead/<id>", None, Some(ID), None);
}

#[test]
fn a_pod_may_stand_alone() {
    for path in [
        "/kubepods/pod<uid>",
        "/kubepods/burstable/pod<uid>/",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u_i_d>.slice",
        "/kubepods/pod<uid> (deleted)",
        // Not the node's own container, which is none of the pod's.
        "/docker/<outer>/kubepods/burstable/pod<uid>",
        // The runtime's monitors live in the pod's slice, beside its containers.
        "/kubepods.slice/kubepods-pod<u_i_d>.slice/crio-conmon-<id>.scope",
        "/kubepods/pod<uid>/crio-conmon-<id>",
        "/kubepods-pod<u_i_d>.slice:crio-conmon:<id>",
        "/kubepods/pod<uid>/libpod-conmon-<id>.scope",
        // No id at all, or none by its shape.
        "/kubepods/pod<uid>/short",
        "/kubepods/pod<uid>/17db96a24ae1",
        "/kubepods/pod<uid>/<id>0",
        "/kubepods/pod<uid>/crio-0<id>.scope",
        "/kubepods/pod<uid>/17DB96A24AE1E9DD57143E62B1CB0D2D35E693C65C774C7470E87B0572E07C1A",
        "/kubepods/pod<uid>/g7db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a",
        "/kubepods/pod<uid>/7db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a",
        "/kubepods/pod<uid>/crio-<id>.mount",
        "/kubepods/pod<uid>/cri-containerd-<id>.service",
        "/kubepods/pod<uid>/unheard-of-<id>.scope",
        "/kubepods-pod<u_i_d>.slice:unheard-of:<id>",
        "/kubepods-pod<u_i_d>.slice:cri-containerd:17db96a24ae1",
        "/kubepods-pod<u_i_d>.slice:cri-containerd:17db96a24ae1/<outer>",
        // The container must be directly below the pod.
        "/kubepods/pod<uid>/between/<id>",
    ] {
        check(path, Some(UID), None, None);
    }
    check(
        "/kubepods/pod2732ca68f6358eba7703fb6f82a25c94",
        Some("2732ca68f6358eba7703fb6f82a25c94"),
        None,
        None,
    );
}

#[test]
fn everything_else_is_neither() {
    for path in [
        "",
        "/",
        "//",
        " (deleted)",
        "/ (deleted)",
        "/..",
        "/../..",
        ":::",
        "/init.scope",
        "/system.slice/containerd.service",
        "/system.slice/kubelet.service",
        "/podruntime/kubelet",
        "/runtime.slice/containerd.service",
        "/user.slice/user-1000.slice/session-1.scope",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/podman-4242.scope",
        "/kubepods",
        "/kubepods.slice/kubepods-burstable.slice",
        "/kubepods/burstable",
        "/lxc.payload.first",
        "/lxc/first",
        "/lxc.monitor.first",
        "/garden/0f3b0f9a-12f0-4bd3-b8c5-5a5c3a0d7e1f",
        "/mesos/0f3b0f9a-12f0-4bd3-b8c5-5a5c3a0d7e1f",
        "/machine.slice/machine-qemu\\x2d1\\x2ddebian.scope/libvirt/emulator",
        "/machine.slice/systemd-nspawn@debian.service/payload",
        "/docker",
        "/docker/buildkit/zmaqj4dm2k7e0wsxl1sz2y7pv",
        "/ecs/61484b46f9ea4d0d8ee2dd1b7cf5a3a6",
        "/ecs/61484b46f9ea4d0d8ee2dd1b7cf5a3a6/61484b46f9ea4d0d8ee2dd1b7cf5a3a6-3054012820",
        "/libpod_parent/conmon",
        "/libpod_parent/<id>",
        "/machine.slice/libpod-conmon-<id>.scope",
        "/machine.slice/machine-libpod_pod_<id>.slice",
        "/system.slice/crio-conmon-<id>.scope",
        "/system.slice/web.service/runtime",
        "/system.slice/var-lib-docker-containers-<id>-mounts-shm.mount",
        // A bare id says nothing by itself.
        "/<id>",
        "/../<id>",
        "/kubepods/<id>",
        "/kubepods/burstable/<id>",
        "/system.slice/<id>",
        "/docker/between/<id>",
        "/default/<id>",
        "/ecs/<id>",
        "/docker/<id>0",
        "/docker/17db96a24ae1",
        "/system.slice/docker-17db96a24ae1.scope",
        "/system.slice/docker-17DB96A24AE1E9DD57143E62B1CB0D2D35E693C65C774C7470E87B0572E07C1A.scope",
        // No pod by its uid's shape.
        "/kubepods/pod",
        "/kubepods/pod/<id>",
        "/kubepods/pod123/<id>",
        "/kubepods/pod<uid>0/<id>",
        "/kubepods/pod0<hash>/<id>",
        "/kubepods/xpod<uid>/<id>",
        "/kubepods/pod6A4CE4A0-BA47-11EA-B2A7-0CC47AC5979E/<id>",
        "/kubepods/pod6a4ce4a0ba47-11ea-b2a7-0cc47ac5979ee/<id>",
        "/kubepods/pod-a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e/<id>",
        "/kubepods/pod6a4ce4a0xba47x11eaxb2a7x0cc47ac5979e/<id>",
        "/kubepods/pod<uid>.scope/<id>",
        "/kubepods/pöd<uid>/<id>",
    ] {
        check(path, None, None, None);
    }
}

#[test]
fn bytes_around_the_ids_need_not_be_text() {
    let path = [
        b"/kubepods/pod",
        UID.as_bytes(),
        b"/",
        ID.as_bytes(),
        b"/\xff\xfe",
    ]
    .concat();
    let expect = Identity {
        container_id: Some(ID.to_owned()),
        pod_uid: Some(UID.to_owned()),
        runtime: None,
    };
    assert_eq!(parse_bytes(&path), expect);
    assert_eq!(parse_bytes(b"/kubepods/pod\xff"), Identity::default());
}

#[test]
fn runtimes_have_the_names_people_know() {
    let names = [
        Runtime::Containerd,
        Runtime::CriO,
        Runtime::Docker,
        Runtime::Podman,
        Runtime::Nerdctl,
    ]
    .map(Runtime::as_str);
    assert_eq!(
        names,
        ["containerd", "cri-o", "docker", "podman", "nerdctl"]
    );
}

fn check(path: &str, pod: Option<&str>, container: Option<&str>, runtime: Option<Runtime>) {
    let path = expand(path);
    let expect = Identity {
        container_id: container.map(str::to_owned),
        pod_uid: pod.map(str::to_owned),
        runtime,
    };
    assert_eq!(parse(&path), expect, "{path}");
    assert_eq!(parse_bytes(path.as_bytes()), expect, "{path}");
}

fn expand(path: &str) -> String {
    path.replace("<id>", ID)
        .replace("<outer>", OUTER)
        .replace("<uid>", UID)
        .replace("<u_i_d>", &UID.replace('-', "_"))
        .replace("<hash>", HASH)
}
