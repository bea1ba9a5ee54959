//! How it looks: in dark and in light, on a phone, with many children.

use serde_json::{Value, json};

use crate::{
    crowd,
    issuer::{Issuer, Key},
    knock::{locked, open},
    peers::browser::Browser,
    support::{Child, Door},
};

const WIDTHS: &str = "[document.documentElement.scrollWidth, innerWidth]";

async fn fits(browser: &mut Browser) {
    let widths = browser.run(WIDTHS).await;
    assert!(
        widths[0].as_u64() <= widths[1].as_u64(),
        "it scrolls sideways: {widths}"
    );
}

#[tokio::test]
async fn fifty_seven_children_are_there_on_a_desk_and_on_a_phone() {
    let mux = crowd::fleet(57)
        .entry(
            "gone",
            crowd::missing(&format!("/no/such/{}", "long".repeat(40))),
        )
        .over(Door::Http)
        .await;
    for name in crowd::names(57) {
        mux.until_ready(name).await;
    }
    let mut browser = Browser::start().await;
    for (width, scheme) in [
        (1280, "light"),
        (768, "dark"),
        (360, "light"),
        (360, "dark"),
    ] {
        let how = json!({"width": width, "height": 800, "scheme": scheme});
        browser.open(&mux.at("/"), how).await;
        browser
            .until("document.querySelector('#verdict h1').innerText === '1 of 58 children needs attention'")
            .await;
        assert_eq!(
            browser
                .run("document.querySelectorAll('#rows .row').length")
                .await,
            58
        );
        fits(&mut browser).await;
        browser.click("#trouble a").await;
        browser
            .until("document.activeElement.innerText.startsWith('gone')")
            .await;
        browser
            .run("document.querySelector('#rows .name').click()")
            .await;
        browser
            .until("document.querySelectorAll('.tools li').length === 39")
            .await;
        fits(&mut browser).await;
    }
    browser.is_well_behaved(&mux.at("")).await;
}

#[tokio::test]
async fn light_dark_and_calm_are_as_the_reader_likes_them() {
    let mux = crowd::fleet(2)
        .stdio("slow", Child::broken("black-hole"))
        .over(Door::Http)
        .await;
    let mut browser = Browser::start().await;
    let mut brightness = Vec::new();
    for (scheme, motion, moves) in [
        ("light", "no-preference", "turn"),
        ("dark", "reduce", "none"),
    ] {
        let how = json!({"scheme": scheme, "motion": motion});
        browser.open(&mux.at("/"), how).await;
        browser
            .until("[...document.querySelectorAll('.state')].some((it) => it.dataset.state === 'connecting')")
            .await;
        let color = browser
            .text("getComputedStyle(document.body).backgroundColor")
            .await;
        brightness.push(
            color
                .replace("rgb(", "")
                .split(',')
                .next()
                .map(str::to_owned),
        );
        let animation = browser
            .text("getComputedStyle(document.querySelector('.state[data-state=connecting] .icon')).animationName")
            .await;
        assert_eq!(animation, moves);
    }
    let level = |at: usize| brightness[at].as_ref().and_then(|it| it.parse::<u8>().ok());
    assert!(
        level(0) > Some(200) && level(1) < Some(50),
        "{brightness:?}"
    );
}

#[tokio::test]
async fn a_stranger_at_a_locked_door_is_shown_states_and_told_why_no_more() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let fleet = locked(&issuer, json!({}))
        .stdio("clock", Child::legacy())
        .entry("gone", crowd::missing("/no/such/program"));
    let mux = open(fleet).await;
    mux.until_ready("clock").await;
    let down = |child: &Value| child["state"] == "down";
    mux.until_child("gone", "is down", down).await;
    let mut browser = Browser::start().await;

    browser.open(&mux.at("/"), json!({})).await;

    browser
        .until("document.querySelector('#warnings').innerText.includes('--admin-addr')")
        .await;
    browser
        .run("document.querySelectorAll('#rows .name').forEach((it) => it.click())")
        .await;
    browser
        .until("document.querySelector('#rows').innerText.includes('Tools are shown to those who may come in')")
        .await;
    let shown = browser.text("document.body.innerText").await;
    assert!(
        shown.contains("Down") && !shown.contains("no/such"),
        "{shown}"
    );
    browser.is_accessible().await;
    // That the tools may not be had is the one thing to complain of.
}
