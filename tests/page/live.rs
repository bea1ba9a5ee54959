//! What is shown follows what happens, without a reload.

use serde_json::json;

use crate::{
    peers::browser::Browser,
    support::{Child, Door, Era, Fleet},
};

/// The text of one cell of a child's row.
fn cell(name: &str, number: usize) -> String {
    format!(
        "[...document.querySelectorAll('#rows .row')].find((row) => \
         row.querySelector('.name .told').textContent === {}).children[{number}].innerText",
        json!(name)
    )
}

fn says(name: &str, number: usize, text: &str) -> String {
    format!("{}.includes({})", cell(name, number), json!(text))
}

/// From now on adds up by how much the page's parts jump.
const WATCH_FOR_SHIFTS: &str = "\
    globalThis.shifted = 0; \
    new PerformanceObserver((list) => list.getEntries().forEach((it) => { globalThis.shifted += it.value; })) \
        .observe({ type: 'layout-shift' })";

#[tokio::test]
async fn a_row_follows_its_child_down_and_up_again() {
    let mut mux = Fleet::new()
        .http("remote", Child::modern())
        .stdio("clock", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut browser = Browser::start().await;
    browser.open(&mux.at("/"), json!({})).await;
    browser.until(&says("remote", 1, "Ready")).await;
    browser.until("document.title === 'mcp-multiplexer'").await;
    browser.run(WATCH_FOR_SHIFTS).await;

    mux.remote("remote").stop().await;
    let mut client = mux.client(Era::Modern).await;
    client.call("remote__echo", "{}").await.failure();

    browser.until(&says("remote", 1, "Down")).await;
    browser.until("document.title.startsWith('(1) ')").await;
    browser
        .until(
            "document.querySelector('#verdict h1').innerText.startsWith('1 of 2 children needs')",
        )
        .await;
    // Somebody who does not see it hears of it.
    browser
        .until("document.querySelector('[role=status]#spoken').textContent.startsWith('remote is down')")
        .await;
    let reason = mux.child("remote").await["reason"].to_string();
    let shown = browser.text(&cell("remote", 6)).await;
    assert!(
        reason.to_lowercase().contains(&shown.to_lowercase()),
        "{shown} of {reason}"
    );
    browser.until(&says("clock", 1, "Ready")).await;

    mux.remote("remote").restart().await;

    browser.until(&says("remote", 1, "Ready")).await;
    browser.until("document.title === 'mcp-multiplexer'").await;
    // Also: it is still the same document.
    assert_eq!(browser.run("globalThis.shifted").await, 0);
    browser.is_well_behaved(&mux.at("")).await;
}

#[tokio::test]
async fn calls_and_errors_are_counted_while_one_looks_and_there_for_who_comes_later() {
    let mut mux = Fleet::new()
        .stdio("clock", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut browser = Browser::start().await;
    browser.open(&mux.at("/"), json!({})).await;
    browser.until(&says("clock", 3, "0 calls\nno errors")).await;

    let mut client = mux.client(Era::Legacy).await;
    for _ in 0..3 {
        client.call("clock__echo", "{}").await.content();
    }
    client.call("clock__fail", "{}").await;

    let counted = says("clock", 3, "4 calls\n1 error");
    browser.until(&counted).await;
    let spark = "document.querySelector('#rows .spark').getAttribute('aria-label')";
    assert_eq!(
        browser.text(spark).await,
        "clock: 4 calls in the last ten minutes, 1 error"
    );
    browser.open(&mux.at("/"), json!({})).await;
    browser.until(&counted).await;
    browser.is_well_behaved(&mux.at("")).await;
}

#[tokio::test]
async fn a_configuration_that_is_read_again_adds_and_removes_rows_and_keeps_the_focus() {
    let mux = Fleet::new()
        .stdio("first", Child::legacy())
        .stdio("second", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut browser = Browser::start().await;
    browser.open(&mux.at("/"), json!({})).await;
    browser.until(&says("second", 1, "Ready")).await;
    let focused = "document.activeElement.querySelector('.told')?.textContent";
    browser
        .run("document.querySelectorAll('#rows .name')[1].focus()")
        .await;
    assert_eq!(browser.text(focused).await, "second");

    mux.configure(&[
        mux.process("third", Child::legacy()),
        mux.process("second", Child::legacy()),
    ]);

    let names =
        "[...document.querySelectorAll('#rows .name .told')].map((it) => it.textContent).join()";
    browser.until(&format!("{names} === 'third,second'")).await;
    assert_eq!(browser.text(focused).await, "second");
    browser
        .until("document.querySelector('#figures').innerText.includes('Config generation\\n2')")
        .await;

    mux.write_config("{");

    browser
        .until("document.querySelector('#warnings').innerText.includes('not valid JSON')")
        .await;
    assert_eq!(browser.text(focused).await, "second");
    browser.is_well_behaved(&mux.at("")).await;
}

#[tokio::test]
async fn a_page_whose_multiplexer_has_ended_says_so() {
    let mut mux = Fleet::new()
        .stdio("clock", Child::legacy())
        .over(Door::Http)
        .await;
    let mut browser = Browser::start().await;
    browser.open(&mux.at("/"), json!({})).await;
    browser.until("document.body.dataset.link === 'live'").await;

    mux.terminate();

    assert!(
        mux.ended().await.success(),
        "a watcher keeps nobody from ending"
    );
    browser.until("document.body.dataset.link === 'lost'").await;
}
