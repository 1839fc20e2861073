use super::*;

fn set(labels: &[&str]) -> BTreeSet<LabelName> {
    labels.iter().map(|label| label.parse().unwrap()).collect()
}

#[test]
fn labels_for_which_something_holds_are_told_from_those_that_the_agent_has_besides() {
    let has =
        |labels: &BTreeSet<LabelName>, label: &str| labels.contains(&label.parse::<LabelName>().unwrap());
    let held = set(&["a", "b", "c"]);
    assert_eq!(behind(&held, |it| has(it, "a") && has(it, "b")), set(&["a", "b"]), "both are needed");
    assert_eq!(behind(&held, |it| has(it, "a") || has(it, "b")), set(&["a", "b"]), "each is enough");
    assert_eq!(behind(&held, |_| true), set(&[]), "none matters");
    assert_eq!(behind(&held, |it| it.len() >= 2), held, "which of them cannot be told");
}
