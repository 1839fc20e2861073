//! The reference of reason codes.

use crate::reason::{Precondition, ReasonCode};

/// The reference of reason codes, as Markdown.
#[must_use]
pub fn reason_codes() -> String {
    let mut text = String::from(
        "# Reason codes\n\n\
         Every DENY and SILENCE has exactly one reason code: that of the first failing precondition, in the order\n\
         below. The list is closed; a reader that meets a code it does not know treats it as SILENCE. Generated\n\
         from `crates/protocol/src/reason/codes/` by `cargo xtask tidy --bless`.\n",
    );
    for precondition in Precondition::ALL {
        text.push_str(&format!("\n## {}\n\n", precondition.as_str()));
        text.push_str("| code | decision | HTTP | what callers are told | meaning | remedy |\n|---|---|---|---|---|---|\n");
        for code in ReasonCode::ALL.iter().filter(|code| code.precondition() == *precondition) {
            text.push_str(&format!(
                "| `{code}` | {} | {} | {} | {} | {} |\n",
                code.decision().as_str(),
                code.http_status(),
                code.message(),
                code.documentation(),
                code.remedy()
            ));
        }
    }
    text
}
