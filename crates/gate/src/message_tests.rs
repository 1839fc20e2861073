use proptest::prelude::*;

use super::*;

fn refused(line: &str) -> ReasonCode {
    read(line.as_bytes(), From::Client).unwrap_err().refused.code
}

fn body_of(line: &str) -> Body {
    match read(line.as_bytes(), From::Client).unwrap() {
        Message::Request(_, body) | Message::Notification(body) => body,
        Message::Response(..) => panic!("a response: {line}"),
    }
}

#[test]
fn the_rebuilt_message_keeps_raw_bytes_and_drops_the_id() {
    let body = body_of(
        r#" {"z": [ 1.0 ], "params" : { "b":1.50e0,"a":"\/" } ,"id":4,"method":"x\u002fy","jsonrpc":"2.0"}"#,
    );
    assert_eq!(
        String::from_utf8(body.to_bytes()).unwrap(),
        r#"{"jsonrpc":"2.0","method":"x/y","params":{ "b":1.50e0,"a":"\/" },"z":[ 1.0 ]}"#
    );
}

#[test]
fn a_member_in_another_spelling_beyond_ascii_is_refused() {
    assert_eq!(
        refused(r#"{"jsonrpc":"2.0","id":1,"method":"x","param\u017f":{}}"#),
        ReasonCode::RequestAmbiguousKey
    );
}

#[test]
fn an_upstream_answer_is_not_judged_by_its_content_but_by_its_own_members() {
    let twice = br#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#;
    assert!(matches!(read(twice, From::Upstream), Ok(Message::Response(Id::Int(1), Some(Reply::Result(_))))));
    assert!(read(twice, From::Client).is_err());
    assert!(read(br#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#, From::Upstream).is_err());
    let both = br#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#;
    assert_eq!(read(both, From::Upstream), Ok(Message::Response(Id::Int(1), None)));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map("[a-z\"\\\\\u{2028}]{0,3}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&bytes, From::Client));
        drop(read(&bytes, From::Upstream));
    }

    #[test]
    fn what_is_rebuilt_says_what_was_said_in_one_line(params in json(), method in any::<String>()) {
        let message = serde_json::json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": {"p": params}});
        if let Ok(Message::Request(_, body)) = read(message.to_string().as_bytes(), From::Client) {
            let bytes = body.to_bytes();
            prop_assert!(!bytes.contains(&b'\n') && !bytes.contains(&b'\r'));
            let mut expected = message;
            expected.as_object_mut().unwrap().remove("id");
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap(), expected);
        }
    }
}
