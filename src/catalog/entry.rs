//! One entry of a list, as its child wrote it.

use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{Mirrors, Primitive};
use crate::protocol::{
    OwnName,
    json::{self, Object, quote},
    splice::Splice,
};

/// What a tool says it does (MCP, `ToolAnnotations`). What it does not say is as the
/// specification has it: the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: bool,
    /// It may destroy something.
    pub destructive: bool,
    /// A second call changes nothing more.
    pub idempotent: bool,
    /// It deals with things outside.
    pub open_world: bool,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            read_only: false,
            destructive: true,
            idempotent: false,
            open_world: true,
        }
    }
}

impl Hints {
    fn of(tool: &Object<'_>) -> Self {
        let annotations = member(tool, "annotations");
        let says = |key, otherwise: bool| {
            let said = annotations
                .as_ref()
                .and_then(|annotations| annotations.get(key));
            match said {
                Some("true") => true,
                Some("false") => false,
                _ => otherwise,
            }
        };
        let read_only = says("readOnlyHint", false);
        Self {
            read_only,
            // Both have a meaning only for what is not read-only.
            destructive: !read_only && says("destructiveHint", true),
            idempotent: read_only || says("idempotentHint", false),
            open_world: says("openWorldHint", true),
        }
    }
}

/// A tool, a prompt, a resource or a template, as its child describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The child's own name for it: a name, a URI, or a template of URIs.
    pub own: OwnName,
    /// Whether a request for it may be sent twice: of tools those with
    /// `annotations.readOnlyHint` or `annotations.idempotentHint`, and all else.
    pub repeatable: bool,
    /// What it says it does, if it is a tool.
    pub hints: Hints,
    /// The arguments of a tool that are told in headers; or what is wrong with the way
    /// it says so.
    pub mirrors: Result<Option<Arc<Mirrors>>, String>,
    /// The resource that a tool shows itself with (MCP Apps, `_meta.ui.resourceUri`), and
    /// where that is said.
    shown_by: Option<(OwnName, Vec<Range<usize>>)>,
    json: Bytes,
    name_at: Range<usize>,
}

impl Entry {
    /// Reads an entry; `None` if it is none.
    pub(super) fn read(primitive: Primitive, text: &str) -> Option<Self> {
        let object = Object::read(text).ok()?;
        let name = object
            .get(primitive.name_key())
            .filter(|raw| json::is_string(raw))?;
        let is_tool = primitive == Primitive::Tool;
        let hints = match is_tool {
            true => Hints::of(&object),
            false => Hints::default(),
        };
        Some(Self {
            own: json::unquote(name).into_owned().into(),
            repeatable: !is_tool || hints.idempotent,
            hints,
            mirrors: match is_tool {
                true => Mirrors::read(&object).map(|mirrors| mirrors.map(Arc::new)),
                false => Ok(None),
            },
            shown_by: is_tool.then(|| shown_by(&object)).flatten(),
            name_at: object.range_of(name),
            // A copy: a slice would keep the whole page alive.
            json: Bytes::copy_from_slice(text.as_bytes()),
        })
    }

    /// The resource that a tool shows itself with.
    pub(super) fn shown_by(&self) -> Option<&OwnName> {
        self.shown_by.as_ref().map(|(uri, _)| uri)
    }

    /// The entry's JSON under another name, every other byte as the child gave it.
    pub(super) fn write_as(&self, name: &str, out: &mut Vec<u8>) {
        self.write(name, None, out);
    }

    /// The same, with another URI for the resource that shows it.
    pub(super) fn write(&self, name: &str, shown_by: Option<&str>, out: &mut Vec<u8>) {
        let mut splice = Splice::of(&self.json);
        if name != self.own.as_str() {
            splice.replace(self.name_at.clone(), quote(name));
        }
        if let Some((uri, (_, places))) = shown_by.zip(self.shown_by.as_ref()) {
            for at in places {
                splice.replace(at.clone(), quote(uri));
            }
        }
        out.extend_from_slice(&splice.finish());
    }

    /// The entry as its child wrote it.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.json)
    }

    /// The same, as bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.json
    }

    /// How many bytes it takes in a list.
    pub fn size(&self) -> usize {
        self.json.len()
    }
}

fn member<'a>(object: &Object<'a>, key: &str) -> Option<Object<'a>> {
    Object::read(object.get(key)?).ok()
}

/// The nested form, or the flat one that came before it. Most servers write both, and
/// hosts read either.
fn shown_by(tool: &Object<'_>) -> Option<(OwnName, Vec<Range<usize>>)> {
    let meta = member(tool, "_meta")?;
    let nested = member(&meta, "ui").and_then(|ui| ui.get("resourceUri"));
    let mut forms = [nested, meta.get("ui/resourceUri")]
        .into_iter()
        .flatten()
        .filter(|uri| json::is_string(uri));
    let first = forms.next()?;
    let own = json::unquote(first);
    let same = forms.filter(|uri| json::unquote(uri) == own);
    let places = std::iter::once(first).chain(same);
    let places = places.map(|uri| tool.range_of(uri)).collect();
    Some((own.into_owned().into(), places))
}
