//! What this host is called, and which boot this is.

use std::path::Path;

/// Longest name taken over, in bytes: that of a Kubernetes node.
const NAME_LEN: usize = 253;

/// Names that go into every incident.
#[derive(Clone, Debug)]
pub struct Host {
    /// `NODE_NAME`, else the host's name.
    pub node: String,
    /// The first 8 hex digits of the boot id: tells one boot's stamps from another's.
    pub boot: String,
    /// Bytes in a page of memory.
    pub page_size: u64,
}

// === impl Host ===

impl Host {
    /// Reads it from the system; `node` overrides the host's name.
    pub fn read(node: Option<String>) -> Self {
        let node = node.filter(|name| !name.is_empty()).unwrap_or_else(|| {
            let uname = rustix::system::uname();
            uname.nodename().to_string_lossy().into_owned()
        });
        Self {
            node: service::escape::truncate(&node, NAME_LEN).to_owned(),
            boot: boot_id(Path::new("/proc/sys/kernel/random/boot_id")),
            page_size: rustix::param::page_size() as u64,
        }
    }
}

fn boot_id(path: &Path) -> String {
    std::fs::read_to_string(path).map_or_else(
        |error| {
            tracing::warn!(%error, path = %path.display(), "incident ids do not tell this boot from another");
            "00000000".to_owned()
        },
        |id| id.chars().filter(char::is_ascii_hexdigit).take(8).collect(),
    )
}
