//! With `--contents`: one prompt, completions of its argument, a template, and resources
//! that can be read. Each answer shows the params it was asked with.

use serde_json::json;

use crate::{
    message::{Message, Params, Reply, quoted},
    options::Options,
    server::{Era, Server},
};

/// The members of the capabilities, each with a comma before it.
pub fn capability(options: &Options) -> &'static str {
    if options.contents {
        r#","prompts":{},"completions":{}"#
    } else {
        ""
    }
}

/// The answer to a request about them; `list` is what a list of this era carries.
pub fn answer(
    server: &Server,
    method: &str,
    message: &Message,
    params: &Params,
    era: Era,
    list: &str,
) -> Option<Reply> {
    if !server.options.contents {
        return None;
    }
    let raw = message.raw_params();
    let complete = match era {
        Era::Legacy => "",
        Era::Modern => r#","resultType":"complete""#,
    };
    let result = match method {
        "prompts/list" => format!(
            r#"{{"prompts":[{{"name":"greet","arguments":[{{"name":"whom","x-deep":{{"exact":1.10}}}}],"x-exact":1.10,"_meta":{{"vendor/x":[1.0]}}}}]{list}}}"#
        ),
        "resources/templates/list" => format!(
            r#"{{"resourceTemplates":[{{"uriTemplate":"{}/{{part}}","name":"t","x-exact":1.10,"_meta":{{"vendor/x":[1.0]}}}}]{list}}}"#,
            server.options.resources.first()?
        ),
        "prompts/get" if params.name.as_deref() == Some("greet") => format!(
            r#"{{"messages":[{{"role":"user","content":{{"type":"text","text":"hello","x-exact":1.10}}}}],"x-params":{raw}{complete}}}"#
        ),
        "completion/complete" => format!(
            r#"{{"completion":{{"values":["world"],"total":1,"x-exact":1.10}},"x-params":{raw}{complete}}}"#
        ),
        "resources/read" => {
            let uri = params.uri.as_deref()?;
            let mut known = server.options.resources.iter();
            known.find(|known| uri.starts_with(known.as_str()))?;
            server.journal.note("read", json!({"uri": uri}));
            format!(
                r#"{{"contents":[{{"uri":{},"text":"contents","x-exact":1.10}}],"x-params":{raw}{list}}}"#,
                quoted(uri)
            )
        }
        _ => return None,
    };
    Some(Reply::Result(result))
}
