use portcullis_protocol::{ToolDefinition, ToolSeen};
use serde_json::{Value, json};

use super::{Entry, What, are_alike, beginning, forms, oddities, seen, twins, visible};

fn tool(definition: &Value) -> ToolDefinition {
    ToolDefinition::parse(definition.to_string().as_bytes()).unwrap()
}

fn odd(definition: &Value) -> Vec<(String, What)> {
    oddities(&tool(definition)).into_iter().map(|oddity| (oddity.place, oddity.what)).collect()
}

#[test]
fn names_that_look_the_same_are_alike_and_others_are_not() {
    let alike = [
        ("read", "Read"),
        ("read", "re\u{430}d"),
        ("read", "ｒead"),
        ("read", "re\u{200b}ad"),
        ("straße", "STRASSE"),
        ("get_l", "get_1"),
        ("get_l", "get_I"),
        ("modern", "modem"),
        ("\u{212a}ill", "kill"),
        ("\u{3bf}pen", "open"),
    ];
    for (one, other) in alike {
        assert!(are_alike(one, other) && are_alike(other, one), "{one} {other}");
    }
    for (one, other) in [("read", "write"), ("read", "read_all"), ("a", "b"), ("read", "read")] {
        assert!(!are_alike(one, other), "{one} {other}");
    }
}

/// Both of them: which one the server would run is not to be guessed.
#[test]
fn all_names_of_a_family_that_look_alike_are_twins() {
    let names = ["read", "write", "Read", "re\u{430}d", "erase", "erase"];
    assert_eq!(twins(names), ["Read", "erase", "read", "re\u{430}d"].into());
}

/// Two that are not alike, and a third that is like both.
#[test]
fn a_name_between_two_others_makes_twins_of_all_three() {
    let (one, two, between) = ("Il", "ll", "il");
    assert!(are_alike(one, between), "by case");
    for names in [[one, two, between], [between, one, two], [two, between, one]] {
        assert!(twins(names).contains(one) && twins(names).contains(between), "{names:?}");
    }
}

#[test]
fn hidden_and_bidirectional_characters_are_found_wherever_they_are() {
    let hidden = [
        '\u{0}',
        '\u{7}',
        '\u{1b}',
        '\u{7f}',
        '\u{9b}',
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{180e}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2062}',
        '\u{2066}',
        '\u{2069}',
        '\u{206f}',
        '\u{2800}',
        '\u{3164}',
        '\u{fe00}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{ffa0}',
        '\u{fff9}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{e007f}',
        '\u{e0100}',
        '\u{e000}',
        '\u{f0000}',
    ];
    for c in hidden {
        let text = format!("a{c}b");
        let places = [
            json!({ "name": "t", "description": text }),
            json!({ "name": "t", "title": text }),
            json!({ "name": "t", "inputSchema": { "properties": { "x": { "enum": [1, text] } } } }),
            json!({ "name": "t", "inputSchema": { "properties": { text.as_str(): {} } } }),
            json!({ "name": "t", text.as_str(): 1 }),
        ];
        for definition in places {
            let found = odd(&definition);
            assert!(found.iter().any(|(_, what)| *what == What::Hidden(c)), "{definition}: {found:?}");
        }
        assert!(!odd(&json!({ "name": text })).is_empty(), "U+{:04X} in a name", u32::from(c));
        assert!(visible(&text).contains(&format!("⟨U+{:04X}⟩", u32::from(c))), "{}", visible(&text));
    }
}

#[test]
fn ordinary_text_has_nothing_hidden() {
    let text = "Lines\nand\ttabs, ümlauts, 日本語, العربية, ⚠️ ✅ 1️⃣ 👩‍💻 👍🏽 🏳️‍🌈 ©️ “quotes” — and more\u{a0}…";
    assert_eq!(odd(&json!({ "name": "a.b-c_D", "description": text })), []);
    assert_eq!(visible(text), text);
    // In what shows on one line, ends of lines are hidden as well.
    assert_eq!(odd(&json!({ "name": "a\nb" }))[0].1, What::Hidden('\n'));
    assert_eq!(visible("a\rb"), "a⟨U+000D⟩b");
}

#[test]
fn what_makes_an_emoji_is_hidden_anywhere_else() {
    for text in [
        "a\u{fe0f}",
        "1\u{fe0f}",
        "⚠\u{fe0f}\u{fe0f}",
        "\u{fe0f}⚠",
        "a\u{200d}👍",
        "👍\u{200d}a",
        "👍\u{200d}",
    ] {
        assert_eq!(odd(&json!({ "name": "t", "description": text })).len(), 1, "{text:?}");
    }
}

#[test]
fn a_name_is_one_script_in_its_normal_form() {
    assert_eq!(odd(&json!({ "name": "re\u{430}d" })), [("/name".to_owned(), What::MixedScripts)]);
    assert_eq!(odd(&json!({ "name": "ｒead" })), [("/name".to_owned(), What::NotNormal)]);
    assert_eq!(odd(&json!({ "name": "" })), [("/name".to_owned(), What::Empty)]);
    for name in ["read", "Read.All-2", "é", "чтение", "読む"] {
        assert_eq!(odd(&json!({ "name": name })), [], "{name}");
    }
    let twice = json!({ "name": "t", "Description": "other", "description": "one" });
    assert_eq!(odd(&twice), [(String::new(), What::Spellings)]);
    assert_eq!(odd(&json!({ "name": "t", "InputSchema": {} })), [(String::new(), What::Spellings)]);
}

#[test]
fn a_name_that_nobody_reads_to_its_end_is_compared_with_none() {
    let (longest, longer) = ("x".repeat(512), "x".repeat(513));
    assert_eq!(odd(&json!({ "name": longest })), []);
    assert_eq!(odd(&json!({ "name": longer })), [("/name".to_owned(), What::TooLong)]);
    // Each form of this letter is eighteen.
    let many = "\u{fdfa}".repeat(300_000);
    assert_eq!(odd(&json!({ "name": many })), [("/name".to_owned(), What::TooLong)]);
    assert!(forms(&many).is_empty() && beginning(&many).chars().count() == 129);
    assert_eq!(beginning("a\u{200b}"), "a⟨U+200B⟩");
}

#[test]
fn one_that_is_odd_or_has_a_twin_is_ambiguous() {
    let (read, odd) =
        (tool(&json!({ "name": "read" })), tool(&json!({ "name": "x", "title": "a\u{202e}b" })));
    let (twin, again) = (tool(&json!({ "name": "Read" })), tool(&json!({ "name": "read", "title": "2" })));
    let seen = |tools: &[ToolDefinition]| seen(&tools.iter().map(Entry::of).collect::<Vec<_>>());
    let all = seen(&[read.clone(), odd, tool(&json!({ "name": "write" }))]);
    assert_eq!(all["read"], ToolSeen::Defined(read.digest()));
    assert_eq!(all["x"], ToolSeen::Ambiguous);
    for other in [twin, again, read.clone()] {
        let all = seen(&[read.clone(), other]);
        assert!(all.values().all(|seen| *seen == ToolSeen::Ambiguous), "{all:?}");
    }
}
