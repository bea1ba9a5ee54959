//! How far a client is with its answer, told to the child that asked.

use serde_json::Value;

use crate::{
    asking, one,
    support::{Door, Era, wire::member},
    talker::{ALL, Talker},
};

const PROGRESS: &str = "notifications/progress";

async fn reports(client: &mut Talker, token: &str) {
    let params = format!(r#"{{"progressToken":{token},"progress":0.50}}"#);
    client
        .send(format!(
            r#"{{"jsonrpc":"2.0","method":"{PROGRESS}","params":{params}}}"#
        ))
        .await;
}

#[tokio::test]
async fn a_childs_own_token_comes_back_to_it() {
    for door in Door::ALL {
        let mut mux = one(door, asking(Era::Legacy)).await;
        let mut client = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let mut other = Talker::over_http(&mut mux, Era::Legacy, ALL).await;
        let arguments = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":9,"_meta":{"progressToken":7}}}"#;
        let mut call = client.call("child__ask", arguments).await;
        let asked = client.asked(&mut call, "sampling/createMessage").await;
        let params = member(&asked, "params").expect("params");
        let token = member(params, "_meta").and_then(|meta| member(meta, "progressToken"));
        let token = token.expect("a token").to_owned();
        assert_ne!(token, "7", "two children may have the same");

        reports(&mut other, &token).await;
        reports(&mut client, "7").await;
        reports(&mut client, &token).await;

        let journal = mux.journal("child");
        let is_report = |noted: &Value| noted["method"] == PROGRESS;
        let noted = journal.until("notification", is_report).await;
        assert_eq!(noted["params"], r#"{"progressToken":7,"progress":0.50}"#);
        client.answer(&asked, "{}").await;
        client.answered(&mut call).await;
        let noted = journal.of("notification");
        assert_eq!(noted.iter().filter(|it| is_report(it)).count(), 1);
    }
}
