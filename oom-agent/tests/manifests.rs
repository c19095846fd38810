//! The manifests that are shipped: what the API knows, and what the agent understands.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser as _};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use oom_agent::args::{Action, Cli, Command, Format, LogFormat};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The objects of a file.
fn objects(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The manifest's only object of that kind.
fn shipped(kind: &str) -> Value {
    let mut objects = objects(&root().join("daemonset.yaml"));
    objects.retain(|object| object["kind"] == kind);
    assert_eq!(objects.len(), 1, "{kind}");
    objects.remove(0)
}

#[test]
fn the_api_knows_every_field_of_every_manifest() {
    let mut files = vec![root().join("daemonset.yaml")];
    for dir in ["deploy", "deploy/hungry"] {
        let entries = std::fs::read_dir(root().join(dir)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.retain(|file| file.extension().is_some_and(|kind| kind == "yaml"));
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        for object in objects(&file) {
            let known = match object["kind"].as_str().unwrap() {
                "Namespace" => through::<Namespace>(&object),
                "Service" => through::<Service>(&object),
                "ServiceAccount" => through::<ServiceAccount>(&object),
                "ClusterRole" => through::<ClusterRole>(&object),
                "ClusterRoleBinding" => through::<ClusterRoleBinding>(&object),
                "Role" => through::<Role>(&object),
                "RoleBinding" => through::<RoleBinding>(&object),
                "Deployment" => through::<Deployment>(&object),
                "DaemonSet" => through::<DaemonSet>(&object),
                "Pod" => through::<Pod>(&object),
                "ValidatingAdmissionPolicy" => through::<ValidatingAdmissionPolicy>(&object),
                "ValidatingAdmissionPolicyBinding" => {
                    through::<ValidatingAdmissionPolicyBinding>(&object)
                }
                // An operator's own kind.
                "PrometheusRule" => object.clone(),
                other => panic!("{}: a {other}", file.display()),
            };
            assert_eq!(known, object, "{}", file.display());
        }
    }
}

/// What is left of an object once it was read as a `T`: unknown fields are not.
fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let read: T = serde_json::from_value(object.clone()).unwrap();
    serde_json::to_value(read).unwrap()
}

#[test]
fn the_example_pod_is_oomheros_with_another_image() {
    let pods = objects(&root().join("deploy/sidecar.yaml"));
    let spec = &pods[0]["spec"];
    assert_eq!(spec["shareProcessNamespace"], true);
    let container = &spec["containers"][1];
    // Its image's entry point names the command.
    assert!(container["command"].is_null());
    let args = container["args"].as_array().unwrap().iter();
    let args = args.map(|arg| arg.as_str().unwrap());
    let cli = Cli::try_parse_from(["oom-agent", "sidecar"].into_iter().chain(args)).unwrap();
    let Command::Sidecar(sidecar) = cli.command else {
        panic!("{cli:?}");
    };
    assert_eq!(sidecar.critical.to_string(), "memory_usage > 90");
    let port = container["ports"][0]["containerPort"].as_u64();
    assert_eq!(port, Some(u64::from(sidecar.http_listen.port())));
}

#[test]
fn the_agent_understands_the_arguments_of_its_manifest() {
    let daemonset = shipped("DaemonSet");
    let containers = &daemonset["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().unwrap().len(), 1);
    let container = &containers[0];
    let args = container["args"].as_array().unwrap().iter();
    let args = args.map(|arg| arg.as_str().unwrap());
    let cli = Cli::try_parse_from(std::iter::once("oom-agent").chain(args)).unwrap();
    let Command::Run(run) = cli.command else {
        panic!("the manifest runs something else: {cli:?}");
    };
    assert_eq!(run.reporter.output, Format::Json);
    assert_eq!(run.log.log_format, LogFormat::Json);
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert!(
        mounts
            .iter()
            .any(|mount| mount["mountPath"].as_str().map(PathBuf::from) == run.procfs),
        "{:?} is not mounted",
        run.procfs
    );
    let below = |path: &Path| {
        let points = mounts.iter().map(|mount| mount["mountPath"].as_str());
        points.flatten().any(|point| path.starts_with(point))
    };
    assert!(below(&run.pin.unwrap()) && below(&run.state.unwrap()));
    let command = Cli::command();
    let known: Vec<_> = command
        .find_subcommand("run")
        .unwrap()
        .get_arguments()
        .filter_map(clap::Arg::get_env)
        .collect();
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(known.iter().any(|one| *one == name), "{name}");
    }
}

#[test]
fn only_the_patch_for_signals_takes_what_signals_take() {
    let shipped = &shipped("DaemonSet")["spec"]["template"]["spec"];
    let granted = |spec: &Value| -> Vec<String> {
        let container = &spec["containers"][0];
        assert_eq!(container["name"], "oom-agent");
        let all = &container["securityContext"]["capabilities"]["add"];
        serde_json::from_value(all.clone()).unwrap()
    };
    assert_eq!(granted(shipped), ["BPF", "PERFMON"]);
    assert!(shipped["hostPID"].is_null());
    let variables = shipped["containers"][0]["env"].as_array().unwrap();
    assert!(variables.iter().all(|env| env["name"] != "OOM_AGENT_WARN"));
    let patch = objects(&root().join("deploy/patches/signals.yaml")).remove(0);
    let patched = &patch["spec"]["template"]["spec"];
    assert_eq!(granted(patched), ["BPF", "PERFMON", "KILL"]);
    assert_eq!(patched["hostPID"], true);
    let warn = &patched["containers"][0]["env"][0];
    assert_eq!(warn["name"], "OOM_AGENT_WARN");
    let warn = warn["value"].as_str().unwrap();
    let cli = Cli::try_parse_from(["oom-agent", "run", "--warn", warn]).unwrap();
    let Command::Run(run) = cli.command else {
        panic!("{cli:?}");
    };
    assert_eq!(run.warnings.warn, [Action::Event, Action::Signal]);
    // The API knows all of it, and nothing else is changed.
    let known = json!({
        "spec": {"template": {"spec": {
            "hostPID": true,
            "containers": [{
                "name": "oom-agent",
                "env": patched["containers"][0]["env"],
                "securityContext": {"capabilities": {"add": granted(patched)}},
            }],
        }}}
    });
    assert_eq!(patch, known);
}

#[test]
fn the_manifests_probes_and_scrapes_go_where_the_agent_listens() {
    let daemonset = shipped("DaemonSet");
    let pod = &daemonset["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let port = &container["ports"][0];
    let args = container["args"].as_array().unwrap();
    let listen = args
        .iter()
        .find_map(|arg| arg.as_str()?.strip_prefix("--http-listen="));
    assert_eq!(
        listen,
        Some(format!("0.0.0.0:{}", port["containerPort"]).as_str())
    );
    assert_eq!(
        pod["metadata"]["annotations"]["prometheus.io/port"],
        port["containerPort"].to_string()
    );
    for (probe, path) in [("livenessProbe", "/live"), ("readinessProbe", "/ready")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], port["name"]);
    }
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let documented = read("docs/metrics.md");
    for file in [
        "deploy/prometheus-rule.yaml",
        "deploy/grafana-dashboard.json",
    ] {
        let text = read(file);
        let used: Vec<_> = text
            .match_indices("oom_agent_")
            .map(|(at, _)| {
                let name = |c: char| !c.is_ascii_lowercase() && c != '_';
                let metric = text[at..].split(name).next().unwrap();
                metric.strip_suffix("_bucket").unwrap_or(metric)
            })
            .collect();
        assert!(used.len() > 3, "{file}: {used:?}");
        for metric in used {
            assert!(
                documented.contains(&format!("| `{metric}` |")),
                "{file}: no {metric} is documented"
            );
        }
    }
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana-dashboard.json")).unwrap();
    assert!(dashboard["panels"].is_array());
}

#[test]
fn the_policy_is_about_all_that_the_manifests_account_may_write() {
    let account = shipped("ServiceAccount");
    let user = format!(
        "system:serviceaccount:{}:{}",
        account["metadata"]["namespace"].as_str().unwrap(),
        account["metadata"]["name"].as_str().unwrap()
    );
    let policy = &objects(&root().join("deploy/own-node-only.yaml"))[0];
    let condition = policy.pointer("/spec/matchConditions/0/expression");
    assert!(condition.unwrap().as_str().unwrap().contains(&user));
    let role = shipped("ClusterRole");
    let reads = |verb: &Value| verb == "get" || verb == "list";
    let mut writing = role["rules"].as_array().unwrap().clone();
    writing.retain(|rule| !rule["verbs"].as_array().unwrap().iter().all(reads));
    assert_eq!(writing.len(), 1, "{writing:#?}");
    let rule = &policy["spec"]["matchConstraints"]["resourceRules"][0];
    for field in ["apiGroups", "resources"] {
        assert_eq!(rule[field], writing[0][field]);
    }
}
