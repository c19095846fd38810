//! Paths of real machines, with abbreviated ids: see [`expand`].

use super::{PathIdentity, Runtime, parse_path};

const ID: &str = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";
const OUTER: &str = "93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26";
const UID: &str = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
const HASH: &str = "9729a196c4723b60ab401eaff722982d";

const CONTAINERD: Option<Runtime> = Some(Runtime::Containerd);
const CRIO: Option<Runtime> = Some(Runtime::CriO);
const DOCKER: Option<Runtime> = Some(Runtime::Docker);
const PODMAN: Option<Runtime> = Some(Runtime::Podman);
const NERDCTL: Option<Runtime> = Some(Runtime::Nerdctl);
const LXC: Option<Runtime> = Some(Runtime::Lxc);
const NSPAWN: Option<Runtime> = Some(Runtime::Nspawn);

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
        // A gVisor sandbox and its containers.
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
        // The kubelet's driver is systemd, the runtime's cgroupfs.
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
    for path in [
        "/ecs/cluster-classic/61484b46f9ea4d0d8ee2dd1b7cf5a3a6/<id>",
        "/ecs/<id>",
        "/azpl_job/<id>",
        "/actions_job/<id>/init.scope",
        "/nomad.slice/docker-<id>.scope",
        "/lxc/build/docker/<id>",
    ] {
        check(path, None, Some(ID), DOCKER);
    }
    for path in ["/default/<id>", "/user.slice:nerdctl:<id>"] {
        check(path, None, Some(ID), NERDCTL);
    }
    for path in [
        "/k8s.io/<id>",
        "/docker/<outer>/k8s.io/<id>/child",
        "/system.slice/docker-<outer>.scope/k8s.io/<id>",
    ] {
        check(path, None, Some(ID), CONTAINERD);
    }
    check("/../crio-<id>.scope", None, Some(ID), CRIO);
    check(
        "/../cri-containerd-<id>.scope/system.slice",
        None,
        Some(ID),
        CONTAINERD,
    );
    // The part of a Kata sandbox outside of its pod.
    check("/kata_overhead/<id>", None, Some(ID), None);
    check("/kata_overhead/kata_<id>", None, Some(ID), None);
}

#[test]
fn a_bare_id_below_an_unknown_parent_may_be_a_containers() {
    for path in [
        "/<id>",
        "/../<id>",
        "/kata_<id>",
        "/kubepods/<id>",
        "/kubepods/burstable/<id>",
        "/system.slice/<id>",
        "/build-42/<id>",
        "/build-42/job/<id>/init.scope",
        "/docker/between/<id>",
        "/kubepods/xpod<uid>/<id>",
        "/kubepods/pod/<id>",
        // In a machine, too.
        "/lxc.payload.node/build-42/<id>",
        "/machine.slice/machine-node.scope/payload/build-42/<id>",
    ] {
        check(path, None, Some(ID), None);
    }
}

#[test]
fn ids_may_have_other_forms() {
    const LONG: &str = "15aa6e53-b09a-40c7-8558-c6c31e36c88a";
    for path in [
        "/kubepods/besteffort/pod<uid>/15aa6e53-b09a-40c7-8558-c6c31e36c88a",
        "/kubepods/pod<uid>/15aa6e53-b09a-40c7-8558-c6c31e36c88a/child",
    ] {
        check(path, Some(UID), Some(LONG), None);
    }
    check(
        "/kubepods.slice/kubepods-pod<u_i_d>.slice/crio-15aa6e53-b09a-40c7-8558-c6c31e36c88a.scope",
        Some(UID),
        Some(LONG),
        CRIO,
    );
    check(
        "/mesos/15aa6e53-b09a-40c7-8558-c6c31e36c88a",
        None,
        Some(LONG),
        None,
    );
    check(
        "/system.slice/garden.service/garden/70eb4ce5-a065-4401-6990-88ed",
        None,
        Some("70eb4ce5-a065-4401-6990-88ed"),
        None,
    );
    let task = "61484b46f9ea4d0d8ee2dd1b7cf5a3a6-3054012820";
    for path in [
        "/ecs/61484b46f9ea4d0d8ee2dd1b7cf5a3a6/61484b46f9ea4d0d8ee2dd1b7cf5a3a6-3054012820",
        "/ecs/shop/61484b46f9ea4d0d8ee2dd1b7cf5a3a6/61484b46f9ea4d0d8ee2dd1b7cf5a3a6-3054012820",
    ] {
        check(path, None, Some(task), None);
    }
}

