//! The host's name and the current boot's id.

use std::path::Path;

/// The longest name kept, in bytes: that of a Kubernetes node.
const NAME_LEN: usize = 253;

#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// `NODE_NAME`, else the host's name.
    pub(crate) node: String,
    /// The first 8 hex digits of the boot id: stamps repeat in another boot.
    pub(crate) boot: String,
    pub(crate) page_size: u64,
}

// === impl Host ===

impl Host {
    /// `node` overrides the host's name.
    pub(crate) fn read(node: Option<String>) -> Self {
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
            tracing::warn!(%error, path = %path.display(), "cannot read the boot id: incident ids may repeat after a reboot");
            "00000000".to_owned()
        },
        |id| id.chars().filter(char::is_ascii_hexdigit).take(8).collect(),
    )
}
