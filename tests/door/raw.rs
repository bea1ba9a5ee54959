//! What no HTTP library sends: bytes, as they come over the wire.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use serde_json::json;

use crate::{
    issuer::{Issuer, Key},
    knock::{lets_in, locked, open},
    support::{Multiplexer, wait::soon},
};

/// Sends the bytes, and gives the status of each answer until the connection is closed.
async fn statuses(mux: &Multiplexer, bytes: &[u8]) -> Vec<u16> {
    let url = mux.url();
    let address = url.trim_start_matches("http://");
    let address = address.split('/').next().expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // It may be refused before all of it is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = soon("the end of the connection", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer)
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3)?.parse().ok())
        .collect()
}

const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// A request that is good but for the lines that are given, after which there is no other.
fn asks(lines: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{lines}\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: server/discover\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    )
}

#[tokio::test]
async fn nothing_on_the_wire_gets_in_that_is_not_one_good_token() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({}))).await;
    let good = issuer.token(&key);
    let huge = "a".repeat(2 << 20);
    let line = |line: &str| asks(&format!("{line}\r\n"));
    assert_eq!(
        statuses(
            &mux,
            line(&format!("Authorization: Bearer {good}")).as_bytes()
        )
        .await,
        [200],
        "what is good"
    );
    for (what, bytes, refusals) in [
        ("nothing", asks(""), &[401][..]),
        (
            "a nul",
            line(&format!("Authorization: Bearer {good}\0")),
            &[400],
        ),
        (
            "a nul in it",
            line(&format!("Authorization: Bear\0er {good}")),
            &[400],
        ),
        (
            "a space in the name",
            line(&format!("Authorization : Bearer {good}")),
            &[400],
        ),
        (
            "a line that goes on",
            line(&format!("Authorization: Bearer\r\n {good}")),
            &[400],
        ),
        (
            "a bare carriage return",
            line(&format!("X: y\rAuthorization: Bearer {good}")),
            &[400],
        ),
        (
            "names in two cases",
            line(&format!(
                "AUTHORIZATION: Bearer {good}\r\nauthorization: Bearer {good}"
            )),
            &[400],
        ),
        (
            "an underscore",
            line(&format!("Author_ization: Bearer {good}")),
            &[401],
        ),
        ("no name", line(&format!(": Bearer {good}")), &[400]),
        (
            "a header of 2 MiB",
            line(&format!("Authorization: Bearer {huge}")),
            &[431, 400],
        ),
        (
            "ten thousand headers",
            line(&"X: y\r\n".repeat(10_000)),
            &[431, 400],
        ),
        (
            "a token in a trailer",
            asks("")
                .replace(
                    &format!("Content-Length: {}\r\n", BODY.len()),
                    "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n",
                )
                .replace(
                    BODY,
                    &format!(
                        "{:x}\r\n{BODY}\r\n0\r\nAuthorization: Bearer {good}\r\n\r\n",
                        BODY.len()
                    ),
                ),
            &[401],
        ),
        ("two lengths", line("Content-Length: 3"), &[400]),
        (
            "a length and chunks",
            line("Transfer-Encoding: chunked"),
            &[400, 401],
        ),
        (
            "an absolute URL with a user",
            asks("").replacen("/mcp", "http://user:pass@localhost/mcp", 1),
            &[400, 401, 403],
        ),
        (
            "a token in the URL",
            asks("").replacen("/mcp", &format!("/mcp?access_token={good}"), 1),
            &[400],
        ),
        (
            "a token in a parameter of the path",
            asks("").replacen("/mcp", &format!("/mcp;access_token={good}"), 1),
            &[401, 404],
        ),
    ] {
        let came = statuses(&mux, bytes.as_bytes()).await;
        // A connection that is closed without a word has let nobody in either.
        assert!(
            came.iter().all(|status| refusals.contains(status)),
            "{what}: {came:?}"
        );
    }
    assert!(lets_in(&mux, &good).await);
    assert!(!mux.log.text().contains(&good), "a token is in the log");
}

/// Behind a refusal the connection goes on, and what follows is asked for its own token.
#[tokio::test]
async fn each_request_of_a_connection_is_asked_for_its_token() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({}))).await;
    let good = format!("Authorization: Bearer {}\r\n", issuer.token(&key));
    let stays = |lines: &str| asks(lines).replacen("Connection: close\r\n", "", 1);
    let all = [stays(""), stays(&good), stays(""), asks(&good)].concat();
    assert_eq!(statuses(&mux, all.as_bytes()).await, [401, 200, 401, 200]);
}
