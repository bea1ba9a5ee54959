//! Which children a client sees.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ChildName;

/// The part of the fleet that a client sees: it asked for it by the address it came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum View {
    /// Every child, under public names.
    #[default]
    All,
    /// One child alone, under its own names.
    Child(ChildName),
    /// The members of this group, under public names.
    Group(Arc<str>),
}
