//! Whose processes these are. Pure but for the one link.

/// Not this process itself, and not the pod's first one, which is the runtime's: it holds the
/// namespaces. In a cgroup that was named there is no such one.
pub(super) fn may_be_told(pid: u32, own: u32, named: bool) -> bool {
    pid != own && pid != 0 && (pid != 1 || named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_itself_nor_the_pods_first_process_is_told() {
        for (pid, named, told) in [
            (7, false, false),
            (7, true, false),
            (1, false, false),
            (1, true, true),
            (0, true, false),
            (8, false, true),
        ] {
            assert_eq!(may_be_told(pid, 7, named), told, "{pid} {named}");
        }
    }
}
