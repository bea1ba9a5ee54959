//! What children say of themselves is text, whatever it looks like.

use serde_json::json;

use crate::{
    peers::browser::Browser,
    support::{Child, Door, Era, Fleet},
};

const MARKUP: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";

#[tokio::test]
async fn names_descriptions_and_reasons_are_shown_and_not_believed() {
    let entry = json!({
        "name": "bait", "title": format!("{MARKUP} title"), "description": format!("{MARKUP} said"),
        "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": MARKUP},
    });
    let name = format!("<b>name</b>{MARKUP}\u{202e}");
    let last_words = format!("echo '{MARKUP} last words' >&2; exit 3");
    let mut mux = Fleet::new()
        .entry(
            &name,
            json!({"command": "sh", "args": ["-c", last_words], "prefix": "x"}),
        )
        .stdio(
            "child",
            Child::legacy().bare().listing("bait", &entry.to_string()),
        )
        .over(Door::Http)
        .await;
    mux.until_ready("child").await;
    mux.until_child(&name, "is down", |child| child["state"] == "down")
        .await;
    let mut client = mux.client(Era::Legacy).await;
    client.call("child__bait", "{}").await;
    let mut browser = Browser::start().await;

    browser.open(&mux.at("/"), json!({})).await;
    browser
        .until("document.querySelectorAll('#rows .name').length === 2")
        .await;
    for number in [0, 1] {
        browser
            .run(&format!(
                "document.querySelectorAll('#rows .name')[{number}].click()"
            ))
            .await;
    }

    browser
        .until("document.querySelector('.tools summary')?.innerText.includes('child__bait')")
        .await;
    browser
        .run("document.querySelector('.tools details').open = true")
        .await;
    let shown = browser.text("document.body.innerText").await;
    for text in [
        "<b>name</b>",
        "</script> title",
        "</script> said",
        "</script> last words",
    ] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    let made = "document.querySelectorAll('main img, main script, main b b').length";
    assert_eq!(browser.run(made).await, 0);
    browser.is_accessible().await;
    browser.is_well_behaved(&mux.at("")).await;
}
