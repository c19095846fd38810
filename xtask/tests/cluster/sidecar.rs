//! OOMHero's example pod with our image.

use serde_json::{Value, json};
use xtask::lab::{Cluster, wait};
use xtask::process::capture;
use xtask::{say, workspace};

use crate::PATIENCE;
use crate::support::{at, binary};

const NAME: &str = "my-application";

/// Eats until it is told that it is critical, and then says what it was told.
const APP: &str = "
    trap 'told=\"$told warning\"' USR1
    trap ': > /mem/eaten; echo -n $told critical > /dev/termination-log; exit 0' USR2
    while :; do head -c 1048576 /dev/zero >> /mem/eaten; sleep 0.1; done";

/// The pod as shipped, but for the application, which is a hungry one.
pub(crate) fn the_example_pod_survives(cluster: &Cluster) {
    let image = binary("OOM_AGENT_SIDECAR_IMAGE");
    cluster.containerd.import(&image).unwrap();
    let ended = ended(cluster, &pod());
    assert_eq!(*at(&ended, "/exitCode"), json!(0), "{ended:#}");
    assert_eq!(*at(&ended, "/message"), json!("warning critical"));
    say::line("the example pod lives by its sidecar's signals");
}

fn pod() -> Value {
    let shipped = std::fs::read_to_string(workspace::root().join("deploy/sidecar.yaml")).unwrap();
    let mut pod: Value = serde_saphyr::from_str(&shipped).unwrap();
    pod["metadata"] = json!({"name": NAME, "namespace": "hungry"});
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    pod["spec"]["volumes"] = json!([{"name": "mem", "emptyDir": {"medium": "Memory"}}]);
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    containers[0] = json!({
        "name": "app",
        "image": "busybox:1.37",
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", APP],
        "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "48Mi"}},
        "volumeMounts": [{"name": "mem", "mountPath": "/mem"}],
    });
    pod
}

/// How the application ended.
fn ended(cluster: &Cluster, pod: &Value) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pod.json");
    std::fs::write(&file, pod.to_string()).unwrap();
    let mut kubectl = cluster.api.kubectl();
    capture(kubectl.args(["apply", "--filename"]).arg(&file)).unwrap();
    let path = format!("/api/v1/namespaces/hungry/pods/{NAME}");
    wait::until("the application's end", PATIENCE, || {
        let pod = cluster.api.get(&path).ok()?;
        let all = pod
            .pointer("/status/containerStatuses")?
            .as_array()?
            .clone();
        let app = all.into_iter().find(|status| status["name"] == "app")?;
        app.pointer("/state/terminated").cloned()
    })
    .unwrap()
}
