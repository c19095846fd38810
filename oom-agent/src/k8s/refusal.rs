//! What an answer that is no success means. Its code alone does not tell: a webhook chooses its own, and
//! a 403 is a missing right, a full quota or a policy's denial. Pure.

/// Why the API server did not do as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The object to be created exists.
    Exists,
    /// It does not know who asks: a token that has just been replaced, or a server that has just started.
    Unauthorized,
    /// The role lacks a right.
    Forbidden,
    /// The namespace's `ResourceQuota` has no room.
    Quota,
    /// An admission webhook or policy denies this object.
    Denied,
    /// The server is busy, or away behind its balancer: no other request would fare better.
    Busy,
    /// The same request may succeed later.
    Later,
    /// What is asked for lies too far back (410).
    Expired,
    /// It will not be done.
    Never,
}

/// As `k8s.io/apiserver` words what a webhook, and what a policy denies.
const DENIALS: [&str; 2] = ["denied the request", "denied request"];

/// As the admission plugin `ResourceQuota` words it.
const QUOTA: &str = "exceeded quota";

const TERMINATING: &str = "being terminated";

// === impl Refusal ===

impl Refusal {
    /// By the HTTP status, and `reason` and `message` of the server's `Status`.
    pub(super) fn classify(code: u16, reason: &str, message: &str) -> Self {
        let denied = is_denial(message);
        match code {
            401 => Self::Unauthorized,
            409 if reason == "AlreadyExists" && !denied => Self::Exists,
            410 => Self::Expired,
            // With a webhook's own code the server itself is neither busy nor away.
            429 | 502..=504 if !denied => Self::Busy,
            // 409: of a webhook that says so, or of a quota whose count another request has just changed.
            408 | 409 | 425 | 429 | 500.. => Self::Later,
            _ if denied => Self::Denied,
            403 if message.contains(QUOTA) => Self::Quota,
            403 if message.contains(TERMINATING) => Self::Never,
            403 => Self::Forbidden,
            _ => Self::Never,
        }
    }
}

/// Whether a webhook or a policy speaks.
pub(super) fn is_denial(message: &str) -> bool {
    DENIALS.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_words_and_not_by_its_code_alone() {
        const WEBHOOK: &str = "admission webhook \"w.example\" denied the request: no";
        // As Kubernetes 1.36 words it.
        const POLICY: &str = "events \"a.1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no";
        for (code, reason, message, expected) in [
            (
                409,
                "AlreadyExists",
                "events \"a.1\" already exists",
                Refusal::Exists,
            ),
            (409, "Conflict", WEBHOOK, Refusal::Later),
            (409, "AlreadyExists", WEBHOOK, Refusal::Later),
            (
                409,
                "Conflict",
                "Operation cannot be fulfilled on resourcequotas \"q\"",
                Refusal::Later,
            ),
            (409, "", "", Refusal::Later),
            (
                403,
                "Forbidden",
                "events \"a.1\" is forbidden: exceeded quota: q, requested: count/events=1, used: count/events=9, limited: count/events=9",
                Refusal::Quota,
            ),
            (403, "Forbidden", WEBHOOK, Refusal::Denied),
            (400, "", WEBHOOK, Refusal::Denied),
            (
                403,
                "",
                "admission webhook \"w\" denied the request: exceeded quota",
                Refusal::Denied,
            ),
            (422, "Invalid", POLICY, Refusal::Denied),
            (403, "Forbidden", POLICY, Refusal::Denied),
            (429, "", WEBHOOK, Refusal::Later),
            (503, "", WEBHOOK, Refusal::Later),
            (
                403,
                "Forbidden",
                "unable to create new content in namespace shop because it is being terminated",
                Refusal::Never,
            ),
            (
                403,
                "Forbidden",
                "events is forbidden: User \"a\" cannot create resource \"events\" in API group \"\" in the namespace \"shop\"",
                Refusal::Forbidden,
            ),
            (401, "Unauthorized", "Unauthorized", Refusal::Unauthorized),
            (410, "Expired", "too old resource version", Refusal::Expired),
            (429, "TooManyRequests", "", Refusal::Busy),
            (
                500,
                "InternalError",
                "failed calling webhook",
                Refusal::Later,
            ),
            (503, "", "", Refusal::Busy),
            (404, "NotFound", "", Refusal::Never),
            (422, "Invalid", "", Refusal::Never),
        ] {
            let refusal = Refusal::classify(code, reason, message);
            assert_eq!(refusal, expected, "{code} {reason}: {message}");
        }
    }
}
