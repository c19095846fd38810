//! The real parts that the demo, the tests and the benchmarks run against, each set up and started here and
//! removed again when its handle is dropped; and the programs that run within them.

mod admin;
mod agent;
mod apiserver;
mod apt;
mod background;
pub mod bloat;
mod bonks;
mod cgroup;
mod chromium;
mod cluster;
mod containerd;
mod cri;
pub mod demo;
mod expect;
mod fuse;
pub mod guest;
pub mod hog;
mod http;
mod image;
pub mod interrupt;
mod kube_state_metrics;
mod kubernetes;
mod load_clients;
mod marks;
mod namespaces;
mod nested_node;
mod output;
mod pki;
mod port;
pub mod prepare;
mod prometheus;
mod qemu;
mod registry;
mod scrape;
pub mod screenshots;
mod server;
mod spin;
mod steps;
pub mod wait;

pub use admin::Admin;
pub use agent::{Agent, Bonker, field, message, refusing_url, stamp, victim};
pub use apiserver::ApiServer;
pub use bonks::Bonks;
pub use cgroup::{Cgroup, limit, oom_kills_in};
pub use chromium::{Chromium, Look, Page};
pub use cluster::Cluster;
pub use containerd::Containerd;
pub use cri::{Gated, Pod, Sandbox};
pub use expect::differences;
pub use fuse::SlowFile;
pub use kube_state_metrics::{Container, KubeStateMetrics};
pub use load_clients::{Answers, Credentials, Ends, LoadClients};
pub use marks::marks;
pub use nested_node::NestedNode;
pub use output::Output;
pub use prometheus::{
    Alertmanager, Prometheus, Watch, check_configuration, check_rules, test_rules,
};
pub use qemu::{
    Kernels, Machine, Pi, PiParts, Pulse, Run, SUITES, Serial, initrd, node_disk, runs,
};
pub use registry::Registry;
pub use scrape::Scrape;
pub use spin::Spinners;
pub use steps::Steps;
