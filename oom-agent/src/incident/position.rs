//! Whether a limit is a container's, a pod's or another cgroup's, by its place above the victim. Pure.

use memcg::{Owners, is_below};

use super::Scope;

/// Whose limit that of the cgroup `limit` is. Its path alone does not decide: a kind node is a container
/// that holds the victim's.
pub(crate) fn classify_scope(limit: &str, victim: Option<&str>) -> Scope {
    let own = Owners::from_path(victim.unwrap_or(limit));
    let below = |owner: Option<&str>| owner.is_some_and(|owner| is_below(limit, owner));
    if own.container == Some(limit) {
        Scope::Container
    } else if own.pod == Some(limit) {
        Scope::Pod
    } else if below(own.container) || below(own.pod) {
        Scope::Nested
    } else {
        Scope::Ancestor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7be92808767a667f35c8505cbf40d14e931ef6db5b0210329cf193b15ba9d605";
    const NODE: &str = "e62ef4349cc5a70f4b49f8a150ace391da6ad6df27073c83ecc03dbf81fde1ce";
    const UID: &str = "cdca04fa-af25-4b34-81e7-7625111db389";

    #[test]
    fn the_place_above_the_victim_decides() {
        let systemd = UID.replace('-', "_");
        let kubepods = format!("/docker/{NODE}/kubepods");
        let slice = "/kubepods.slice/kubepods-burstable.slice";
        // What the victim is in, level by level, and whose limit each is.
        let check = |levels: &[(&str, Scope)]| {
            let victim: String = levels.iter().map(|(name, _)| *name).collect();
            let mut path = String::new();
            for (name, scope) in levels {
                path.push_str(name);
                assert_eq!(
                    classify_scope(&path, Some(&victim)),
                    *scope,
                    "{path} of {victim}"
                );
            }
            assert_eq!(classify_scope("/", Some(&victim)), Scope::Ancestor);
        };
        let (pod, id) = (format!("/pod{UID}"), format!("/{ID}"));
        let (ancestor, nested) = (Scope::Ancestor, Scope::Nested);
        check(&[
            ("/kubepods/burstable", ancestor),
            (&pod, Scope::Pod),
            (&id, Scope::Container),
            (&format!("/docker/{NODE}"), nested),
        ]);
        check(&[
            (&kubepods, ancestor),
            (&pod, Scope::Pod),
            (&id, Scope::Container),
        ]);
        check(&[
            (&format!("/docker/{NODE}"), Scope::Container),
            ("/init", nested),
        ]);
        check(&[
            (slice, ancestor),
            (
                &format!("/kubepods-burstable-pod{systemd}.slice"),
                Scope::Pod,
            ),
            (&format!("/cri-containerd-{ID}.scope"), Scope::Container),
            ("/system.slice/nginx.service", nested),
        ]);
        check(&[
            ("/kubepods/pod9729a196c4723b60ab401eaff722982d", Scope::Pod),
            (&format!("/crio-{ID}.scope"), Scope::Container),
            ("/container", nested),
        ]);
        // A pod without a cgroup of its own.
        check(&[
            ("/system.slice/containerd.service", ancestor),
            (
                &format!("/kubepods-burstable-pod{systemd}.slice:cri-containerd:{ID}"),
                Scope::Container,
            ),
        ]);
        check(&[
            ("/kubepods", ancestor),
            (&pod, Scope::Pod),
            ("/unit", nested),
        ]);
        check(&[("/system.slice", ancestor), ("/nginx.service", ancestor)]);
    }

    #[test]
    fn without_the_victims_path_the_look_is_all_there_is() {
        let pod = format!("/kubepods/pod{UID}");
        assert_eq!(classify_scope(&pod, None), Scope::Pod);
        assert_eq!(
            classify_scope(&format!("{pod}/{ID}"), None),
            Scope::Container
        );
        assert_eq!(classify_scope("/kubepods", None), Scope::Ancestor);
        assert_eq!(
            classify_scope(&format!("{pod}/{ID}/x"), None),
            Scope::Nested
        );
    }

    #[test]
    fn a_sibling_with_the_same_beginning_is_not_below() {
        assert!(is_below("/a/b", "/a") && is_below("/a", "/"));
        assert!(!is_below("/ab", "/a") && !is_below("/a", "/a") && !is_below("/", "/"));
    }
}
