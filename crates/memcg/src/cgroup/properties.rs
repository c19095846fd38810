//! Properties that hold for any path.

use proptest::prelude::*;
use proptest::sample::select;

use super::{PathIdentity, Runtime, parse_path};

const OUTER: &str = "93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26";

proptest! {
    #[test]
    fn any_bytes_are_parsed(path in any::<Vec<u8>>()) {
        assert_shape(&parse_path(&String::from_utf8_lossy(&path)))?;
    }

    /// Text made of parts of paths.
    #[test]
    fn near_paths_are_parsed(path in near_path()) {
        assert_shape(&parse_path(&path))?;
    }

    /// Every format of a pod's container is parsed, whatever is around it.
    #[test]
    fn pods_round_trip((path, expect) in pod_path(), around in around()) {
        prop_assert_eq!(parse_path(&around.replace("<>", &path)), expect);
    }

    /// Containers outside of pods.
    #[test]
    fn lone_containers_round_trip(id in id(), label in label(), around in around()) {
        let expect = PathIdentity {
            container_id: Some(id.clone()),
            pod_uid: None,
            runtime: Some(label.1),
        };
        let path = format!("/system.slice/{}-{id}.scope", label.0);
        prop_assert_eq!(parse_path(&around.replace("<>", &path)), expect);
    }

    /// Ids and uids of rarer formats.
    #[test]
    fn rarer_forms_round_trip((path, expect) in rare_path(), around in around()) {
        prop_assert_eq!(parse_path(&around.replace("<>", &path)), expect);
    }

    #[test]
    fn ids_of_other_lengths_are_refused(id in "[0-9a-f]{1,63}|[0-9a-f]{65,70}", uid in uid()) {
        for path in [
            format!("/kubepods/pod{uid}/{id}"),
            format!("/kubepods/pod{uid}/crio-{id}.scope"),
            format!("/kubepods-pod{uid}.slice:cri-containerd:{id}"),
        ] {
            let expect = PathIdentity { pod_uid: Some(uid.clone()), ..PathIdentity::default() };
            prop_assert_eq!(parse_path(&path), expect, "{}", path);
        }
    }
}

fn id() -> impl Strategy<Value = String> {
    "[0-9a-f]{64}"
}

fn uid() -> impl Strategy<Value = String> {
    "[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
}

fn label() -> impl Strategy<Value = (&'static str, Runtime)> {
    select(vec![
        ("cri-containerd", Runtime::Containerd),
        ("crio", Runtime::CriO),
        ("docker", Runtime::Docker),
        ("libpod", Runtime::Podman),
        ("libpod-payload", Runtime::Podman),
        ("nerdctl", Runtime::Nerdctl),
    ])
}

/// The path of a pod's container in the format of each pair of drivers, and its identity.
fn pod_path() -> impl Strategy<Value = (String, PathIdentity)> {
    let qos = select(vec!["", "burstable", "besteffort"]);
    (0..5, qos, uid(), id(), label()).prop_map(|(form, qos, uid, id, (label, runtime))| {
        let dir = ["/kubepods", qos, &format!("pod{uid}")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        let dash = if qos.is_empty() { "" } else { "-" };
        let slice = format!("kubepods{dash}{qos}-pod{}.slice", uid.replace('-', "_"));
        let slices = format!("/kubepods.slice/kubepods{dash}{qos}.slice/{slice}");
        let (path, runtime) = match form {
            0 => (format!("{dir}/{id}"), None),
            1 => (format!("{dir}/{label}-{id}"), Some(runtime)),
            2 => (format!("{slices}/{label}-{id}.scope"), Some(runtime)),
            3 => (
                format!("/kubelet.slice/kubelet-{slice}/{label}-{id}.scope"),
                Some(runtime),
            ),
            _ => (
                format!("/system.slice/any.service/{slice}:{label}:{id}"),
                Some(runtime),
            ),
        };
        let expect = PathIdentity {
            container_id: Some(id),
            pod_uid: Some(uid),
            runtime,
        };
        (path, expect)
    })
}

/// Containers with UUIDs for ids, and static pods with uids from their manifests.
fn rare_path() -> impl Strategy<Value = (String, PathIdentity)> {
    let long = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let own = "[a-z0-9]{1,20}(-[a-z0-9]{1,5}){0,3}";
    let group = select(vec!["", "/burstable", "/besteffort"]);
    (group, prop_oneof![uid(), own], prop_oneof![id(), long]).prop_map(|(group, uid, id)| {
        let path = format!("/kubepods{group}/pod{uid}/{id}");
        let expect = PathIdentity {
            container_id: Some(id),
            pod_uid: Some(uid),
            runtime: None,
        };
        (path, expect)
    })
}

/// A path around a container's, which replaces `<>`.
fn around() -> impl Strategy<Value = String> {
    let before = select(vec![
        String::new(),
        "/..".to_owned(),
        "/../../..".to_owned(),
        "/lxc.payload.node".to_owned(),
        format!("/docker/{OUTER}"),
        format!("/system.slice/docker-{OUTER}.scope"),
        format!("/machine.slice/libpod-{OUTER}.scope/container"),
    ]);
    let after = prop::collection::vec(
        select(vec![
            "",
            "container",
            "init.scope",
            "system.slice",
            "nginx.service",
            "kube-proxy",
            "0",
            OUTER,
        ]),
        0..4,
    );
    (before, after, select(vec!["", " (deleted)"])).prop_map(|(before, after, deleted)| {
        let after = after
            .into_iter()
            .fold(String::new(), |path, segment| path + "/" + segment);
        format!("{before}<>{after}{deleted}")
    })
}

fn near_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "/",
            "/",
            "/",
            "-",
            ":",
            "_",
            "pod",
            "-pod",
            "kubepods",
            ".slice",
            ".scope",
            "..",
            "docker",
            "/docker/",
            "ecs",
            "kata_overhead",
            "kata_",
            "/lxc/",
            "lxc.payload.",
            "/machine-",
            "\\x2d",
            "\\x",
            "crio-",
            "crio-conmon-",
            "cri-containerd",
            ":cri-containerd:",
            "libpod-payload-",
            "libpod-conmon-",
            " (deleted)",
        ])
        .prop_map(str::to_owned),
        "[0-9a-fA-F]{63,65}",
        "[0-9a-fA-F]{31,33}",
        uid(),
        id(),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn assert_shape(identity: &PathIdentity) -> Result<(), TestCaseError> {
    let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let lengths = |name: &str| name.split('-').map(str::len).collect::<Vec<_>>();
    let of_a_machine = identity.runtime.is_some_and(Runtime::names_containers);
    match &identity.container_id {
        Some(id) if of_a_machine => prop_assert!(!id.is_empty()),
        Some(id) => {
            let task = id.split_once('-').is_some_and(|(task, _)| task.len() == 32);
            let shaped = [&[64][..], &[8, 4, 4, 4, 12], &[8, 4, 4, 4, 4]].contains(&&*lengths(id));
            prop_assert!(task || shaped, "{}", id);
            prop_assert!(id.replace('-', "").chars().all(hex), "{}", id);
        }
        None => {}
    }
    if let Some(uid) = &identity.pod_uid {
        let of_a_uid = |c: char| c.is_ascii_alphanumeric() || c == '-';
        prop_assert!(!uid.is_empty() && uid.chars().all(of_a_uid), "{}", uid);
    }
    prop_assert!(identity.runtime.is_none() || identity.container_id.is_some());
    Ok(())
}
