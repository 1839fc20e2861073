//! A finding in a bundle as people read it.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use portcullis_policy::{Diagnosis, Snapshot};

use crate::harmless::harmless;

/// The text of a bundle's file.
pub(crate) fn text<'a>(snapshot: &'a Snapshot, file: &str) -> Option<&'a str> {
    let (_, bytes) = snapshot.files().find(|(path, _)| *path == file)?;
    str::from_utf8(bytes).ok()
}

/// One finding with its source, on a terminal that none of it can steer.
pub(crate) fn rendered(renderer: &Renderer, text: Option<&str>, found: &Diagnosis) -> String {
    let file = harmless(&found.file);
    let title = harmless(&found.message);
    let title = Level::ERROR.primary_title(title.replace('\n', " "));
    let mut group = match text.filter(|_| !found.labels.is_empty()) {
        Some(text) => {
            let kinds =
                std::iter::once(AnnotationKind::Primary).chain(std::iter::repeat(AnnotationKind::Context));
            let marks = found.labels.iter().zip(kinds).map(|(label, kind)| {
                let said = label.text.as_deref().map(harmless);
                kind.span(label.span.clone()).label(said)
            });
            // The marks are of as many bytes as what they stand for.
            title.element(Snippet::source(harmless(text)).path(file).annotations(marks))
        }
        None if file.is_empty() => Group::with_title(title),
        None => title.element(Origin::path(file)),
    };
    if let Some(help) = &found.help {
        group = group.element(Level::HELP.message(harmless(help)));
    }
    group = group.element(Level::HELP.with_name("remedy").message(found.remedy));
    renderer.render(&[group])
}
