//! Codes of what was decided and of what keeps a PERMIT from its caller: evaluation, limits, freshness, approval, witnesses, overload,
//! enforcement.

macro_rules! decided_codes {
    ($($before:tt)*) => {
        reason_codes! {
            $($before)*
            PolicyNoGrant = "policy.no_grant", Deny, Evaluation, 403 {
                message: "no policy grants this request",
                remedy: "Ask the bundle's author for a grant if the request is legitimate.",
                doc: "Policy was evaluated on complete facts, and no `permit` policy is satisfied."
            }
            PolicyForbidden = "policy.forbidden", Deny, Evaluation, 403 {
                message: "policy forbids this request",
                remedy: "Change the request; the named policies forbid it.",
                doc: "A `forbid` policy is satisfied."
            }
            PolicyEvaluationError = "policy.evaluation_error", Silence, Evaluation, 503 {
                message: "a policy could not be evaluated",
                remedy: "Ask the bundle's author to correct the named policies.",
                doc: "At least one policy raised an error. An engine that skips it may answer Allow; Portcullis does not."
            }
            PolicyEntityUnknown = "policy.entity_unknown", Silence, Evaluation, 403 {
                message: "the request names an entity that policy does not know",
                remedy: "Ask the bundle's author to add the entity.",
                doc: "Principal, action or resource is not in the bundle's entities, where a membership test would be false without an error."
            }
            PolicyRequestInvalid = "policy.request_invalid", Silence, Evaluation, 400 {
                message: "the request does not fit the bundle's schema",
                remedy: "Send the attributes that the schema declares for the action.",
                doc: "Schema validation of principal, action, resource or context failed."
            }
            PolicyEngineFailed = "policy.engine_failed", Silence, Evaluation, 503 {
                message: "the policy engine failed",
                remedy: "Ask an operator to look at the arbiter's log.",
                doc: "The engine gave no answer, or one that contradicts itself."
            }
            LimitsExceeded = "limits.exceeded", Deny, Limits, 429 {
                message: "a limit is used up",
                remedy: "Wait until what was reserved leaves the limit's window, ask for less, or ask the bundle's author for more room.",
                doc: "With this request a count or a sum would be above its limit. The answer's detail and the record name the limit, and the record says what it had counted."
            }
            LimitsTooFast = "limits.too_fast", Deny, Limits, 429 {
                message: "requests follow each other too fast",
                remedy: "Ask more slowly.",
                doc: "Within the limit's interval as many requests were permitted as it allows. The answer's detail and the record name the limit."
            }
            LimitsTooManyOpen = "limits.too_many_open", Deny, Limits, 429 {
                message: "too many permits are open",
                remedy: "Wait until one of them has ended. One whose outcome is unknown stays open until an operator says what became of it.",
                doc: "As many PERMITs have no final outcome as the limit allows. The answer's detail and the record name the limit."
            }
            LimitsAmountNegative = "limits.amount_negative", Deny, Limits, 403 {
                message: "a limit sums this amount, and it is negative",
                remedy: "Ask for an amount that is not negative.",
                doc: "A negative amount would give back room that nobody returned."
            }
            LimitsCurrencyUnlisted = "limits.currency_unlisted", Deny, Limits, 403 {
                message: "a limit has no room in this currency",
                remedy: "Use a currency that the limit lists, or ask the bundle's author to list this one.",
                doc: "The limit has a maximum for each currency that it lists, and none for this one: amounts of two currencies are never added."
            }
            LimitsAmountMissing = "limits.amount_missing", Silence, Limits, 400 {
                message: "a limit sums an amount that the request does not have",
                remedy: "Give the amount, and its currency where the surface has one.",
                doc: "The context key that the limit sums, or the one that names the currency, is not in the request. What is missing is not zero."
            }
            LimitsUnreadable = "limits.unreadable", Silence, Limits, 503 {
                message: "it cannot be told how much of a limit is used",
                remedy: "Wait, or ask an operator to look at the ledger.",
                doc: "What limits have counted is not known, or there is no room to count more: more than 131,072 amounts are being kept."
            }
            LimitsAgentFull = "limits.agent_full", Silence, Limits, 503 {
                message: "so much is counted of this agent that no more can be",
                remedy: "Report the outcomes of this agent's actions, and wait until what is counted has lapsed.",
                doc: "More than 32,768 of the amounts that limits have counted and keep are of this agent's PERMITs: a quarter of what is kept of all."
            }
            IdentityStale = "identity.stale", Silence, Freshness, 403 {
                message: "the agent proved its identity too long ago, or it is not known when",
                remedy: "Authenticate anew and ask again. A static token never says when its bearer proved anything.",
                doc: "A satisfied grant asks for a fresher proof of identity (`@identity_within`) than the credential shows."
            }
            ApprovalRequired = "approval.required", Silence, Approval, 403 {
                message: "policy grants this only with an approval, and nobody has given it",
                remedy: "This version has no way to give approvals: have a person do it, or ask the bundle's author for a grant without one.",
                doc: "A satisfied grant asks for an approval (`@approval_roles`), whatever other grants there are. The detail names roles and quorum."
            }
            EvidenceUnwitnessed = "evidence.unwitnessed", Silence, Witness, 503 {
                message: "the witnesses have not seen the record, or since the start not one of them the log",
                remedy: "Ask an operator: `portcullis status` says which witnesses answer; the quorum must within the deadline.",
                doc: "The surface, or a satisfied grant (`@witnessed`), releases a PERMIT only with the cosignatures of a quorum of witnesses, and they did not come within the deadline, or the deployment has no witnesses, or none of them answered when asked last. After a start, whatever the surface, no witness has confirmed yet that the log is the one it knows."
            }
            OverloadShed = "overload.shed", Silence, Overload, 503 {
                message: "the arbiter is at capacity",
                remedy: "Ask later, with backoff.",
                doc: "More requests wait than the bound admits."
            }
            OverloadDeadline = "overload.deadline", Silence, Overload, 504 {
                message: "the request's deadline passed before it was decided",
                remedy: "Ask later, or allow more time.",
                doc: "The deadline passed before the decision was settled."
            }
            OverloadContended = "overload.contended", Silence, Overload, 503 {
                message: "what the decision depends on kept changing",
                remedy: "Ask again.",
                doc: "The bundle changed between evaluation and settling three times in a row."
            }
            ArbiterUnreachable = "arbiter.unreachable", Silence, Enforcement, 503 {
                message: "the permission check is unavailable",
                remedy: "Wait, or ask an operator to start the arbiter.",
                doc: "The gate could not reach the arbiter."
            }
            ArbiterTimeout = "arbiter.timeout", Silence, Enforcement, 504 {
                message: "the permission check did not answer in time",
                remedy: "Wait, or ask an operator to look at the arbiter.",
                doc: "The arbiter did not answer within the request's deadline."
            }
            ReceiptUnverifiable = "receipt.unverifiable", Silence, Enforcement, 502 {
                message: "the permission check gave an answer that proves nothing",
                remedy: "Ask an operator to check which arbiter and key the gate is configured with.",
                doc: "The answer is not a receipt that verifies for this request, attempt and gate with a pinned key."
            }
            PermitExpired = "permit.expired", Silence, Enforcement, 504 {
                message: "the permit expired before it was used",
                remedy: "Ask again.",
                doc: "The permit's lifetime, by the gate's own boot-time clock, ended before the action was started."
            }
            PermitMismatch = "permit.mismatch", Silence, Enforcement, 500 {
                message: "what would be sent is not what was decided",
                remedy: "Report this: it is a defect of the gate or tampering with it.",
                doc: "The bytes at hand do not have the digest that the permit is for."
            }
            UpstreamUnavailable = "upstream.unavailable", Silence, Enforcement, 502 {
                message: "the tool server is not running",
                remedy: "Ask an operator to look at the tool server.",
                doc: "The gate has no tool server to hand the action to, so it does not ask for a permit."
            }
            UpstreamUnconfined = "upstream.unconfined", Silence, Enforcement, 503 {
                message: "the tool server could reach what governs it",
                remedy: "Ask an operator to run the gate on Linux 6.2 or later with Landlock, or to take the surface out of the tier `critical`.",
                doc: "The kernel cannot keep the tool server from the gate's configuration, keys and data, so that nothing runs on a surface of the tier `critical`."
            }
            CredentialUnavailable = "credential.unavailable", Silence, Enforcement, 503 {
                message: "the gate has no credential for the tool server",
                remedy: "Ask an operator to look at the source of the tool server's credential; the gate's notes say what is wrong.",
                doc: "A credential that the gate shows the tool server, fills in in a call, or starts the server with could not be had in time, or is none. Nothing is sent or started without it."
            }
        }
    };
}
