//! The pictures in the docs: the real program, in front of children that have names and
//! tools as they are out there.
//!
//! Each run takes them, to see that it can be done. With `TAKE_PICTURES`, which
//! `tests/pictures` sets, there is traffic for so many seconds before, and they are put
//! into the docs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    crowd,
    peers::browser::Browser,
    support::{Child, Client, Door, Era, Fleet, Multiplexer, Provider, http::ClosedPort},
};

/// Bytes of a picture that still loads at once.
const MOST: u64 = 300 * 1024;

/// In the typefaces that systems show the page in nowadays, where they are installed.
const FONTS: &str = r#"<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <match target="pattern">
    <test name="family"><string>system-ui</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit>
  </match>
  <match target="pattern">
    <test name="family"><string>sans-serif</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit>
  </match>
  <match target="pattern">
    <test name="family"><string>monospace</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>JetBrains Mono</string></edit>
  </match>
</fontconfig>
"#;

/// Children, and how much each has to do.
const WELL: [(&str, u32); 9] = [
    ("github", 9),
    ("linear", 4),
    ("notion", 2),
    ("kubernetes", 5),
    ("grafana", 3),
    ("prometheus", 7),
    ("figma", 1),
    ("memory", 6),
    ("time", 2),
];
/// Those that have a bad day, and what it is like.
const UNWELL: [(&str, u32); 5] = [
    ("sentry", 2),
    ("postgres", 4),
    ("gitlab", 3),
    ("slack", 3),
    ("stripe", 4),
];

/// Where the pictures go, and for how long there is traffic before.
struct Studio {
    folder: PathBuf,
    traffic: Duration,
    scratch: TempDir,
}

impl Studio {
    fn open() -> Self {
        let scratch = TempDir::with_prefix("pictures-").expect("a folder");
        let (folder, seconds) = match env::var("TAKE_PICTURES") {
            Ok(seconds) => {
                let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/pictures");
                (docs, seconds.parse().expect("a number of seconds"))
            }
            Err(_) => (scratch.path().to_owned(), 1),
        };
        fs::create_dir_all(&folder).expect("a folder for pictures");
        fs::write(scratch.path().join("fonts.conf"), FONTS).expect("a file");
        Self {
            folder,
            traffic: Duration::from_secs(seconds),
            scratch,
        }
    }

    async fn browser(&self) -> Browser {
        let fonts = self.scratch.path().join("fonts.conf");
        Browser::with_environment(&[("FONTCONFIG_FILE", &fonts.to_string_lossy())]).await
    }

    async fn picture(&self, browser: &mut Browser, name: &str) {
        let path = self.folder.join(name);
        browser.picture(&path, false).await;
        let size = fs::metadata(&path).expect("a picture").len();
        assert!((10_000..MOST).contains(&size), "{name}: {size} bytes");
    }

    /// Calls, more of them to the busy ones, in waves.
    async fn traffic(&self, mux: &mut Multiplexer, client: &mut Client) {
        let began = Instant::now();
        let mut number = 0_u32;
        while began.elapsed() < self.traffic || number < 40 {
            // Once in a while something goes wrong.
            let stumbles = number % 400 == 30;
            if stumbles {
                mux.remote("grafana").behave("server-error").await;
                let tool = crowd::tool("grafana", 0);
                client.call(&format!("grafana__{tool}"), "{}").await;
                mux.remote("grafana").behave("healthy").await;
            }
            for (at, (name, weight)) in WELL.iter().chain(&UNWELL).enumerate() {
                let at = u32::try_from(at).unwrap_or_default();
                let minute = u32::try_from(began.elapsed().as_secs() / 10).unwrap_or_default();
                // No two are busy at the same times, and nobody is always.
                let wave = (minute * (3 + at) + at * 7) % 11;
                if (number * 7 + at * 5) % 11 < weight + wave / 4 && wave > 1 {
                    let tool = crowd::tool(name, number as usize);
                    client.call(&format!("{name}__{tool}"), "{}").await;
                }
            }
            number += 1;
            sleep(Duration::from_millis(350).min(self.traffic / 40)).await;
        }
    }
}

async fn fleet(provider: &Provider) -> Fleet {
    let breaker = json!({"failures": 4, "cooldown": "90s"});
    let all = WELL.iter().chain(&UNWELL);
    let fleet = all.fold(Fleet::new(), |fleet, (name, _)| match *name {
        "sentry" | "stripe" | "grafana" | "notion" => {
            let child = crowd::like(name).key("breaker", breaker.clone());
            fleet.http(name, child)
        }
        _ => fleet.stdio(name, crowd::like(name)),
    });
    fleet
        .stdio("weather", lazy())
        .entry("datadog", json!({"command": "true", "disabled": true}))
        .identity(provider)
}