#[test]
fn machines_are_identified_by_their_names() {
    for (path, name) in [
        ("/lxc/mysql-primary-db", "mysql-primary-db"),
        ("/lxc/100/ns/init.scope", "100"),
        ("/lxc.payload/web", "web"),
        ("/lxc.payload.samba19/system.slice/smbd.service", "samba19"),
        ("/lxc.payload.a/lxc.payload.b", "b"),
        ("/user.slice/user-1000.slice/session-1.scope/lxc/web", "web"),
        ("/lxc/<id>", ID),
        (
            "/machine.slice/machine-lxc\\x2d42\\x2dweb.scope",
            "lxc-42-web",
        ),
    ] {
        check(path, None, Some(name), LXC);
    }
    for (path, name) in [
        ("/machine.slice/machine-centos\\x2d7.scope", "centos-7"),
        ("/machine.slice/machine-web.scope/payload/init.scope", "web"),
        (
            "/machine.slice/systemd-nspawn@debian.service/payload",
            "debian",
        ),
        (
            "/machine.slice/systemd-nspawn@my\\x2ddebian.service",
            "my-debian",
        ),
        ("/machine.slice/machine-a\\x2gb\\x.scope", "a\\x2gb\\x"),
    ] {
        check(path, None, Some(name), NSPAWN);
    }
}

#[test]
fn a_static_pod_may_have_a_uid_of_its_own() {
    for path in [
        "/kubepods/podmy-own-uid/<id>",
        "/kubepods/burstable/podmy-own-uid/<id>/child",
        "/docker/<outer>/kubelet/kubepods/besteffort/podmy-own-uid/<id>",
    ] {
        check(path, Some("my-own-uid"), Some(ID), None);
    }
    for path in [
        "/kubepods.slice/kubepods-podmy_own_uid.slice/cri-containerd-<id>.scope",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podmy_own_uid.slice/cri-containerd-<id>.scope",
        "/system.slice/containerd.service/kubepods-besteffort-podmy_own_uid.slice:cri-containerd:<id>",
    ] {
        check(path, Some("my-own-uid"), Some(ID), CONTAINERD);
    }
    check("/kubepods/pod123/<id>", Some("123"), Some(ID), None);
}

