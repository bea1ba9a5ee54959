//! What a child says of itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who a child says it is, and what it declares, in its handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Profile {
    /// Its name and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_info: Option<Value>,
    /// How it is to be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What it declares.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub capabilities: Map<String, Value>,
}

impl Profile {
    /// Whether it tells when a resource has changed that was subscribed to.
    pub fn subscribes(&self) -> bool {
        let resources = self.capabilities.get("resources");
        resources.is_some_and(|resources| resources["subscribe"] == Value::Bool(true))
    }

    /// The extensions it declares, with their settings.
    pub(super) fn extensions(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.declared("extensions")
    }

    /// What it declares as experimental.
    pub(super) fn experimental(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.declared("experimental")
    }

    fn declared(&self, key: &str) -> impl Iterator<Item = (&String, &Value)> {
        let declared = self.capabilities.get(key).and_then(Value::as_object);
        declared.into_iter().flatten()
    }
}
