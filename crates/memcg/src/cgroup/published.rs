//! Whole paths from bug reports and other projects' tests.

use super::{PathIdentity, Runtime, parse_path};

#[test]
fn published_paths() {
    check(
        "/kubepods/burstable/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e/17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a",
        "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e 17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a -",
    );
    check(
        "/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/32c562ed81a2622b37b80cb216859820ba51bd694f60ee4cf10d07a4011266f8",
        "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8 32c562ed81a2622b37b80cb216859820ba51bd694f60ee4cf10d07a4011266f8 -",
    );
    check(
        "/kubepods/burstable/pod9729a196c4723b60ab401eaff722982d/d166c6190614efc91956b78e96d74c3fbc96ca8e91948c36de3bc5b0e7b27d48",
        "9729a196c4723b60ab401eaff722982d d166c6190614efc91956b78e96d74c3fbc96ca8e91948c36de3bc5b0e7b27d48 -",
    );
    check(
        "/kubepods/besteffort/pod0d08203e-255a-11e9-8cd9-0007cb0b2cc8/671a50f5d60566556912f61511d0ec9e4d5c78d53fbc4676727180438bbbbc55/kube-proxy",
        "0d08203e-255a-11e9-8cd9-0007cb0b2cc8 671a50f5d60566556912f61511d0ec9e4d5c78d53fbc4676727180438bbbbc55 -",
    );
    check(
        "/kubepods/poda48c12e8-255a-11e9-8cd9-0007cb0b2cc8/crio-63425c4a8b4291744a79dd9011fddc7a1f8ffda61f65d72196aa01d00cae2e2e",
        "a48c12e8-255a-11e9-8cd9-0007cb0b2cc8 63425c4a8b4291744a79dd9011fddc7a1f8ffda61f65d72196aa01d00cae2e2e cri-o",
    );
    check(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podea19ff5d_943a_4466_a07e_a71e9e50cc62.slice/crio-21572039dd8398ff8272b031fa5422a40165145ab37f2f8794e1e7f844fe8118.scope/container",
        "ea19ff5d-943a-4466-a07e-a71e9e50cc62 21572039dd8398ff8272b031fa5422a40165145ab37f2f8794e1e7f844fe8118 cri-o",
    );
    check(
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod8712f785_1a3e_41ec_a00b_e2dcc77431cb.slice/docker-73051af271105c07e1f493b34856a77e665e3b0b4fc72f76c807dfbffeb881bd.scope",
        "8712f785-1a3e-41ec-a00b-e2dcc77431cb 73051af271105c07e1f493b34856a77e665e3b0b4fc72f76c807dfbffeb881bd docker",
    );
    check(
        "/system.slice/containerd.service/kubepods-burstable-pod4ed02c0b_0df8_4d14_a30e_fd589ee4143a.slice:cri-containerd:d4a9f9195eaf7e4a729f24151101e1de61f1398677e7b82acfb936dff0b4ce55",
        "4ed02c0b-0df8-4d14-a30e-fd589ee4143a d4a9f9195eaf7e4a729f24151101e1de61f1398677e7b82acfb936dff0b4ce55 containerd",
    );
    check(
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod00000000_1111_2222_3333_444444444444.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope",
        "00000000-1111-2222-3333-444444444444 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef containerd",
    );
    check(
        "/../../../../system.slice/docker-ba7b10d15d16e10e3de7a2dcd408a3d971169ae303f46cfad4c5453c6326fee2.scope",
        "- ba7b10d15d16e10e3de7a2dcd408a3d971169ae303f46cfad4c5453c6326fee2 docker",
    );
    check(
        "/machine.slice/libpod-89e89703fbd1e88b72d279d951ce389d3742874205196d73f96e0dcbc0da0659.scope/container",
        "- 89e89703fbd1e88b72d279d951ce389d3742874205196d73f96e0dcbc0da0659 podman",
    );
    check(
        "/kubepods/pod2732ca68f6358eba7703fb6f82a25c94",
        "2732ca68f6358eba7703fb6f82a25c94 - -",
    );
    check("/init.scope", "- - -");
    check("/lxc.payload.first", "- first lxc");
    check("/libpod_parent/conmon", "- - -");
}

/// Columns: `path`, `container_id`, `pod_uid`, `runtime` and the source, separated by tabs.
#[test]
fn collected_paths() {
    for line in include_str!("paths.tsv").lines() {
        if line.starts_with('#') {
            continue;
        }
        let [path, container, pod, runtime, _source] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        check(path, &format!("{pod} {container} {runtime}"));
    }
}

/// `expect` is "uid id runtime", with `-` for `None`.
fn check(path: &str, expect: &str) {
    let PathIdentity {
        container_id,
        pod_uid,
        runtime,
    } = parse_path(path);
    let fields = [
        pod_uid.as_deref(),
        container_id.as_deref(),
        runtime.map(Runtime::as_str),
    ];
    assert_eq!(
        fields.map(|field| field.unwrap_or("-")).join(" "),
        expect,
        "{path}"
    );
}
