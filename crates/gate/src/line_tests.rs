use super::*;

async fn lines(text: &[u8], limit: usize) -> Vec<Line> {
    let mut reader = Lines::new(text, limit);
    let mut all = Vec::new();
    while let Some(line) = reader.next().await.unwrap() {
        all.push(line);
    }
    all
}

fn whole(text: &str) -> Line {
    Line::Whole(text.as_bytes().to_vec())
}

#[tokio::test]
async fn lines_end_with_a_newline_or_the_end() {
    assert_eq!(lines(b"", 9).await, []);
    assert_eq!(lines(b"a\n\nb\r\nc", 9).await, [whole("a"), whole(""), whole("b"), whole("c")]);
}

#[tokio::test]
async fn an_overlong_line_is_discarded_to_its_end_and_the_next_one_is_whole() {
    let long = "x".repeat(200_000);
    let text = format!("{long}\nnext\n");
    let read = lines(text.as_bytes(), 10).await;
    assert_eq!(read, [Line::Cut(b"xxxxxxxxxx".to_vec()), whole("next")]);
    assert_eq!(lines(b"1234567890\n", 10).await, [whole("1234567890")]);
    assert_eq!(lines(b"12345678901\n", 10).await, [Line::Cut(b"1234567890".to_vec())]);
}

#[tokio::test]
async fn a_line_that_arrives_in_pieces_survives_an_abandoned_read() {
    use tokio::io::AsyncWriteExt;
    let (mut writer, reader) = tokio::io::duplex(64);
    let mut lines = Lines::new(reader, 100);
    writer.write_all(b"first ").await.unwrap();
    // Polled once: takes what is there and waits for more.
    let abandoned = tokio::time::timeout(std::time::Duration::from_millis(1), lines.next()).await;
    assert!(abandoned.is_err());
    writer.write_all(b"half\n").await.unwrap();
    assert_eq!(lines.next().await.unwrap(), Some(whole("first half")));
}
