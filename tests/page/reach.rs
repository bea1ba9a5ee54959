//! It is there for everybody: by keyboard, and for those who hear it.

use serde_json::json;

use crate::{
    crowd,
    peers::browser::Browser,
    support::{Door, Fleet, Multiplexer},
};

async fn three() -> Multiplexer {
    let mux = Fleet::new()
        .stdio("github", crowd::like("github"))
        .stdio("time", crowd::like("time"))
        .entry("gone", crowd::missing("/no/such/program"))
        .over(Door::Http)
        .await;
    mux.until_ready("github").await;
    mux.until_ready("time").await;
    mux.until_child("gone", "is down", |child| child["state"] == "down")
        .await;
    mux
}

async fn shown(browser: &mut Browser, mux: &Multiplexer, how: serde_json::Value) {
    browser.open(&mux.at("/"), how).await;
    browser
        .until(
            "document.querySelector('#verdict h1').innerText === '1 of 3 children needs attention'",
        )
        .await;
}

/// What has the focus, and whether one sees that.
const FOCUS: &str = "(() => { \
    const it = document.activeElement, style = getComputedStyle(it); \
    const around = getComputedStyle(it.closest('label') ?? it); \
    const name = it.getAttribute('aria-label') || it.placeholder || it.innerText || it.closest('label')?.innerText || it.tagName; \
    const seen = [style, around].some((one) => one.outlineStyle !== 'none' && parseFloat(one.outlineWidth) > 0); \
    return `${seen ? '' : 'UNSEEN '}${name.trim().split('\\n')[0]}`; })()";

#[tokio::test]
async fn everything_can_be_done_by_keyboard() {
    let mux = three().await;
    let mut browser = Browser::start().await;
    shown(&mut browser, &mux, json!({})).await;
    let mut walk = Vec::new();
    for _ in 0..7 {
        browser.press("Tab").await;
        walk.push(browser.text(FOCUS).await);
    }
    let expected = [
        "Skip to the children",
        "gone",
        "All 3",
        "Find a child",
        "github",
        "time",
        "gone",
    ];
    assert_eq!(walk, expected.map(|stop| stop.replace("All 3", "All3")));

    browser.press("Shift+Tab").await;
    browser.press("Shift+Tab").await;
    browser.press("Enter").await;
    browser
        .until("document.querySelectorAll('.tools li').length === 39")
        .await;
    assert_eq!(
        browser.run("document.activeElement.ariaExpanded").await,
        "true"
    );
    browser.press("Tab").await;
    assert_eq!(browser.text(FOCUS).await, "Find a tool of github");
    browser.write("pull request review").await;
    browser
        .until("document.querySelectorAll('.tools li').length > 0 && document.querySelectorAll('.tools li').length < 10")
        .await;
    browser.until("document.querySelector('.tools-head [role=status]').innerText.includes(' of 39 tools')").await;
    browser.press("Tab").await;
    browser.press("Enter").await;
    browser
        .until("document.querySelector('.tools details').open")
        .await;
    browser.press("Shift+Tab").await;
    browser.press("Shift+Tab").await;
    browser.press("Space").await;
    browser
        .until("document.querySelector('.tools') === null")
        .await;

    browser.press("Shift+Tab").await;
    browser.write("tim").await;
    browser
        .until("document.querySelectorAll('#rows .row:not([hidden])').length === 1")
        .await;
    browser.press("Shift+Tab").await;
    browser.press("ArrowRight").await;
    browser
        .until("!document.querySelector('#none').hidden")
        .await;
    browser.is_well_behaved(&mux.at("")).await;
}

#[tokio::test]
async fn it_makes_sense_to_who_hears_it_at_any_width() {
    let mux = three().await;
    let mut browser = Browser::start().await;
    for width in [1280, 360] {
        shown(&mut browser, &mux, json!({"width": width})).await;
        let heard = browser.heard("main").await;
        for part in [
            "heading \"1 of 3 children needs attention\" [level=1]",
            "table \"Children\"",
            "columnheader \"Breaker\"",
            "rowheader",
            "button \"github",
            "cell \"Ready",
            "img \"github: 0 calls in the last ten minutes, 0 errors\"",
            "searchbox \"Find a child\"",
            "group \"Show\"",
            "list \"Warnings\"",
        ] {
            let expected = part != "list \"Warnings\"";
            assert_eq!(
                heard.contains(part),
                expected,
                "{part} at {width}:\n{heard}"
            );
        }
    }
}

#[tokio::test]
async fn axe_finds_nothing_in_either_theme_at_any_width() {
    let mux = three().await;
    let mut browser = Browser::start().await;
    for (width, scheme) in [
        (1280, "light"),
        (1280, "dark"),
        (360, "light"),
        (360, "dark"),
    ] {
        shown(
            &mut browser,
            &mux,
            json!({"width": width, "scheme": scheme, "motion": "reduce"}),
        )
        .await;
        browser.is_accessible().await;
        browser
            .run("document.querySelectorAll('#rows .name').forEach((it) => it.click())")
            .await;
        browser
            .until("document.querySelectorAll('.tools li').length > 39")
            .await;
        browser
            .run("document.querySelector('.tools details').open = true")
            .await;
        browser.is_accessible().await;
    }
    browser.is_well_behaved(&mux.at("")).await;
}
