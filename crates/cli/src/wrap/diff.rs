//! What changes in a configuration, line by line, without what must not be shown.

use similar::TextDiff;

use super::document::Document;
use crate::say;

/// Lines that are shown around a change.
const AROUND: usize = 1;

/// The difference in the unified form, harmless to a terminal. The values of variables and headers, and addresses, are not
/// in it: where nothing but those differs, it is empty.
pub(crate) fn shown(old: &Document, new: &Document, names: (&str, &str)) -> String {
    let (old, new) = (old.redacted(), new.redacted());
    let diff = TextDiff::from_lines(&old, &new);
    let text = diff.unified_diff().context_radius(AROUND).header(names.0, names.1).to_string();
    say::harmless(&text)
}
