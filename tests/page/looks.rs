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

#[tokio::test]
async fn the_last_words_of_a_process_are_seen_before_its_row_is_opened() {
    let script = "echo 'Error: no key' >&2; exit 1";
    let mux = crowd::fleet(1)
        .entry(
            "dies",
            json!({"command": "/bin/sh", "args": ["-c", script]}),
        )
        .over(Door::Http)
        .await;
    let down = |child: &Value| child["state"] == "down";
    mux.until_child("dies", "is down", down).await;
    let mut browser = Browser::start().await;
    for width in [1280, 360] {
        let how = json!({"width": width, "height": 800});
        browser.open(&mux.at("/"), how).await;
        let words = "document.querySelectorAll('#rows .reason .mono')[1]";
        browser
            .until(&format!("{words}?.textContent === 'Error: no key'"))
            .await;
        let is_whole = format!("{words}.scrollWidth <= {words}.clientWidth");
        assert_eq!(browser.run(&is_whole).await, true, "{width}");
        let all = browser
            .text(&format!("{words}.closest('.reason').title"))
            .await;
        assert!(all.ends_with("(last on stderr: Error: no key)"), "{all}");
        fits(&mut browser).await;
    }
    // The figures of a row end in one line.
    let left = "(() => { const cell = document.querySelector(\"#rows td[data-label='In flight']\");
        return cell.getBoundingClientRect().right - cell.firstChild.getBoundingClientRect().right; })()";
    let left = browser.run(left).await;
    assert!(left.as_f64().expect("pixels") < 1.0, "{left}");
    // When it was is told by how long ago, and to who points at it, by the date.
    let read = "(() => { const it = document.querySelector('#cards time');
        return `${it.innerText}: ${it.title}`; })()";
    let read = browser.text(read).await;
    let (ago, date) = read.split_once(": ").expect("both");
    assert!(ago == "just now" || ago.ends_with(" ago"), "{read}");
    assert!(date.contains(':'), "{read}");
}
