//! Texts of somebody else on a terminal.

/// A text of somebody else without what would steer a terminal, each such character in the place of as many bytes: places
/// in it stay where they are. Lines stay lines.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if steers(c) { in_place_of(c) } else { c }).collect()
}

/// Control characters but tabs and ends of lines, and what is invisible or turns the direction of the text.
fn steers(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
    );
    hidden || (c.is_control() && !matches!(c, '\t' | '\n'))
}

const fn in_place_of(c: char) -> char {
    match c.len_utf8() {
        1 => '?',
        2 => '¿',
        3 => '\u{fffd}',
        _ => '\u{1fbc4}',
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_steers_a_terminal_is_shown_as_a_mark_of_its_length() {
        let text = "a\tb\u{1b}[31m\u{9b}2J\u{202e}\u{e0041}é\r\n";
        let shown = harmless(text);
        assert_eq!(shown, "a\tb?[31m¿2J\u{fffd}\u{1fbc4}é?\n");
        assert_eq!(shown.len(), text.len());
    }
}
