//! File systems of a machine.

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount};

/// Mounts each, as a kind and a place.
pub(super) fn mount_all(systems: &[(&str, &str)]) -> Result<()> {
    for (kind, at) in systems {
        // The kernel may have mounted /dev already.
        if let Err(error) = mount(*kind, *at, *kind, MountFlags::empty(), None)
            && error != rustix::io::Errno::BUSY
        {
            return Err(error).with_context(|| format!("mount {at}"));
        }
    }
    Ok(())
}