#[test]
fn a_pod_without_a_container_is_found() {
    for path in [
        "/kubepods/pod<uid>",
        "/kubepods/burstable/pod<uid>/",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u_i_d>.slice",
        "/kubepods/pod<uid> (deleted)",
        // The node's own container is not the pod's.
        "/docker/<outer>/kubepods/burstable/pod<uid>",
        // The runtime's monitors are in the pod's slice, beside its containers.
        "/kubepods.slice/kubepods-pod<u_i_d>.slice/crio-conmon-<id>.scope",
        "/kubepods/pod<uid>/crio-conmon-<id>",
        "/kubepods-pod<u_i_d>.slice:crio-conmon:<id>",
        "/kubepods/pod<uid>/libpod-conmon-<id>.scope",
        // No id, or a name that is not in the shape of one.
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
fn other_paths_have_neither_container_nor_pod() {
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
        "/lxc.monitor.first",
        "/machine.slice/machine-qemu\\x2d1\\x2ddebian.scope/libvirt/emulator",
        "/docker",
        "/docker/buildkit/zmaqj4dm2k7e0wsxl1sz2y7pv",
        "/ecs/61484b46f9ea4d0d8ee2dd1b7cf5a3a6",
        "/libpod_parent/conmon",
        "/libpod_parent/<id>",
        "/machine.slice/libpod-conmon-<id>.scope",
        "/machine.slice/machine-libpod_pod_<id>.slice",
        "/system.slice/crio-conmon-<id>.scope",
        "/system.slice/web.service/runtime",
        "/system.slice/var-lib-docker-containers-<id>-mounts-shm.mount",
        "/docker/<id>0",
        "/docker/17db96a24ae1",
        "/system.slice/docker-17db96a24ae1.scope",
        "/system.slice/docker-17DB96A24AE1E9DD57143E62B1CB0D2D35E693C65C774C7470E87B0572E07C1A.scope",
        "/default/17db96a24ae1",
        "/ecs/61484b46f9ea4d0d8ee2dd1b7cf5a3a6/61484b46f9ea4d0d8ee2dd1b7cf5a3a6-",
        "/ecs/61484b46f9ea4d0d8ee2dd1b7cf5a3a6/short-3054012820",
        // No machine, or its monitor.
        "/lxc",
        "/lxc.payload",
        "/lxc.payload.",
        "/lxc.pivot",
        "/machine.slice/machine-web.scope/supervisor",
        "/machine.slice/systemd-nspawn@debian.service/supervisor",
        "/user.slice/user-1000.slice/user@1000.service/apps.slice/vte-spawn-75bc72bd-6642-4cf5-b62c-0674e11bfc84.scope",
        "/podruntime/runtime",
        "/system/dashboard",
        "/init",
        // The uid is not in the shape of a pod's.
        "/kubepods/pod",
        "/kubepods/xpod<uid>",
        "/kubepods/pod<uid>.scope",
        "/kubepods/pöd<uid>",
        "/kubepods/pod.",
        "/other/pod123",
        "/other/burstable/pod123",
        "/pod6A4CE4A0-BA47-11EA-B2A7-0CC47AC5979E",
        "/pod6a4ce4a0ba47-11ea-b2a7-0cc47ac5979ee",
        "/pod-a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e",
        "/pod6a4ce4a0xba47x11eaxb2a7x0cc47ac5979e",
        "/other.slice/other-pod123.slice",
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
    let expect = PathIdentity {
        container_id: Some(ID.to_owned()),
        pod_uid: Some(UID.to_owned()),
        runtime: None,
    };
    assert_eq!(parse_path(&String::from_utf8_lossy(&path)), expect);
    let path = String::from_utf8_lossy(b"/kubepods/pod\xff");
    assert_eq!(parse_path(&path), PathIdentity::default());
}

#[test]
fn runtimes_have_their_own_names() {
    let names = [
        Runtime::Containerd,
        Runtime::CriO,
        Runtime::Docker,
        Runtime::Podman,
        Runtime::Nerdctl,
        Runtime::Lxc,
        Runtime::Nspawn,
    ]
    .map(Runtime::as_str);
    assert_eq!(
        names,
        [
            "containerd",
            "cri-o",
            "docker",
            "podman",
            "nerdctl",
            "lxc",
            "systemd-nspawn"
        ]
    );
}

fn check(path: &str, pod: Option<&str>, container: Option<&str>, runtime: Option<Runtime>) {
    let path = expand(path);
    let expect = PathIdentity {
        container_id: container.map(str::to_owned),
        pod_uid: pod.map(str::to_owned),
        runtime,
    };
    assert_eq!(parse_path(&path), expect, "{path}");
}

fn expand(path: &str) -> String {
    path.replace("<id>", ID)
        .replace("<outer>", OUTER)
        .replace("<uid>", UID)
        .replace("<u_i_d>", &UID.replace('-', "_"))
        .replace("<hash>", HASH)
}
