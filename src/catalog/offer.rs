//! What one child brings into a merge.

use super::{Entry, Listing, naming::public_name};
use crate::protocol::{ChildName, PublicName};

/// One child's part in a merge.
#[derive(Debug)]
pub struct Offer<'a> {
    /// The child.
    pub child: &'a ChildName,
    /// Its prefix; empty leaves its names as they are.
    pub prefix: &'a str,
    /// Whether it is to be used.
    pub enabled: bool,
    /// What it offers, filtered; `None` while it has never been listed.
    pub listing: Option<&'a Listing>,
}

impl<'a> Offer<'a> {
    /// Its tools under their public names, which may be taken by others.
    pub(super) fn named_tools(
        &self,
        max_name_length: usize,
    ) -> impl Iterator<Item = (PublicName, &'a Entry)> {
        let prefix = self.prefix;
        let tools = self.listing.map_or(&[][..], Listing::tools);
        tools.iter().map(move |entry| {
            let name = public_name(prefix, entry.own.as_str(), max_name_length);
            (name, entry)
        })
    }
}
