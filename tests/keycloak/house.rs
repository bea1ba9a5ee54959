//! Children that check the tokens of a realm, and a fleet with its identity.

use std::{fs, path::Path, time::Duration};

use futures::future::join_all;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    realm::{CLIENT, Realm},
    server::SECRET,
};
use crate::{
    peers::{Server, eunomia_server, jwt_server},
    support::{Answer, Client, Door, Era, Fleet, Multiplexer, eventually},
};

/// The prefixes of the two children.
pub const CHILDREN: [&str; 2] = ["plain", "ruled"];

/// A call for each of them.
pub const ADDING: [(&str, &str); 2] = [
    ("plain__add", r#"{"a":19,"b":23}"#),
    ("ruled__add", r#"{"a":19,"b":23}"#),
];

/// Two children that take the realm's tokens, of different FastMCPs: one lets their
/// bearers do everything, the other what a policy says.
pub struct Guarded {
    plain: Server,
    ruled: Server,
}

impl Guarded {
    /// Starts them.
    pub async fn start(realm: &Realm) -> Self {
        let verifier = json!({
            "jwks_uri": realm.keys_url(),
            "issuer": realm.issuer(),
            "audience": "agent-services",
        });
        // A new key is asked for at once, where 30 s is what a verifier waits by default.
        let mut eager = verifier.clone();
        eager["jwks_refresh_interval"] = 0.into();
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keycloak/policy.json");
        let mut plain = jwt_server(&eager);
        let mut ruled = eunomia_server(&verifier, &policy);
        let (plain, ruled) = tokio::join!(Server::start(&mut plain), Server::start(&mut ruled));
        Self { plain, ruled }
    }

    /// Where the child with the policy is.
    pub fn ruled(&self) -> String {
        self.ruled.mcp()
    }

    /// Both behind the identity of the realm, whose secret is in a file.
    pub fn fleet(&self, realm: &Realm) -> Fleet {
        // So that no test waits for a breaker.
        let entry = |server: &Server| json!({"url": server.mcp(), "breaker": {"cooldown": "1s"}});
        let fleet = Fleet::new()
            .entry(CHILDREN[0], entry(&self.plain))
            .entry(CHILDREN[1], entry(&self.ruled));
        let file = fleet.path("secret");
        fs::write(&file, SECRET).expect("the secret can be written");
        fleet
            .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
            .env("OIDC_ISSUER", &realm.issuer())
            .env("OIDC_CLIENT_ID", CLIENT)
            .env("OIDC_CLIENT_SECRET_FILE", &file.display().to_string())
    }
}

/// How many mints have ended like this.
pub async fn mints(mux: &Multiplexer, outcome: &str) -> f64 {
    let metrics = mux.metrics().await;
    metrics.sum("token_mints_total", &[("outcome", outcome)])
}

/// Waits until so many more mints have ended like this.
pub async fn more_mints(mux: &Multiplexer, outcome: &str, more: u32) {
    let before = mints(mux, outcome).await;
    for n in 1..=more {
        mux.until_metrics(&format!("mint {n}, {outcome}"), |metrics| {
            let now = metrics.sum("token_mints_total", &[("outcome", outcome)]);
            now >= before + f64::from(n)
        })
        .await;
    }
}

/// Adds two numbers over there.
pub async fn add(client: &mut Client, prefix: &str) -> Answer {
    client
        .call(&format!("{prefix}__add"), r#"{"a":19,"b":23}"#)
        .await
}

/// Whether that went well.
pub fn added(answer: &Answer) -> bool {
    !answer.is_tool_error() && answer.content() == json!({"result": 42})
}

/// Waits until there is a new token, and both children work.
pub async fn heals(mux: &mut Multiplexer) {
    more_mints(mux, "ok", 1).await;
    let mut client = mux.client(Era::Legacy).await;
    for prefix in CHILDREN {
        eventually(&format!("{prefix} works again"), async || {
            added(&add(&mut client, prefix).await).then_some(())
        })
        .await;
    }
}

/// Waits until this child's refusal is what a caller is told, and what `/status` and
/// `/metrics` say of it. Calls go on meanwhile, as they would: the first that is refused
/// is `unauthorized`, later ones find the child `unavailable` for that reason.
pub async fn shows_unauthorized(mux: &mut Multiplexer, prefix: &str) {
    let mut client = mux.client(Era::Legacy).await;
    eventually(&format!("{prefix} is shown as unauthorized"), async || {
        let answer = add(&mut client, prefix).await;
        let told = answer.is_tool_error() && answer.content_text().contains("401");
        let child = mux.child(prefix).await;
        (told && child["state"] == "down" && child["cause"] == "unauthorized").then_some(())
    })
    .await;
    let metrics = mux.metrics().await;
    assert!(metrics.sum("child_unauthorized_total", &[("child", prefix)]) >= 1.0);
}

/// Calls that go on, at a steady pace, until somebody looks at what became of them.
pub struct Load {
    over: CancellationToken,
    callers: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    /// Two clients for each of these tools, one of either era.
    pub async fn on(mux: &mut Multiplexer, tools: &[(&str, &str)]) -> Self {
        let over = CancellationToken::new();
        let mut callers = Vec::new();
        for (tool, arguments) in tools {
            for era in Era::ALL {
                let client = mux.client(era).await;
                let (tool, arguments) = ((*tool).to_owned(), (*arguments).to_owned());
                callers.push(tokio::spawn(calling(client, tool, arguments, over.clone())));
            }
        }
        Self { over, callers }
    }

    /// Ends it; none of its calls may have failed. Says how many there were.
    pub async fn went_well(self) -> usize {
        self.over.cancel();
        let mut calls = 0;
        for caller in join_all(self.callers).await {
            let (made, failed) = caller.expect("a caller");
            assert!(made > 0, "a caller that never called");
            assert!(failed.is_empty(), "{} of {made}: {failed:#?}", failed.len());
            calls += made;
        }
        calls
    }
}

async fn calling(
    mut client: Client,
    tool: String,
    arguments: String,
    over: CancellationToken,
) -> (usize, Vec<String>) {
    // The pace of a busy agent, which leaves the machine to the others.
    let mut pace = interval(Duration::from_millis(50));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut calls, mut failed) = (0, Vec::new());
    while !over.is_cancelled() {
        pace.tick().await;
        let answer = client.call(&tool, &arguments).await;
        calls += 1;
        if answer.is_tool_error() {
            failed.push(answer.frame);
        } else {
            answer.result();
        }
    }
    (calls, failed)
}

/// A fleet of the two children, over HTTP and ready.
pub async fn ready(fleet: Fleet) -> Multiplexer {
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    mux
}
