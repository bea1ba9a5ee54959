//! JSON that tells apart who moves bytes and who decodes them.

use std::fmt::Write as _;

/// What decoding and encoding again would change: numbers beyond every machine's,
/// spellings, repeated keys, escapes of half a character, spaces between tokens,
/// and keys that have a meaning elsewhere in a frame.
pub const ODDITIES: &str = concat!(
    r#""x-unknown":{"deep":[[[{}]]],"nothing":null},"#,
    r#""x-numbers":[1e400,-1E+400,-0,-0.0,1.10,1.0e0,0.1e-7,"#,
    r#"1234567890123456789012345,9007199254740993,0.30000000000000004],"#,
    r#""x-twin":1,"x-twin":2,"\u0078-twin":3,"#,
    r#""x-text":"\u00e9é \u0041A \/ / \ud83d\ude00😀 \ud800 \udc00\u0000 "#,
    "\u{2028}\u{feff}\u{7f}",
    r#" <&>","#,
    r#""\ud834":"a key that is half a character","#,
    r#""id":1,"method":"tools/call","jsonrpc":"1.0","params":{"name":"x"},"#,
    r#""x-meta":{"_meta":{"progressToken":1,"resultType":"?","ttlMs":5}},"#,
    "\"x-space\" : [ 1 ,\t2 ] , \"\" : \"\" ",
);

/// Rows until the whole is more than a mebibyte.
fn rows() -> String {
    let mut rows = String::with_capacity(1 << 20);
    let mut n = 0;
    while rows.len() < 1 << 20 {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(
            rows,
            r#"{comma}{{"n":{n}.10,"text":"row \u00e9 é {n}","n":{n}e3}}"#
        );
        n += 1;
    }
    rows
}

/// An object of more than a mebibyte.
pub fn object() -> String {
    format!(r#"{{{ODDITIES},"rows":[{}]}}"#, rows())
}

/// A result of more than a mebibyte, with these members at its end.
pub fn result(members: &str) -> String {
    format!(
        r#"{{"content":[{{"type":"hologram","beam":{{{ODDITIES}}}}},{{"type":"text","text":"t","x-more":1.10}}],{ODDITIES},"structuredContent":{}{members}}}"#,
        object(),
    )
}
