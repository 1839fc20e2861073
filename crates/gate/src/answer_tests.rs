use super::*;

#[test]
fn only_what_says_so_is_a_success() {
    let result = |text: &str| outcome(&Reply::Result(text.into()));
    assert_eq!(result(r#"{"content":[]}"#), Outcome::Ok);
    assert_eq!(result(r#"{"isError":false}"#), Outcome::Ok);
    for failed in [r#"{"isError":true}"#, r#"{"isError":"false"}"#, r#"{"isError":false,"isError":true}"#] {
        assert_eq!(result(failed), Outcome::Failed, "{failed}");
    }
    for asks in [r#"{"resultType":"input_required"}"#, r#"{"requestState":"s"}"#, r#"{"InputRequests":{}}"#] {
        assert_eq!(result(asks), Outcome::Failed, "{asks}");
    }
    assert_eq!(result(r#"{"task":{"taskId":"t"}}"#), Outcome::Unknown);
    assert_eq!(result(r#"{"isError":true,"task":{"taskId":"t"}}"#), Outcome::Failed);
    assert_eq!(result(r#"{"task":"t"}"#), Outcome::Ok);
    assert_eq!(result(r#"{"resultType":"complete"}"#), Outcome::Ok);
    for unended in [
        r#"{"resultType":"task","taskId":"t","status":"working"}"#,
        r#"{"ResultType":"task","resultType":"complete"}"#,
        r#"{"resultType":"something new"}"#,
        r#"{"resultType":null}"#,
    ] {
        assert_eq!(result(unended), Outcome::Unknown, "{unended}");
    }
    assert_eq!(result("[]"), Outcome::Unknown);
    assert_eq!(outcome(&Reply::Error("{}".into())), Outcome::Failed);
}

#[test]
fn every_code_makes_an_answer_that_says_blocked() {
    for code in ReasonCode::ALL {
        let refusal = Refusal::own(*code, None);
        let Reply::Result(text) = blocked(&refusal, Form::Tool) else {
            panic!("a tool's answer is a result")
        };
        assert!(text.contains(r#""isError":true"#) && text.contains(r#""enforcement":"BLOCKED""#), "{text}");
        assert!(matches!(blocked(&refusal, Form::Error), Reply::Error(_)));
        assert_eq!(replay(&refusal), None, "nothing is replayed without proof");
    }
}

/// Of what was permitted and not sent, the answer said that it is on record nowhere, and of what the server did not take, nothing.
#[test]
fn an_attempt_that_is_on_record_was_said_to_be_captured_nowhere() {
    let attempt = AttemptId::from_bytes([7; 32]);
    let refusal = Refusal::own(ReasonCode::UpstreamUnavailable, None);
    let answers = [
        (unsent(attempt, &refusal, Form::Error), "BLOCKED"),
        (not_to_be_asked(Some(attempt), &refusal, Form::Error), "EXECUTED"),
        (void(Some(attempt), "it cannot be reached"), "EXECUTED"),
    ];
    for (answer, enforcement) in answers {
        let Reply::Error(text) = &answer else { panic!("an error was asked for: {answer:?}") };
        let error: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let told = error.pointer("/data/portcullis").expect("what was decided");
        assert_eq!((&told["captured"], &told["enforcement"]), (&json!("logged"), &json!(enforcement)));
        assert_eq!(told["receipt"], json!(attempt), "{text}");
        assert_eq!(outcome(&answer), Outcome::Failed);
    }
    assert_eq!(Told::blocked(&refusal, refusal.captured()).captured, Captured::None);
}

/// pydantic-ai shows its model the structured part of a result and no other, and that said neither that asking again is of no
/// use nor that there is no way around.
#[test]
fn a_model_that_is_shown_the_structured_part_alone_was_not_told_to_stop() {
    for code in ReasonCode::ALL {
        let refusal = Refusal::own(*code, None);
        let Reply::Result(text) = blocked(&refusal, Form::Tool) else {
            panic!("a tool's answer is a result")
        };
        let result: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let said = result.pointer("/structuredContent/message").expect("a message");
        assert_eq!(Some(said), result.pointer("/content/0/text"));
        assert!(said.as_str().is_some_and(|said| said.contains("tell the user")), "{said}");
    }
}

#[test]
fn a_model_was_told_that_nothing_ran_while_the_same_request_ran_or_may_have() {
    for code in [ReasonCode::IdempotencyInFlight, ReasonCode::IdempotencyOutcomeUnknown] {
        let said = sentence(&Refusal::own(code, None));
        assert!(said.contains("not run a second time") && !said.contains("nothing was run"), "{said}");
    }
    let said = sentence(&Refusal::own(ReasonCode::SurfaceUnknown, None));
    assert!(said.contains("nothing was run"), "{said}");
}
