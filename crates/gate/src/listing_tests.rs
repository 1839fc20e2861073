use std::time::Duration;

use super::{Confinement, ListingError, ToolListing, list_tools};

/// Stands where the supervisor does: it becomes the server.
const SUPERVISOR: &str = r#"while [ "$1" != -- ]; do shift; done; shift; exec "$@""#;

/// What comes of a server that is this shell script.
async fn listed(script: &str, deadline: Duration) -> Result<Vec<String>, ListingError> {
    let words = ["sh", "-c", script];
    let listing = ToolListing {
        command: words.map(Into::into).to_vec(),
        supervisor: ["sh", "-c", SUPERVISOR, "supervisor"].map(Into::into).to_vec(),
        confinement: Confinement::default(),
        pass_environment: Vec::new(),
        deadline,
    };
    list_tools(&listing, drop).await
}

const PATIENCE: Duration = Duration::from_secs(30);
const HELLO: &str = r#"read hello; echo '{"jsonrpc":"2.0","id":1,"result":{}}'; read ready; read asked;"#;
const REST: &str = "while read more; do :; done";

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let late = listed(REST, Duration::from_millis(300)).await;
    assert!(matches!(late, Err(ListingError::Late(_))), "{late:?}");
}

#[tokio::test]
async fn noise_notices_and_questions_of_the_server_are_passed_over() {
    let script = format!(
        r#"{HELLO} echo 'not a message'; echo '{{"jsonrpc":"2.0","method":"notifications/message"}}'
        echo '{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{{"name":"of another question"}}]}}}}'
        echo '{{"jsonrpc":"2.0","id":"q","method":"roots/list"}}'; read refused
        case "$refused" in *-32601*) echo '{{"jsonrpc":"2.0","id":2,"result":{{"tools":[{{"name":"one"}}]}}}}';; esac
        {REST}"#
    );
    let tools = listed(&script, PATIENCE).await.unwrap();
    assert_eq!(tools, [r#"{"name":"one"}"#]);
}

#[tokio::test]
async fn more_tools_than_are_read_are_no_list() {
    let script = format!(
        r#"{HELLO} printf '{{"jsonrpc":"2.0","id":2,"result":{{"tools":['
        i=0; while [ $i -lt 10000 ]; do printf '{{}},'; i=$((i+1)); done
        echo '{{}}]}}}}'; {REST}"#
    );
    let many = listed(&script, PATIENCE).await;
    assert!(matches!(many, Err(ListingError::TooMuch)), "{many:?}");
}
