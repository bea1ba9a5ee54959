//! Who has to wait for more than a second is told for what, where somebody looks.

use std::process::Stdio;

use tokio::{io::AsyncReadExt as _, net::TcpListener, process::Command};

use crate::{PROGRAM, User, support::wait::soon};

#[tokio::test]
async fn on_a_terminal_it_is_said_what_is_waited_for() {
    // Connections to it are made, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = silent.local_addr().expect("an address");
    let config = format!(r#"{{"mcpServers": {{"slow": {{"url": "http://{address}/mcp"}}}}}}"#);
    let user = User::new().has("mcp_config.json", &config);
    for (words, told) in [
        (
            format!("status --url http://{address}"),
            format!("waiting for http://{address}/status"),
        ),
        (
            format!("healthcheck --port {}", address.port()),
            format!("waiting for http://{address}"),
        ),
        (
            "token".to_owned(),
            "waiting for the identity provider".to_owned(),
        ),
        ("check --live".to_owned(), "waiting for slow".to_owned()),
    ] {
        let mut terminal = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command"])
            .args([&format!("exec {PROGRAM} {words}"), "/dev/null"])
            .env("HOME", user.path(""))
            .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
            .env("OIDC_TOKEN_URL", format!("http://{address}/token"))
            .env("OIDC_CLIENT_ID", "multiplexer")
            .env("OIDC_CLIENT_SECRET", "secret")
            .current_dir(user.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script of util-linux");
        let mut shown = terminal.stdout.take().expect("a pipe");
        let mut text = String::new();
        soon(&words, async {
            let mut part = [0; 4096];
            while !text.contains(&format!("{told} … ")) {
                let read = shown.read(&mut part).await.expect("text");
                assert!(read > 0, "{words} has ended: {text}");
                text.push_str(&String::from_utf8_lossy(&part[..read]));
            }
        })
        .await;
    }
}