/// One that runs only while it is needed.
fn lazy() -> Child {
    crowd::like("weather")
        .key("lazy", true)
        .key("idleTimeout", "1s")
}

async fn look(browser: &mut Browser, mux: &Multiplexer, how: Value, title: &str) {
    browser.open(&mux.at("/"), how).await;
    browser
        .until(&format!(
            "document.querySelector('#verdict h1').innerText === {}",
            json!(title)
        ))
        .await;
}

#[tokio::test]
async fn a_good_day_in_light_and_dark_and_on_a_phone_and_a_bad_one() {
    let studio = Studio::open();
    let provider = Provider::with("token", 300).await;
    let mut mux = fleet(&provider).await.over(Door::Http).await;
    for (name, _) in WELL.iter().chain(&UNWELL) {
        mux.until_ready(name).await;
    }
    mux.until_child("weather", "is idle", |child| child["state"] == "idle")
        .await;
    let mut client = mux.client(Era::Modern).await;
    studio.traffic(&mut mux, &mut client).await;
    // They are counted when somebody asks for the first time.
    mux.until_child("github", "has its tokens counted", |child| {
        child["toolsListTokens"].is_u64()
    })
    .await;
    let mut browser = studio.browser().await;

    let well = "All 15 children are well";
    let light = json!({"width": 1280, "height": 1010});
    look(&mut browser, &mux, light, well).await;
    studio.picture(&mut browser, "light.png").await;

    let dark = json!({"width": 1280, "height": 1010, "scheme": "dark"});
    look(&mut browser, &mux, dark, well).await;
    browser.click("#rows tr:nth-child(2) .name").await;
    browser
        .until("document.querySelectorAll('.tools li').length > 0")
        .await;
    browser
        .run("document.querySelector('.tools details').open = true")
        .await;
    studio.picture(&mut browser, "dark.png").await;

    let phone = json!({"width": 390, "height": 1180});
    look(&mut browser, &mux, phone, well).await;
    studio.picture(&mut browser, "phone.png").await;

    bad_day(&mut mux, &mut client).await;
    let bad = json!({"width": 1280, "height": 1010});
    look(&mut browser, &mux, bad, "5 of 15 children need attention").await;
    browser
        .run("document.querySelector('#chips [value=attention]').click()")
        .await;
    browser
        .run("document.querySelectorAll('#rows tr:not([hidden]) .name')[4].click()")
        .await;
    browser
        .until("document.querySelectorAll('.tools li').length > 0")
        .await;
    studio.picture(&mut browser, "bad-day.png").await;
    browser.is_well_behaved(&mux.at("")).await;
}

/// One is gone, one is locked, one dies at its start, one answers nothing, and one is
/// connected and fails.
async fn bad_day(mux: &mut Multiplexer, client: &mut Client) {
    let nobody = ClosedPort::pick();
    let dies = "echo 'FATAL: password authentication failed for user \"readonly\"' >&2; exit 1";
    let mut entries: Vec<(String, Value)> = Vec::new();
    for (name, _) in WELL.iter().chain(&UNWELL) {
        entries.push(match *name {
            "postgres" => (
                (*name).into(),
                json!({"command": "sh", "args": ["-c", dies]}),
            ),
            "gitlab" => ((*name).into(), json!({"url": nobody.url("/mcp")})),
            "slack" => {
                let child = crowd::like(name).option("--behaviour", "black-hole");
                mux.process(name, child.key("timeout", "3s"))
            }
            "sentry" | "stripe" | "grafana" | "notion" => {
                let (name, mut entry) = mux.connection(name);
                entry["breaker"] = json!({"failures": 4, "cooldown": "90s"});
                if name == "sentry" {
                    // Anything, so that it is connected anew.
                    entry["timeout"] = json!("14s");
                }
                (name, entry)
            }
            _ => mux.process(name, crowd::like(name)),
        });
    }
    entries.push(mux.process("weather", lazy()));
    entries.push((
        "datadog".into(),
        json!({"command": "true", "disabled": true}),
    ));
    mux.remote("stripe").behave("server-error").await;
    for number in 0..5 {
        let tool = crowd::tool("stripe", number);
        client.call(&format!("stripe__{tool}"), "{}").await;
    }
    mux.remote("sentry").behave("unauthorized").await;
    mux.configure(&entries);
    for name in ["postgres", "gitlab", "slack", "sentry"] {
        let down = |child: &Value| child["state"] == "down";
        mux.until_child(name, "is down", down).await;
    }
    // Clients try all the same.
    for number in 0..6 {
        for (name, _) in UNWELL {
            let tool = crowd::tool(name, number);
            client.call(&format!("{name}__{tool}"), "{}").await;
        }
    }
}
