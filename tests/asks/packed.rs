//! A call that came in a `call_tool` asks its client like any other.

use serde_json::json;

use crate::{
    asking,
    support::{Door, Era, Fleet, wire::member},
    talker::{ACCEPTED, ALL, Talker, structured},
};

#[tokio::test]
async fn a_call_in_a_call_asks_its_client() {
    let asked =
        json!({"message": "name?", "requestedSchema": {"type": "object", "properties": {}}});
    for era in Era::ALL {
        let mut mux = Fleet::new()
            .top("mode", "dynamic")
            .stdio("old", asking(Era::Legacy))
            .stdio("new", asking(Era::Modern))
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = Talker::over_http(&mut mux, era, ALL).await;
        for child in ["old", "new"] {
            let arguments = json!({
                "name": format!("{child}__ask"),
                "arguments": {"method": "elicitation/create", "params": asked},
            });

            let (answer, heard) = client
                .converse("call_tool", &arguments.to_string(), ACCEPTED)
                .await;

            let expected = [("elicitation/create".to_owned(), asked.clone())];
            assert_eq!(heard, expected, "{era:?} {child}: {answer}");
            let answers = member(structured(&answer), "answers");
            assert_eq!(answers, Some(&*format!("[{ACCEPTED}]")), "{era:?} {child}");
        }
    }
}
