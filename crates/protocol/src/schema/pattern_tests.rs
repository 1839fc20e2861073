use super::Pattern;

fn pattern(text: &str) -> Pattern {
    Pattern::new(text, usize::MAX).unwrap_or_else(|| panic!("`{text}` is not understood"))
}

#[test]
fn a_pattern_means_what_it_means_to_ecma() {
    let cases = [
        (r"^\d+$", "12", "\u{661}"),
        (r"^\w+$", "a_1", "\u{e4}"),
        (r"^\s$", "\u{feff}", "\u{85}"),
        (r"^[\w-]+$", "a-b", "a.b"),
        (r"^[\d.]+$", "1.2", "1-2"),
        (r"^.$", "\u{e4}", "\r"),
        (r"^a/b\/c$", "a/b/c", "a/bc"),
        (r"^[a-z0-9]{2,4}$", "ab1", "a"),
        (r"^[[]$", "[", "a"),
        (r"^[a&&b]+$", "&ab", "c"),
        (r"^[^\n]$", "a", "\n"),
        (r"\bx\b", "a x", "ax\u{e4}"),
        (r"^(?:a|b)(?<n>c)$", "ac", "c"),
        (r"^\u00e4\x41$", "\u{e4}A", "\u{e4}a"),
        (r"^a{2}$", "aa", "aaa"),
        (r"^[+-]?1$", "-1", "--1"),
        (r"^\<\>\-$", "<>-", "-"),
        (r"^a+?b*?c??d{1,2}?$", "aabd", "bd"),
        (r"^(?:a|)+[b]*\d+]?$", "b1", "b"),
        ("", "anything", "\0never"),
    ];
    for (text, fits, misfits) in cases {
        let pattern = pattern(text);
        assert!(pattern.is_in(fits), "`{text}` and {fits:?}");
        assert!(text.is_empty() || !pattern.is_in(misfits), "`{text}` and {misfits:?}");
    }
    assert!(pattern(r"\bx\b").is_in("\u{e4}x\u{e4}"), "a letter of no ASCII is no word's to ECMA");
}

#[test]
fn what_two_engines_read_differently_is_not_understood() {
    let odd = [
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "(?i)a",
        r"(a)\1",
        r"\k<n>",
        r"\p{L}",
        r"\cA",
        r"\0",
        r"\z",
        r"\A",
        r"\Q",
        "a{,3}",
        "a{",
        "{x}",
        "[]",
        "[^]",
        "[]a]",
        "[a",
        "(a",
        "a)",
        "*",
        "[a--b]",
        r"[a-\d]",
        r"[\b]",
        r"\",
        "[z-a]",
        r"\ud800",
        r"\B",
        r"\u{41}",
        r"\u12",
        "a*+",
        "a**",
        "a+*",
        "a{2}{3}",
        "a{2}+",
        "a???",
        "^*",
        "$*",
        r"\b+",
        "a|*",
        "(*a)",
        "(?:+a)",
        r"[\d-a-f]",
        r"[\w-+-.]",
        r"[^\s-a]",
        r"[\D-\W]",
    ];
    for text in odd {
        assert!(Pattern::new(text, usize::MAX).is_none(), "`{text}`");
    }
    assert!(Pattern::new(&"a".repeat(5_000), usize::MAX).is_none());
    assert!(Pattern::new("((a{50}){50}){50}", usize::MAX).is_none(), "larger than any that is kept");
}

#[test]
fn a_pattern_that_another_engine_takes_for_ever_with_is_done_at_once() {
    let text = format!("{}!", "a".repeat(5_000));
    for hostile in ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*a){12}$"] {
        assert!(!pattern(hostile).is_in(&text), "{hostile}");
    }
    let (small, large) = (pattern("a"), pattern("(a{30}){30}"));
    assert!(large.cost(10) > small.cost(10) && small.cost(20) > small.cost(10));
}
