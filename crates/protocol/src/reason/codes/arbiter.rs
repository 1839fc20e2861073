//! Codes of what must hold before anything is asked: request, gate, clock, evidence, state.

macro_rules! arbiter_codes {
    () => {
        governed_codes! {
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
                doc: "The ledger cannot be written, synced or found where it was opened; or nothing can be put on record now, for the reason that the detail names, and the spool that was to keep the attempt is full or fails."
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
        }
    };
}
