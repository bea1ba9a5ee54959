//! Whatever comes in, it is answered with the right error, and the next request works.

mod support;

use ::http::Request;
use bytes::Bytes;
use support::{
    Answer, Child, Client, Door, Era, Fleet, Multiplexer,
    client::{LEGACY_VERSION, MODERN_META, call_params, modern_post, with_modern_meta},
    http::{Http, With as _, post},
    pipe::Pipe,
    wait::soon,
    wire::quoted,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const PARSE_ERROR: &[i64] = &[-32700];
const INVALID_REQUEST: &[i64] = &[-32600];
const INVALID_PARAMS: &[i64] = &[-32602];
/// Where the envelope ends and the params begin is a matter of taste.
const EITHER: &[i64] = &[-32600, -32602];

/// What is wrong, the bytes, and the codes that say so.
type Bad = (&'static str, Vec<u8>, &'static [i64]);

/// A call that would be noted by the child if it were carried out.
fn call_with(id: &str) -> String {
    let params = call_params("child__slow", r#"{"key":"never"}"#);
    format!(r#"{{"jsonrpc":"2.0",{id}"method":"tools/call","params":{params}}}"#)
}

fn bad_frames() -> Vec<Bad> {
    let frame = |what, text: &str, codes| (what, text.as_bytes().to_vec(), codes);
    let good = call_with(r#""id":77,"#);
    let doubled = |what, key: &str, twice: &str| {
        assert!(good.contains(key), "{what}");
        frame(
            what,
            &good.replacen(key, &format!("{twice},{key}"), 1),
            EITHER,
        )
    };
    let mut utf8 = good.clone().into_bytes();
    let inside = good.find("never").expect("the key");
    utf8[inside] = 0xff;
    vec![
        frame("truncated", &good[..good.len() - 1], PARSE_ERROR),
        frame("cut in a string", &good[..inside], PARSE_ERROR),
        frame("no JSON", "hello", PARSE_ERROR),
        frame("one thing too many", &format!("{good}]"), PARSE_ERROR),
        ("binary", vec![0x00, 0xff, 0xfe, 0x80, 0x01], PARSE_ERROR),
        ("a string that is not UTF-8", utf8, PARSE_ERROR),
        frame("a batch", &format!("[{good},{good}]"), INVALID_REQUEST),
        frame("an empty batch", "[]", INVALID_REQUEST),
        frame("a number", "42", INVALID_REQUEST),
        frame("a string", r#""tools/call""#, INVALID_REQUEST),
        frame("nothing", "null", INVALID_REQUEST),
        frame("an empty object", "{}", INVALID_REQUEST),
        frame("id null", &call_with(r#""id":null,"#), INVALID_REQUEST),
        frame("id a fraction", &call_with(r#""id":1.5,"#), INVALID_REQUEST),
        frame("id a truth", &call_with(r#""id":true,"#), INVALID_REQUEST),
        frame(
            "id an object",
            &call_with(r#""id":{"a":1},"#),
            INVALID_REQUEST,
        ),
        frame("id a list", &call_with(r#""id":[1],"#), INVALID_REQUEST),
        frame("no method", r#"{"jsonrpc":"2.0","id":77}"#, INVALID_REQUEST),
        frame(
            "method a number",
            r#"{"jsonrpc":"2.0","id":77,"method":1}"#,
            INVALID_REQUEST,
        ),
        frame(
            "no version",
            r#"{"id":77,"method":"tools/list"}"#,
            INVALID_REQUEST,
        ),
        frame(
            "an old version",
            r#"{"jsonrpc":"1.0","id":77,"method":"tools/list"}"#,
            INVALID_REQUEST,
        ),
        frame(
            "params a list",
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":["child__slow"]}"#,
            EITHER,
        ),
        frame(
            "params a string",
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":"child__slow"}"#,
            EITHER,
        ),
        frame(
            "no params",
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call"}"#,
            INVALID_PARAMS,
        ),
        frame(
            "no name",
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{}}"#,
            INVALID_PARAMS,
        ),
        frame(
            "name a number",
            r#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":1}}"#,
            INVALID_PARAMS,
        ),
        doubled("id twice", r#""id":77"#, r#""id":78"#),
        doubled("id twice, once escaped", r#""id":77"#, r#""\u0069d":78"#),
        doubled("id twice, once null", r#""id":77"#, r#""id":null"#),
        doubled("method twice", r#""method":"#, r#""method":"tools/list""#),
        doubled(
            "method twice, once escaped",
            r#""method":"#,
            r#""m\u0065thod":"tools/list""#,
        ),
        doubled("params twice", r#""params":"#, r#""params":{}"#),
        doubled(
            "params twice, once escaped",
            r#""params":"#,
            r#""par\u0061ms":{}"#,
        ),
        doubled("name twice", r#""name":"#, r#""name":"child__echo""#),
        doubled(
            "name twice, once escaped",
            r#""name":"#,
            r#""\u006eame":"child__echo""#,
        ),
    ]
}

/// One child that counts, and the multiplexer before it.
async fn counting(door: Door) -> Multiplexer {
    let mux = Fleet::new()
        .stdio("child", Child::legacy())
        .over(door)
        .await;
    mux.all_ready().await;
    mux
}

/// A legacy session over HTTP in which a test may say anything.
struct Session {
    http: Http,
    client: Client,
    url: String,
}

impl Session {
    async fn open(mux: &mut Multiplexer) -> Self {
        Self {
            http: Http::default(),
            client: mux.client(Era::Legacy).await,
            url: mux.url(),
        }
    }

    fn post(&self, bytes: impl Into<Bytes>) -> Request<Bytes> {
        post(&self.url, bytes)
            .with("mcp-session-id", self.client.session().expect("a session"))
            .with("mcp-protocol-version", LEGACY_VERSION)
    }

    async fn still_works(&mut self, after: &str) {
        let answer = self.client.call("child__echo", r#"{"fine":true}"#).await;
        assert!(
            answer.structured().contains(r#"{"fine":true}"#),
            "after {after}: {answer:?}"
        );
    }
}

/// The same on stdin, without a handshake: modern requests need none.
async fn still_works(pipe: &mut Pipe, after: &str) {
    let params = with_modern_meta(&call_params("child__echo", r#"{"fine":true}"#));
    pipe.line(format!(
        r#"{{"jsonrpc":"2.0","id":"good","method":"tools/call","params":{params}}}"#
    ))
    .await;
    let answer = next(pipe).await;
    assert_eq!(answer.id(), r#""good""#, "after {after}: {answer:?}");
    assert!(
        answer.structured().contains(r#"{"fine":true}"#),
        "after {after}: {answer:?}"
    );
}

async fn next(pipe: &mut Pipe) -> Answer {
    Answer {
        frame: pipe.next().await.expect("stdout stays open"),
        before: Vec::new(),
    }
}

#[tokio::test]
async fn a_bad_frame_over_http_gets_its_error_and_the_next_request_works() {
    let mut mux = counting(Door::Http).await;
    let mut session = Session::open(&mut mux).await;
    for (what, bytes, codes) in bad_frames()
        .into_iter()
        .chain([("no body", vec![], PARSE_ERROR)])
    {
        let reply = session.http.send(session.post(bytes)).await;

        let status = reply.status;
        let code = reply.answer().await.error_code();
        assert!(codes.contains(&code), "{what}: {code}");
        // A frame that cannot be read is refused as HTTP too; one that can be read and
        // asks for what cannot be has its error alone.
        let expected = if INVALID_PARAMS.contains(&code) {
            200
        } else {
            400
        };
        assert_eq!(status, expected, "{what}");
        session.still_works(what).await;
    }
    assert_eq!(
        mux.journal("child").calls("slow"),
        0,
        "nothing refused was carried out"
    );
}

#[tokio::test]
async fn a_bad_frame_on_stdin_gets_its_error_and_the_next_request_works() {
    let mut mux = counting(Door::Stdio).await;
    let mut pipe = mux.pipe();
    for (what, bytes, codes) in bad_frames() {
        pipe.line(bytes).await;

        let answer = next(&mut pipe).await;
        let code = answer.error_code();
        assert!(codes.contains(&code), "{what}: {answer:?}");
        still_works(&mut pipe, what).await;
    }
    assert_eq!(
        mux.journal("child").calls("slow"),
        0,
        "nothing refused was carried out"
    );
}

/// A key that decides where a request goes or who it is from must stand there once,
/// or a check here and a reader there may each see another one.
#[tokio::test]
async fn a_metadata_key_that_stands_twice_is_refused() {
    let mut mux = counting(Door::Stdio).await;
    let mut pipe = mux.pipe();
    let version = r#""io.modelcontextprotocol/protocolVersion":"2025-11-25""#;
    for meta in [
        format!(r#""_meta":{{{MODERN_META},{version}}}"#),
        format!(
            r#""_meta":{{{MODERN_META},{}}}"#,
            version.replacen("protocol", r"\u0070rotocol", 1)
        ),
        format!(r#""_meta":{{}},"_meta":{{{MODERN_META}}}"#),
        format!(r#""\u005fmeta":{{}},"_meta":{{{MODERN_META}}}"#),
        format!(r#""_meta":{{{MODERN_META},"progressToken":1,"progressToken":2}}"#),
    ] {
        let params = format!(r#"{{"name":"child__slow","arguments":{{}},{meta}}}"#);
        pipe.line(format!(
            r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{params}}}"#
        ))
        .await;

        let answer = next(&mut pipe).await;
        assert!(EITHER.contains(&answer.error_code()), "{meta}: {answer:?}");
        still_works(&mut pipe, &meta).await;
    }
    assert_eq!(
        mux.journal("child").calls("slow"),
        0,
        "nothing refused was carried out"
    );
}

/// What is twice in what we only carry is none of our business.
#[tokio::test]
async fn a_key_that_stands_twice_in_the_arguments_is_carried() {
    let mut mux = counting(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    let arguments = r#"{"id":1,"id":2,"n\u0061me":"x","name":"y","_meta":{},"_meta":{}}"#;

    let answer = client.call("child__received", arguments).await;

    assert_eq!(answer.arguments_received(), arguments);
}

#[tokio::test]
async fn a_call_without_an_id_is_neither_carried_out_nor_answered() {
    let call = call_with("");
    let mut mux = counting(Door::Http).await;
    let mut session = Session::open(&mut mux).await;
    let reply = session.http.send(session.post(call.clone())).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.text().await, "");
    session.still_works("a call without id").await;
    assert_eq!(mux.journal("child").calls("slow"), 0);

    let mut mux = counting(Door::Stdio).await;
    let mut pipe = mux.pipe();
    pipe.line(call).await;
    still_works(&mut pipe, "a call without id").await;
    assert_eq!(mux.journal("child").calls("slow"), 0);
}

#[tokio::test]
async fn an_id_of_any_size_comes_back_as_it_was() {
    let long = quoted(&"x".repeat(64 * 1024));
    let ids = [
        "1234567890123456789012345",
        "-0",
        r#""\u0069d \ud83d\ude00 \/""#,
        r#""""#,
        long.as_str(),
    ];
    let mut mux = counting(Door::Http).await;
    let session = Session::open(&mut mux).await;
    let mut stdio = counting(Door::Stdio).await;
    let mut pipe = stdio.pipe();
    for id in ids {
        let params = call_params("child__echo", "{}");
        let call =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#);
        let reply = session.http.send(session.post(call)).await;
        assert_eq!(reply.answer().await.id(), id, "over HTTP");

        let params = with_modern_meta(&params);
        let call =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#);
        pipe.line(call).await;
        assert_eq!(next(&mut pipe).await.id(), id, "on stdin");
    }
}

#[tokio::test]
async fn an_unknown_method_is_refused_in_each_era_as_it_has_it() {
    let mut mux = counting(Door::Http).await;
    let mut session = Session::open(&mut mux).await;
    let legacy = r#"{"jsonrpc":"2.0","id":77,"method":"tools/burn","params":{}}"#;
    let reply = session.http.send(session.post(legacy)).await;
    assert_eq!(reply.answer().await.error_code(), -32601);

    let params = with_modern_meta("{}");
    let modern = format!(r#"{{"jsonrpc":"2.0","id":77,"method":"tools/burn","params":{params}}}"#);
    let reply = session
        .http
        .send(modern_post(&session.url, modern.clone()))
        .await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.answer().await.error_code(), -32601);
    session.still_works("an unknown method").await;

    let mut mux = counting(Door::Stdio).await;
    let mut pipe = mux.pipe();
    pipe.line(modern).await;
    assert_eq!(next(&mut pipe).await.error_code(), -32601);
    still_works(&mut pipe, "an unknown method").await;
}

#[tokio::test]
async fn an_unknown_notification_is_taken_and_left() {
    let mut mux = counting(Door::Http).await;
    let mut session = Session::open(&mut mux).await;
    let frame = r#"{"jsonrpc":"2.0","method":"notifications/burn","params":{"x":1}}"#;

    assert_eq!(session.http.send(session.post(frame)).await.status, 202);
    session.still_works("an unknown notification").await;
}

/// Deeper than any parser's stack: refused or carried, but answered.
#[tokio::test]
async fn a_very_deep_value_does_no_harm() {
    let deep = format!(
        r#"{{"deep":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let params = call_params("child__echo", &deep);
    let call = format!(r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{params}}}"#);
    let mut mux = counting(Door::Http).await;
    let mut session = Session::open(&mut mux).await;

    let reply = session.http.send(session.post(call)).await;

    assert!(
        reply.status == 200 || reply.status == 400,
        "{}",
        reply.status
    );
    session.still_works("a very deep value").await;
}

/// Written by hand, because the reply comes while the body is still on its way.
#[tokio::test]
async fn a_body_of_5_mib_is_too_large() {
    let mut mux = counting(Door::Http).await;
    let mut session = Session::open(&mut mux).await;
    let authority = session
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/mcp")
        .to_owned();
    let arguments = format!(r#"{{"x":{}}}"#, quoted(&"x".repeat(5 << 20)));
    let params = with_modern_meta(&call_params("child__slow", &arguments));
    let body = format!(r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{params}}}"#);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/call\r\nmcp-name: child__slow\r\n"
    );
    let sized = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let chunked = format!(
        "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for (what, request) in [("with its length said", sized), ("in a chunk", chunked)] {
        let status = status_line(&authority, request).await;

        assert!(status.starts_with("HTTP/1.1 413 "), "{what}: {status}");
        session.still_works(what).await;
    }
    assert_eq!(mux.journal("child").calls("slow"), 0);
}

async fn status_line(authority: &str, request: String) -> String {
    let connection = TcpStream::connect(authority).await.expect("a connection");
    let (mut reading, mut writing) = connection.into_split();
    // The other side may stop reading whenever it has seen enough.
    let writing = tokio::spawn(async move { writing.write_all(request.as_bytes()).await });
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let byte = soon("a status line", reading.read_u8())
            .await
            .expect("a status line");
        line.push(byte);
    }
    writing.abort();
    String::from_utf8(line).expect("a status line")
}

#[tokio::test]
async fn a_line_of_5_mib_is_answered_and_the_next_request_works() {
    let mut mux = counting(Door::Stdio).await;
    let mut pipe = mux.pipe();
    let arguments = format!(r#"{{"x":{}}}"#, quoted(&"x".repeat(5 << 20)));
    let params = with_modern_meta(&call_params("child__slow", &arguments));
    pipe.line(format!(
        r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{params}}}"#
    ))
    .await;

    let answer = next(&mut pipe).await;

    assert!(INVALID_REQUEST.contains(&answer.error_code()), "{answer:?}");
    still_works(&mut pipe, "a line of 5 MiB").await;
    assert_eq!(mux.journal("child").calls("slow"), 0);
}

#[tokio::test]
async fn empty_lines_on_stdin_are_no_requests() {
    let mut mux = counting(Door::Stdio).await;
    let mut pipe = mux.pipe();

    pipe.write(b"\n\r\n  \n").await;

    still_works(&mut pipe, "empty lines").await;
}

#[tokio::test]
async fn a_line_ends_with_a_newline_whatever_stands_before_it() {
    let mut mux = counting(Door::Stdio).await;
    let mut pipe = mux.pipe();
    let params = with_modern_meta(&call_params("child__echo", "{}"));
    let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let (first, second) = call.split_at(call.len() / 2);

    pipe.write(first.as_bytes()).await;
    pipe.write(second.as_bytes()).await;
    pipe.write(b"\r\n").await;

    assert_eq!(next(&mut pipe).await.content()["calls"], 1);
}
