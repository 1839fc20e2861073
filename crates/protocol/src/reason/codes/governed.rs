//! Codes of what a decision is made by, for whom and about what: policy, facts, identity, surface, idempotency.

macro_rules! governed_codes {
    ($($before:tt)*) => {
        decided_codes! {
            $($before)*
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
                doc: "The bundle's signature is not there: it was taken away, or never made."
            }
            PolicySignatureEmpty = "policy.signature_empty", Silence, Policy, 503 {
                message: "the policy bundle's signature has nothing in it",
                remedy: "Ask the bundle's author to sign it anew with `portcullis bundle sign`.",
                doc: "The bundle has a file for its signature, which is empty, or a text that nobody signed."
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
                remedy: "To go back, or to change it, ask the bundle's author to sign the content under a higher version. If it is the root, put the chain back that holds the one that was in force.",
                doc: "The version of the bundle or of its root is lower than one that the log says was in force, or another one of this version was; or the root came about by another one of that version. An old signature never becomes a new permission, and a version names one content."
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
            PolicyTooDeep = "policy.too_deep", Silence, Policy, 503 {
                message: "the policy bundle is nested too deeply",
                remedy: "Ask the bundle's author to run `portcullis bundle check`.",
                doc: "A policy, an invariant or the schema is nested more deeply than 32 levels, entities, entity types or actions lie in one another more deeply than that or in too many ways, or the schema comes to more than there is room for. The bounds are the same wherever a bundle is read."
            }
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
            PolicyUntested = "policy.untested", Silence, Policy, 503 {
                message: "the policy bundle has no test cases, and does not say so",
                remedy: "Ask the bundle's author to write cases into `tests/`, or to say `untested = true` in `bundle.toml`.",
                doc: "A bundle is tried with its cases before it comes into force. One without any decides only if it says, under its signatures, that nothing tries it."
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
            ToolArgumentsUndeclared = "tool.arguments_undeclared", Silence, Surface, 400 {
                message: "an argument is not declared by the tool's pinned schema",
                remedy: "Leave the argument out. If the tool is meant to take it, its server must declare it, and the bundle's author review and pin it with `portcullis mcp pin`.",
                doc: "The arguments have a key, at any depth, that the pinned `inputSchema` does not declare. Nobody has reviewed what the tool does with it."
            }
            ToolArgumentsInvalid = "tool.arguments_invalid", Silence, Surface, 400 {
                message: "an argument is not as the tool's pinned schema wants it",
                remedy: "Send the arguments as the tool's `inputSchema` describes them.",
                doc: "The arguments do not fit the pinned `inputSchema`: a type, a bound, a pattern, or one that is required."
            }
            ToolArgumentsUnchecked = "tool.arguments_unchecked", Silence, Surface, 403 {
                message: "the arguments cannot be held against the tool's pinned schema",
                remedy: "Have the bundle's author look at what `portcullis bundle check` says of the tool's schema, the gate be of this version too, or send less at once.",
                doc: "The pinned `inputSchema` has something that is not understood, refers to something outside itself, or takes more work than a call may; or the gate is older than such checks."
            }
            SurfaceContext = "surface.context", Silence, Surface, 400 {
                message: "the request's context does not fit the surface's declaration",
                remedy: "Send exactly the declared context, in the declared types.",
                doc: "A context key is undeclared, missing, or of another type than declared."
            }
            SurfaceArgumentsUnkept = "surface.arguments_unkept", Silence, Surface, 400 {
                message: "the arguments of calls on this surface are kept, and those of this one cannot be",
                remedy: "Call through a gate of this version, with less at once if the detail says that they are too long.",
                doc: "The bundle has the arguments of the surface's calls kept (`keep = [\"arguments\"]`), and this call's did not come with the request, are not those that it commits to, or are too long. Nothing runs whose arguments would be missing."
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
        }
    };
}
