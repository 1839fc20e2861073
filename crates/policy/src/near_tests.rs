use super::*;
use crate::Snapshot;
use crate::testing::{charge, files, request, with_policies};

fn told(near: &[Near]) -> Vec<(String, Vec<(Held, String)>)> {
    let parts = |near: &Near| near.parts.iter().map(|part| (part.held, part.text.clone())).collect();
    near.iter().map(|near| (near.policy.to_string(), parts(near))).collect()
}

fn nearest(files: crate::files::Files, request: &Request) -> Vec<Near> {
    Snapshot::from_files(files).unwrap().rehearse().unwrap().nearest(request, &BTreeSet::new(), None)
}

#[test]
fn the_condition_that_does_not_hold_is_named() {
    let near = nearest(files(), &charge("bot", "100.01"));
    let expected = vec![
        (Held::Yes, "principal".to_owned()),
        (Held::Yes, "resource".to_owned()),
        (Held::No, "when { context.amount.lessThanOrEqual(decimal(\"100.00\")) }".to_owned()),
    ];
    assert_eq!(told(&near), [("may-charge".to_owned(), expected)]);
    assert!(near[0].text.contains("@id(\"may-charge\")"));
    assert!(nearest(files(), &charge("bot", "99.00")).is_empty(), "it is granted");
}

#[test]
fn grants_come_by_how_much_of_them_does_not_hold_and_never_of_other_actions() {
    let policies = r#"
        @id("a-two") permit (principal in Group::"suspended", action == Action::"charge", resource)
            when { context.count > 5 };
        @id("b-one") permit (principal, action in [Action::"charge", Action::"refund"], resource is Account)
            when { context.count == 1 && context has note && context.note like "x*" }
            unless { context.count == 2 };
        @id("c-other") permit (principal, action == Action::"refund", resource);
        @id("d-three") permit (principal == Agent::"rogue", action == Action::"charge", resource)
            when { context.count > 5 } unless { context.count == 1 };
        @id("e-four") permit (principal == Agent::"rogue", action == Action::"charge", resource)
            when { context.count > 5 && context.count > 6 && context.count > 7 };
        @id("f-no") forbid (principal, action == Action::"charge", resource) when { context.count == 99 };
    "#;
    let near = told(&nearest(with_policies(policies), &charge("bot", "1.00")));
    let names: Vec<_> = near.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a-two", "b-one", "d-three"]);
    let not_held = |index: usize| -> Vec<_> {
        let (_, parts) = &near[index];
        parts.iter().filter(|(held, _)| *held != Held::Yes).cloned().collect()
    };
    let expected = [
        (Held::No, "principal in Group::\"suspended\"".to_owned()),
        (Held::No, "when { context.count > 5 }".to_owned()),
    ];
    assert_eq!(not_held(0), expected);
    let expected = [
        (Held::No, "when { context has note }".to_owned()),
        (Held::Errs, "when { context.note like \"x*\" }".to_owned()),
    ];
    assert_eq!(not_held(1), expected);
    assert_eq!(not_held(2).last().unwrap().1, "unless { context.count == 1 }");
}

#[test]
fn nothing_is_near_to_what_policy_is_not_asked_about() {
    assert!(nearest(files(), &charge("nobody", "100.01")).is_empty());
    let elsewhere = request("bot", "no.such", "no.such", "Surface:no.such", "{}");
    assert!(nearest(files(), &elsewhere).is_empty());
}
