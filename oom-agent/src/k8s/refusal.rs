//! Classifies refusals. The code alone is not enough: a webhook chooses its own, and a 403 is a missing
//! right, a full quota or a policy's denial. Pure.

/// Why the API server refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The object to create exists.
    Exists,
    /// The credentials are not accepted: a token just replaced, or a server just started.
    Unauthorized,
    /// The role lacks a right.
    Forbidden,
    /// The namespace's `ResourceQuota` has no room.
    Quota,
    /// An admission webhook or policy denies this object.
    Denied,
    /// The server is busy or unreachable behind its balancer: other requests would fail, too.
    Busy,
    /// The same request may succeed later.
    Later,
    /// The version is too old (410).
    Expired,
    /// A retry is refused, too.
    Never,
}

/// The words of `k8s.io/apiserver` for a denial by a webhook, and by a policy.
const DENIALS: [&str; 2] = ["denied the request", "denied request"];

/// The words of the admission plugin `ResourceQuota`.
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
            // A webhook's own code does not mean that the server is busy or unreachable.
            429 | 502..=504 if !denied => Self::Busy,
            // 409: a webhook's, or that of a quota whose count another request has just changed.
            408 | 409 | 425 | 429 | 500.. => Self::Later,
            _ if denied => Self::Denied,
            403 if message.contains(QUOTA) => Self::Quota,
            403 if message.contains(TERMINATING) => Self::Never,
            403 => Self::Forbidden,
            _ => Self::Never,
        }
    }
}

/// Whether a webhook or a policy denied the request.
pub(super) fn is_denial(message: &str) -> bool {
    DENIALS.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_classified_by_code_and_message() {
        const WEBHOOK: &str = "admission webhook \"w.example\" denied the request: no";
        // Kubernetes 1.36.
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
