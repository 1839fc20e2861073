//! What a server says who lets nobody in without a token (RFC 9110, section 11.6.1; RFC 6750, section 3; RFC 9728, section 5.1).

use hyper::HeaderMap;

/// What counts of it here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Where the resource's metadata is.
    pub(super) metadata: Option<String>,
    /// The scopes that are needed.
    pub(super) scope: Option<String>,
}

impl Challenge {
    /// That of the scheme `Bearer`. What is said twice counts as not said.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
        let said: Vec<_> = values.flat_map(parameters).collect();
        let one = |wanted: &str| {
            let mut found = said.iter().filter(|(scheme, name, _)| scheme == "bearer" && name == wanted);
            found.next().filter(|_| found.next().is_none()).map(|(_, _, value)| value.clone())
        };
        Self { metadata: one("resource_metadata"), scope: one("scope") }
    }
}

/// Scheme, name and value of each parameter, up to what is none.
fn parameters(text: &str) -> Vec<(String, String, String)> {
    let (mut rest, mut scheme, mut found) = (text, String::new(), Vec::new());
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, behind)) = token(rest) else { return found };
        match behind.trim_start_matches([' ', '\t']).strip_prefix('=') {
            None => (scheme, rest) = (word.to_ascii_lowercase(), behind),
            Some(behind) => {
                let behind = behind.trim_start_matches([' ', '\t']);
                if behind.is_empty() || behind.starts_with(['=', ',']) {
                    // No parameter, but what other schemes have in one piece.
                    rest = behind.trim_start_matches('=');
                    continue;
                }
                let Some((value, behind)) = value(behind) else { return found };
                found.push((scheme.clone(), word.to_ascii_lowercase(), value));
                rest = behind;
            }
        }
    }
}

/// The word that a text begins with, and what is behind it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/?@".contains(c);
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(word, rest)| (word.to_owned(), rest));
    };
    let (mut said, mut is_escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            '"' if !is_escaped => return Some((said, quoted.get(at..)?.strip_prefix('"')?)),
            '\\' if !is_escaped => is_escaped = true,
            other => {
                said.push(other);
                is_escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_where_the_metadata_is_once_and_for_bearer_tokens() {
        for (said, metadata, scope) in [
            (&[r#"Bearer resource_metadata="https://a/x""#][..], Some("https://a/x"), None),
            (
                &[r#"Bearer realm="a, b=\"c\"", Scope="read write", resource_metadata=https://a/x"#],
                Some("https://a/x"),
                Some("read write"),
            ),
            (&[r#"Basic realm="x", bearer resource_metadata = "https://a/x""#], Some("https://a/x"), None),
            (&[r#"Negotiate a87421000492aa874209af8bc028==, Bearer scope="s""#], None, Some("s")),
            (&["Basic realm=x", r#"Bearer scope="s""#], None, Some("s")),
            (&["Bearer"], None, None),
            (&[r#"Basic resource_metadata="https://a/x""#], None, None),
            (&[r#"Bearer resource_metadata="https://a/x", resource_metadata="https://b/x""#], None, None),
            (&[r#"Bearer resource_metadata="https://a/x"#], None, None),
            (&[r#"Bearer =, resource_metadata="https://a/x""#], None, None),
            (&[""], None, None),
            (&[], None, None),
        ] {
            let mut headers = HeaderMap::new();
            for value in said {
                headers.append("www-authenticate", value.parse().unwrap());
            }
            let expected =
                Challenge { metadata: metadata.map(str::to_owned), scope: scope.map(str::to_owned) };
            assert_eq!(Challenge::of(&headers), expected, "{said:?}");
        }
    }
}
