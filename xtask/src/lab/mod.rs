//! The real parts that the demo and the tests run against, each set up and
//! started here and removed again when its handle is dropped.

mod agent;
mod apiserver;
mod cache;
mod cgroup;
mod containerd;
mod debian;
mod image;
mod kubernetes;
mod output;
mod pki;
mod port;
pub mod wait;

pub use agent::{Agent, Bonker, field, message, refusing_url, victim};
pub use apiserver::ApiServer;
pub use cache::Cache;
pub use cgroup::Cgroup;
pub use containerd::Containerd;
pub use debian::{Consent, Debian};
pub(crate) use output::Event;
pub use output::Output;
