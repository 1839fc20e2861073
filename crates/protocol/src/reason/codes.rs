//! The list itself. `api/reason-codes.md` is generated from it.

use super::{Decision, Precondition};

reason_codes! {
    RequestMalformed = "request.malformed", Silence, Request, 400 {
        message: "the request is not well-formed",
        remedy: "Send one JSON object as the API describes it.",
        doc: "The request is not one JSON text of the expected shape."
    }
    RequestDuplicateKey = "request.duplicate_key", Silence, Request, 400 {
        message: "an object in the request names a key twice",
        remedy: "Send every key once.",
        doc: "Two parsers may read two different requests from duplicate keys, so neither reading is decided."
    }
    RequestAmbiguousKey = "request.ambiguous_key", Silence, Request, 400 {
        message: "two keys in the request differ only in case",
        remedy: "Send one spelling of the key.",
        doc: "Keys equal but for case, where policy or dispatch depends on them: a lenient parser may take the other one."
    }
    RequestFraction = "request.fraction", Silence, Request, 400 {
        message: "a number in the request has a fraction or an exponent",
        remedy: "Send decimals as strings with the declared scale, such as \"12.50\".",
        doc: "A number that policy would read has a fraction or an exponent and no exact canonical form."
    }
    RequestIntegerRange = "request.integer_range", Silence, Request, 400 {
        message: "an integer in the request lies beyond ±(2^53-1)",
        remedy: "Send it as a string.",
        doc: "RFC 8785 numbers are doubles: beyond ±(2^53-1) an integer would change its value between decision and hash."
    }
    RequestTooDeep = "request.too_deep", Silence, Request, 400 {
        message: "the request nests too deeply",
        remedy: "Send a flatter request.",
        doc: "Arrays and objects nest deeper than the bound."
    }
    RequestTooLarge = "request.too_large", Silence, Request, 413 {
        message: "the request is too large",
        remedy: "Send a smaller request.",
        doc: "The request is longer than the bound, or its record would be."
    }
    RequestUnknownField = "request.unknown_field", Silence, Request, 400 {
        message: "the request has a field that is not understood",
        remedy: "Remove the field, or use a version of the service that knows it.",
        doc: "What is not understood is not authorized: unknown fields are refused, never ignored."
    }
    RequestInvalidValue = "request.invalid_value", Silence, Request, 400 {
        message: "a field of the request has an invalid value",
        remedy: "See the API description for the field's syntax.",
        doc: "An identifier, digest or other typed field does not have its syntax."
    }
    RequestArgument = "request.argument", Silence, Request, 400 {
        message: "an argument that policy depends on is missing or of another type",
        remedy: "Send the argument with its declared type.",
        doc: "The surface declares an argument as an input of policy, and the call does not have it in that type."
    }
    RequestNotCanonical = "request.not_canonical", Silence, Request, 400 {
        message: "a path or URL is not in canonical form",
        remedy: "Send absolute paths without `.`, `..` or empty segments, and URLs in their normal form.",
        doc: "A path or URL that policy depends on could mean another thing to the tool than to the policy."
    }
    RequestAttemptReused = "request.attempt_reused", Silence, Request, 409 {
        message: "this attempt was already used for another request",
        remedy: "Make a new attempt for each request.",
        doc: "An attempt names one request. The same attempt with another digest is refused."
    }
    RequestPermitOpen = "request.permit_open", Silence, Request, 409 {
        message: "the PERMIT of this attempt can still be spent; its receipt is for its gate alone",
        remedy: "Ask again once it has ended or its lifetime is over. A gate whose answer was lost asks for the decision again.",
        doc: "The receipt of a PERMIT is shown once it can make no permit any more. Until then it is handed out with a decision only, if it would be released now."
    }
    RequestOutcomeRecorded = "request.outcome_recorded", Silence, Request, 409 {
        message: "another outcome of this PERMIT is on record already",
        remedy: "Nothing is to be done: the outcome on record stands.",
        doc: "A PERMIT has one outcome. A report of another is refused, unless it supersedes `unknown`."
    }
    GateShut = "gate.shut", Silence, Gate, 503 {
        message: "an operator has shut the gate",
        remedy: "Ask an operator; `portcullis status` says who shut it and why, `portcullis open` opens it.",
        doc: "An operator has shut this arbiter. Nothing is permitted until one opens it."
    }
    GateUnknown = "gate.unknown", Silence, Gate, 503 {
        message: "it cannot be told whether the gate is shut",
        remedy: "Ask an operator to look at the data directory.",
        doc: "The operator's shut mark cannot be read, so the gate counts as shut."
    }
    ClockUnreadable = "clock.unreadable", Silence, Clock, 503 {
        message: "the clock cannot be read",
        remedy: "Ask an operator to look at the machine's clock.",
        doc: "No time can be assigned, so nothing that expires can be judged."
    }
    ClockJumped = "clock.jumped", Silence, Clock, 503 {
        message: "the clock has jumped",
        remedy: "Ask an operator to correct the clock, or to restart the arbiter if the new time is right.",
        doc: "Wall clock and boot clock have drifted apart by more than the bound since the arbiter started."
    }
    ClockBehindLog = "clock.behind_log", Silence, Clock, 503 {
        message: "the clock is behind the log",
        remedy: "Ask an operator to correct the clock.",
        doc: "The wall clock is earlier than the newest record by more than the bound."
    }
    EvidenceUnwritable = "evidence.unwritable", Silence, Evidence, 503 {
        message: "evidence cannot be written, so nothing is permitted",
        remedy: "Ask an operator to restore the ledger's storage; it clears by itself when writing works again.",
        doc: "The ledger cannot be written, synced or found where it was opened."
    }
    EvidenceRecovering = "evidence.recovering", Silence, Evidence, 503 {
        message: "the ledger is being rebuilt after a failed write",
        remedy: "Wait; it clears by itself when the rebuilt ledger agrees with its anchor.",
        doc: "A write, sync or commit failed; the ledger is closed and rebuilt into a new file before anything is permitted."
    }
    EvidenceCorrupt = "evidence.corrupt", Silence, Evidence, 503 {
        message: "the ledger does not verify",
        remedy: "Ask an operator to keep the data directory for examination and restore a verified copy.",
        doc: "Records, tree or checkpoint of the ledger disagree with one another."
    }
    EvidenceBehindAnchor = "evidence.behind_anchor", Silence, Evidence, 503 {
        message: "the ledger is behind its anchor",
        remedy: "Ask an operator: an old copy of the ledger was put in place, or the anchor was replaced. The way out is in docs/operating.md.",
        doc: "The anchor names a tree head that the ledger does not contain: it was rolled back, forked or replaced."
    }
    EvidenceAnchorUnwritable = "evidence.anchor_unwritable", Silence, Evidence, 503 {
        message: "the ledger's anchor cannot be written",
        remedy: "Ask an operator to restore the anchor's storage.",
        doc: "The tree head cannot be kept in its second place, so a later rollback could go unseen."
    }
    EvidenceDiskReserve = "evidence.disk_reserve", Silence, Evidence, 503 {
        message: "disk space is down to the reserve kept for outcomes",
        remedy: "Ask an operator to free disk space.",
        doc: "Free space fell below the reserve that is held for outcomes and operators."
    }
    EvidenceOutcomeUnrecorded = "evidence.outcome_unrecorded", Silence, Evidence, 503 {
        message: "what became of an earlier call is not on record yet",
        remedy: "Wait, or ask an operator to look at the arbiter.",
        doc: "A gate could not report the outcome of a call that it ran. Until the arbiter has it on record, the gate lets nothing run."
    }
    EvidenceVaultUnavailable = "evidence.vault_unavailable", Silence, Evidence, 503 {
        message: "what a decision depends on cannot be kept",
        remedy: "Ask an operator to put the vault's master key back.",
        doc: "The vault's master key cannot be read, so that no request could be kept for replay."
    }
    EvidenceVaultWrongKey = "evidence.vault_wrong_key", Silence, Evidence, 503 {
        message: "what a decision depends on cannot be kept",
        remedy: "Ask an operator to put the vault's own master key back.",
        doc: "The vault's master key is not the one that the ledger's subject keys are wrapped by."
    }
    SignerUnavailable = "signer.unavailable", Silence, Evidence, 503 {
        message: "the signer is not available",
        remedy: "Ask an operator to put the signing key or the signer back; it clears by itself.",
        doc: "The signing key cannot be read, or the signer that holds it cannot be reached."
    }
    SignerTimeout = "signer.timeout", Silence, Evidence, 503 {
        message: "the signer did not answer in time",
        remedy: "Ask an operator to look at the signer; it clears by itself when it answers in time.",
        doc: "The signer was asked and gave no signature within `signer.deadline_ms`. One that comes late is not used."
    }
    SignerWrongKey = "signer.wrong_key", Silence, Evidence, 503 {
        message: "the signer holds another key than the log's",
        remedy: "Ask an operator to put the log's own signing key back.",
        doc: "The signing key is not the one that this log's checkpoints are verified with."
    }
    SignerFailed = "signer.failed", Silence, Evidence, 503 {
        message: "the signer failed",
        remedy: "Ask an operator to look at the signer.",
        doc: "The signer answered with an error, or with a signature that does not verify."
    }
    StateUnreachable = "state.unreachable", Silence, State, 503 {
        message: "the state store does not answer",
        remedy: "Wait, or ask an operator to look at the ledger.",
        doc: "What the decision depends on could not be read."
    }
    StateFenced = "state.fenced", Silence, State, 503 {
        message: "this arbiter no longer holds the data directory",
        remedy: "Use the arbiter that holds it.",
        doc: "The data directory's lock is no longer this process's, so another writer may exist."
    }
    PolicyMissing = "policy.missing", Silence, Policy, 503 {
        message: "the policy bundle is missing",
        remedy: "Ask an operator to put the pinned bundle back; it clears by itself.",
        doc: "The bundle cannot be read where the configuration says it is."
    }
    PolicyRootInvalid = "policy.root_invalid", Silence, Policy, 503 {
        message: "the root of the policy bundle's keys does not verify",
        remedy: "Ask an operator to put the chain of roots back whole; `portcullis bundle root show` says what is wrong with it.",
        doc: "The chain of roots cannot be read, does not begin with the pinned one, or a link is not signed by enough keys of the link before it and of its own."
    }
    PolicyUnsigned = "policy.unsigned", Silence, Policy, 503 {
        message: "the policy bundle is not signed",
        remedy: "Ask the bundle's author to sign it with `portcullis bundle sign`.",
        doc: "The bundle has no signature, or an empty one."
    }
    PolicyUntrustedKey = "policy.untrusted_key", Silence, Policy, 503 {
        message: "the policy bundle is signed by an unknown key",
        remedy: "Ask an operator to add the signer's key to the trusted keys if it is meant to be trusted.",
        doc: "No signature of the bundle is by a key that the configuration trusts."
    }
    PolicyThreshold = "policy.threshold", Silence, Policy, 503 {
        message: "the policy bundle is signed by too few keys",
        remedy: "Ask more of the bundle's signers to sign it with `portcullis bundle sign`.",
        doc: "Fewer distinct keys of the current root signed the bundle than the root asks for."
    }
    PolicySignatureInvalid = "policy.signature_invalid", Silence, Policy, 503 {
        message: "the policy bundle's signature does not verify",
        remedy: "Ask the bundle's author to sign it again.",
        doc: "A signature of a trusted key does not fit the bundle's digest, name and version."
    }
    PolicyRolledBack = "policy.rolled_back", Silence, Policy, 503 {
        message: "the policy bundle, or the root of its keys, is older than one that was in force, or another of its version",
        remedy: "To go back, or to change it, ask the bundle's author to sign the content under a higher version.",
        doc: "The version is lower than one that the log says was in force, or another bundle of this version was. An old signature never becomes a new permission, and a version names one content."
    }
    PolicyPinMismatch = "policy.pin_mismatch", Silence, Policy, 503 {
        message: "the policy bundle is not the pinned one",
        remedy: "Ask an operator to restore the pinned bundle or to pin the new one with `portcullis bundle pin`.",
        doc: "The bundle's digest differs from the configured pin."
    }
    PolicyCorrupt = "policy.corrupt", Silence, Policy, 503 {
        message: "the policy bundle cannot be understood",
        remedy: "Ask the bundle's author to run `portcullis bundle check`.",
        doc: "A file of the bundle does not parse, does not validate, or asks for what this version does not have."
    }
    PolicyTooDeep = "policy.too_deep", Silence, Policy, 503 { message: "the policy bundle is nested too deeply", remedy: "Ask the bundle's author to run `portcullis bundle check`.", doc: "A policy, an invariant or the schema is nested more deeply than 32 levels, which is the same bound wherever a bundle is read." }
    PolicyUnproved = "policy.unproved", Silence, Policy, 503 {
        message: "the policy bundle is not proved, and a proof is demanded",
        remedy: "Ask an operator to activate it with `portcullis bundle activate`, where the arbiter has a solver; `portcullis bundle prove` says what does not hold.",
        doc: "The bundle, the one before it or the configuration demands that every statement of it be proved, and the log names no proof by which it came into force. No solver, too little time and an unclear answer are no proof, and a pin is none."
    }
    PolicyProofsDropped = "policy.proofs_dropped", Silence, Policy, 503 {
        message: "the policy bundle passes over that the one before it demands proofs",
        remedy: "Ask the bundle's author to say `[proofs]` with `required = true`, or `required = false` to end the demand.",
        doc: "A demand for proofs ends only in a proved bundle that says so, under its signatures. One that says nothing of them does not follow one that demands them."
    }
    PolicyRootExpired = "policy.root_expired", Silence, Policy, 503 {
        message: "the root of the policy bundle's keys has expired",
        remedy: "Ask the root's signers for the next root, and add it to the chain.",
        doc: "Now lies at or after the `valid_until` of the newest root. What it vouched for permits nothing from that moment."
    }
    PolicyNotYetValid = "policy.not_yet_valid", Silence, Policy, 503 {
        message: "the policy bundle is not valid yet",
        remedy: "Wait until the bundle's validity begins, or activate another bundle.",
        doc: "Now lies before the bundle's `valid_from`."
    }
    PolicyExpired = "policy.expired", Silence, Policy, 503 {
        message: "the policy bundle has expired",
        remedy: "Ask the bundle's author to sign a new version.",
        doc: "Now lies at or after the bundle's `valid_until`. An expired bundle permits nothing from that moment."
    }
    FactUnavailable = "fact.unavailable", Silence, Facts, 503 {
        message: "facts that policy depends on are not there",
        remedy: "Ask an operator to look at the source of facts that `portcullis status` names; it clears by itself.",
        doc: "A source of facts that the bundle declares is not configured, cannot be read, is not understood or not fit for the bundle, or says to be from the future."
    }
    FactRolledBack = "fact.rolled_back", Silence, Facts, 503 {
        message: "facts that policy depends on are older than facts that are on record",
        remedy: "Ask an operator why the source of facts that `portcullis status` names gives what it gave before; it clears when the source gives what is newer.",
        doc: "What a source of facts gave says to be as of an earlier time than other facts of the same source that a record names. No exception stands in for it."
    }
    FactStale = "fact.stale", Silence, Facts, 503 {
        message: "facts that policy depends on are too old",
        remedy: "Ask an operator to bring the source of facts that `portcullis status` names up to date.",
        doc: "What a source of facts gave is older than its `max_age` in the bundle, and no exception of the surface stands in for it."
    }
    IdentityUnknown = "identity.unknown", Silence, Identity, 403 {
        message: "the agent is not known to policy",
        remedy: "Ask the bundle's author to add the agent to the bundle's entities.",
        doc: "The credential names an agent that the bundle's entities do not hold."
    }
    IdentityExpired = "identity.expired", Silence, Identity, 403 {
        message: "the agent's credential has expired",
        remedy: "Ask an operator for a new credential.",
        doc: "The credential's validity ended."
    }
    IdentityUnverified = "identity.unverified", Silence, Identity, 403 {
        message: "the agent's identity could not be verified",
        remedy: "Present the agent's credential.",
        doc: "Who is asking could not be established."
    }
    IdentityUnavailable = "identity.unavailable", Silence, Identity, 503 {
        message: "the keys of the agent's identity provider cannot be had, so it cannot be told who asks", remedy: "Wait, or ask an operator to bring back the identity provider that `portcullis status` names.", doc: "The keys of the issuer that an access token names are older than `expire_seconds`, or have never been had. The attempt is counted and gets no record of its own: who made it is not known." }
    IdentityPrincipal = "identity.principal", Silence, Identity, 403 {
        message: "the agent's credential does not let it act for whom the request says",
        remedy: "Name one for whom the credential lets the agent act, or nobody if it lists none; an operator lists them in `agents.NAME.acts_for`.",
        doc: "The request names somebody whom the agent's credential does not list, or nobody although it lists some."
    }
    IdentityPrincipalUnknown = "identity.principal_unknown", Silence, Identity, 403 {
        message: "whom the agent acts for is not known to policy",
        remedy: "Ask the bundle's author to add the person to the bundle's entities, in the type that `[principals]` names, or the agent.",
        doc: "The credential admits whom the request names, and the bundle's entities hold neither such an agent nor such a person."
    }
    SurfaceUnknown = "surface.unknown", Silence, Surface, 403 {
        message: "nothing governs this operation, so it is not permitted",
        remedy: "Ask the bundle's author to declare the surface.",
        doc: "The bundle declares no such surface: a tool that no rule names does not run."
    }
    SurfaceActionUnknown = "surface.action_unknown", Silence, Surface, 403 {
        message: "the surface has no such action",
        remedy: "Ask the bundle's author to declare the action on the surface.",
        doc: "The surface does not declare the request's action."
    }
    SurfaceMappingChanged = "surface.mapping_changed", Silence, Surface, 409 {
        message: "the gate read the call by the rules of another bundle",
        remedy: "Ask again: the gate reads the active bundle's rules before its next call.",
        doc: "The request was mapped under another bundle than the one that would decide it."
    }
    ToolAmbiguous = "tool.ambiguous", Silence, Surface, 403 {
        message: "the tool could be taken for another one, or says what people do not see",
        remedy: "Have the server's operator look at it with `portcullis mcp list` and `portcullis mcp inspect`.",
        doc: "The server lists the tool twice, or another by a name that looks the same; or there are invisible or direction-changing characters in what it says of it. No pin changes that."
    }
    ToolUnpinned = "tool.unpinned", Silence, Surface, 403 {
        message: "the tool was not reviewed: the bundle pins tools, and not this one",
        remedy: "Ask the bundle's author to review it and pin it with `portcullis mcp pin`.",
        doc: "The bundle pins tools of this server, or requires pins of every server, and has none of this tool."
    }
    ToolDefinitionUnknown = "tool.definition_unknown", Silence, Surface, 503 {
        message: "the server does not say how it defines the tool, so that it cannot be held against its pin",
        remedy: "Nothing: the gate asks the server again with the next call. Its operator sees more with `portcullis mcp list`.",
        doc: "The server's list of tools could not be had in time, is not understood, or changed while it was read."
    }
    ToolDefinitionChanged = "tool.definition_changed", Silence, Surface, 409 {
        message: "the server defines the tool otherwise than when it was reviewed",
        remedy: "Ask the bundle's author to look at the change with `portcullis mcp diff`, and to pin the tool again if it is meant.",
        doc: "Some member of the tool's definition is another than the pinned one, or the server does not list the tool any more."
    }
    SurfaceContext = "surface.context", Silence, Surface, 400 {
        message: "the request's context does not fit the surface's declaration",
        remedy: "Send exactly the declared context, in the declared types.",
        doc: "A context key is undeclared, missing, or of another type than declared."
    }
    IdempotencyKeyMissing = "idempotency.key_missing", Silence, Idempotency, 400 {
        message: "the surface needs an idempotency key",
        remedy: "Send a key that stays the same for retries of one intent.",
        doc: "The surface declares `idempotency = \"key\"` and the request has none."
    }
    IdempotencyKeyUnexpected = "idempotency.key_unexpected", Silence, Idempotency, 400 {
        message: "the surface does not take an idempotency key",
        remedy: "Leave the key out, or ask the bundle's author to declare `idempotency = \"key\"`.",
        doc: "A caller who sends a key expects at most one execution, which this surface does not promise."
    }
    IdempotencyUnreadable = "idempotency.unreadable", Silence, Idempotency, 503 {
        message: "it cannot be told whether this ran before",
        remedy: "Wait, or ask an operator to look at the ledger.",
        doc: "The idempotency state could not be read; unreadable is never `not executed yet`."
    }
    IdempotencyConflict = "idempotency.conflict", Deny, Idempotency, 409 {
        message: "the idempotency key was used for another request",
        remedy: "Use a new key for a new intent.",
        doc: "The key was consumed by a PERMIT for a request with another digest."
    }
    IdempotencyInFlight = "idempotency.in_flight", Silence, Idempotency, 409 {
        message: "the same request is running now",
        remedy: "Wait for its outcome.",
        doc: "A PERMIT for this key has no outcome yet."
    }
    IdempotencyCompleted = "idempotency.completed", Deny, Idempotency, 409 {
        message: "the same request already ran; its result is returned and nothing runs again",
        remedy: "Use the stored result. Use a new key for a new intent.",
        doc: "A PERMIT for this key and digest has the outcome `ok` or `failed`; the answer carries what was stored."
    }
    IdempotencyOutcomeUnknown = "idempotency.outcome_unknown", Silence, Idempotency, 409 {
        message: "the same request may have run; its outcome is unknown",
        remedy: "Ask a person to find out; it is never retried by machine.",
        doc: "A PERMIT for this key ended without an outcome."
    }
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
}
