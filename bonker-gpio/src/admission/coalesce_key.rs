//! Which items belong together: one swing stands for all of a container.

use crate::bonk::Bonk;

/// A container; where none is known, a process name on a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CoalesceKey {
    Container(String, String, String),
    Process(String, String),
}

// === impl CoalesceKey ===

impl CoalesceKey {
    /// `None` if neither is known: such items do not belong together.
    pub(super) fn from_bonk(bonk: &Bonk) -> Option<Self> {
        if !bonk.pod.is_empty() || !bonk.container.is_empty() {
            let part = String::clone;
            return Some(Self::Container(
                part(&bonk.namespace),
                part(&bonk.pod),
                part(&bonk.container),
            ));
        }
        (!bonk.comm.is_empty()).then(|| Self::Process(bonk.node.clone(), bonk.comm.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::CoalesceKey;
    use crate::bonk::Bonk;

    #[test]
    fn a_container_comes_before_a_process_and_unknown_items_stay_apart() {
        let bonk = |node: &str, namespace: &str, pod: &str, container: &str, comm: &str| {
            let own = str::to_owned;
            CoalesceKey::from_bonk(&Bonk {
                node: own(node),
                namespace: own(namespace),
                pod: own(pod),
                container: own(container),
                comm: own(comm),
                ..Bonk::default()
            })
        };
        assert_eq!(bonk("a", "n", "p", "c", "x"), bonk("b", "n", "p", "c", "y"));
        assert_ne!(bonk("a", "n", "p", "c", "x"), bonk("a", "n", "p", "d", "x"));
        assert_ne!(bonk("a", "n", "p", "c", "x"), bonk("a", "m", "p", "c", "x"));
        assert_eq!(bonk("a", "", "", "", "x"), bonk("a", "", "", "", "x"));
        assert_ne!(bonk("a", "", "", "", "x"), bonk("b", "", "", "", "x"));
        assert_eq!(bonk("a", "", "", "", ""), None);
    }
}
