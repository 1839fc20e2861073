use super::*;

#[tokio::test]
async fn what_was_compared_while_something_else_was_taken_up_is_compared_again() {
    let company = Arc::new(Company::of(["rec".to_owned()]));
    let (upstream, _writer) = Peer::new(Vec::<u8>::new());
    let notes = Notes::start(|_| {}).unwrap();
    let tools = Tools::new(("rec".to_owned(), company), upstream, Duration::ZERO, notes);
    let page = |name: &str| {
        let text = format!(r#"{{"name":"{name}"}}"#);
        vec![Entry::of(&ToolDefinition::parse(text.as_bytes()).unwrap())]
    };
    let (before, earlier) = tools.shown_before(&page("read"), true);
    assert!(earlier.is_empty());
    // Another page is taken up meanwhile, and then the server says that its tools are others.
    assert!(tools.take_up(
        before,
        (&page("Read"), page("Read")),
        (&mut seen(&page("Read")), (&Whence::Start, None))
    ));
    assert!(!tools.take_up(
        before,
        (&page("read"), page("read")),
        (&mut seen(&page("read")), (&Whence::Start, None))
    ));
    let (before, earlier) = tools.shown_before(&page("read"), false);
    assert_eq!(earlier, page("Read"), "with which it is compared now");
    tools.changed();
    assert!(!tools.take_up(
        before,
        (&page("read"), page("read")),
        (&mut seen(&page("read")), (&Whence::Start, None))
    ));
}
