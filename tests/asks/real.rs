//! A server that others have made asks.

use serde_json::{Value, json};

use crate::{
    peers::server_everything,
    support::{Door, Era, Fleet, Multiplexer, wire::member},
    talker::{ALL, Talker},
};

async fn everything() -> Multiplexer {
    let server = server_everything();
    let entry = json!({"command": "node", "args": [server, "stdio"], "prefix": "all"});
    let mux = Fleet::new()
        .entry("everything", entry)
        .over(Door::Http)
        .await;
    mux.until_ready("everything").await;
    mux
}

fn text(answer: &str) -> String {
    let result = member(answer, "result").unwrap_or_else(|| panic!("no result: {answer}"));
    let result: Value = serde_json::from_str(result).expect("JSON");
    let parts = result["content"].as_array().expect("content").clone();
    let texts = parts.iter().filter_map(|part| part["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn server_everything_asks_clients_of_both_eras() {
    let mut mux = everything().await;
    for era in Era::ALL {
        let mut client = Talker::over_http(&mut mux, era, ALL).await;
        let given = r#"{"action":"accept","content":{"name":"Ann Example","check":true}}"#;
        let tool = "all__trigger-elicitation-request";
        let (answer, asked) = client.converse(tool, "{}", given).await;
        assert_eq!(asked[0].0, "elicitation/create");
        assert!(text(&answer).contains("Ann Example"), "{answer}");

        let given = r#"{"role":"assistant","content":{"type":"text","text":"forty-two"},"model":"a model"}"#;
        let tool = "all__trigger-sampling-request";
        let (answer, asked) = client
            .converse(tool, r#"{"prompt":"how many?"}"#, given)
            .await;
        assert_eq!(asked[0].0, "sampling/createMessage");
        assert!(asked[0].1.to_string().contains("how many?"));
        assert!(text(&answer).contains("forty-two"), "{answer}");
    }
}
