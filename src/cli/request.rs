//! A modern request, as our commands send it and as a person may paste it.

use crate::protocol::{json::quote, request::meta_key, version::MODERN};

/// A request that needs no handshake and no session before it.
pub(super) struct ModernRequest {
    method: &'static str,
    name: Option<String>,
    params: String,
}

impl ModernRequest {
    /// Asks for everything there is.
    pub(super) fn list() -> Self {
        Self {
            method: "tools/list",
            name: None,
            params: String::new(),
        }
    }

    /// Calls a tool. `arguments` is JSON text.
    pub(super) fn call(tool: &str, arguments: &str) -> Self {
        Self {
            method: "tools/call",
            name: Some(tool.to_owned()),
            params: format!(r#""name":{},"arguments":{arguments},"#, quote(tool)),
        }
    }

    /// The headers that must go with it (MCP 2026-07-28, "Streamable HTTP").
    pub(super) fn headers(&self) -> Vec<(&'static str, &str)> {
        let mut headers = vec![
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", MODERN.as_str()),
            ("Mcp-Method", self.method),
        ];
        headers.extend(self.name.as_deref().map(|name| ("Mcp-Name", name)));
        headers
    }

    /// The message.
    pub(super) fn body(&self) -> String {
        let Self { method, params, .. } = self;
        let (version, capabilities) = (meta_key::PROTOCOL_VERSION, meta_key::CLIENT_CAPABILITIES);
        let meta = format!(r#"{{"{version}":"{MODERN}","{capabilities}":{{}}}}"#);
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{meta}}}}}"#
        )
    }

    /// The shell command that sends it.
    pub(super) fn curl(&self, url: &str) -> String {
        let mut command = format!("curl -s {url}");
        for (name, value) in self.headers() {
            command.push_str(&format!(
                " \\\n  -H {}",
                shell_quoted(&format!("{name}: {value}"))
            ));
        }
        command.push_str(&format!(" \\\n  -d {}", shell_quoted(&self.body())));
        command
    }
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Era, Frame, request::Params};

    #[test]
    fn a_call_says_in_its_headers_what_its_body_says() {
        let request = ModernRequest::call("weather__forecast", r#"{"city":"Oslo"}"#);
        let frame = Frame::made(request.body());
        let params = Params::read(&frame, "tools/call").unwrap();
        assert_eq!(params.era(), Era::Modern);
        assert!(params.abilities.is_some());
        assert_eq!(params.name.as_deref(), Some("weather__forecast"));
        assert!(
            request
                .headers()
                .contains(&("Mcp-Name", "weather__forecast"))
        );
        assert!(request.headers().contains(&("Mcp-Method", "tools/call")));
    }

    #[test]
    fn a_quote_in_an_argument_stays_within_the_shells_quotes() {
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
