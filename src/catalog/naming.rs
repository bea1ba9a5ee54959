//! How a child's own name becomes the public one.

use sha2::{Digest, Sha256};

use crate::protocol::PublicName;

/// Between prefix and own name.
const SEPARATOR: &str = "__";
/// `_` and six hex characters.
const SUFFIX_LENGTH: usize = 7;

/// The public name of `own` under `prefix`: `{prefix}__{own}`.
///
/// It depends on these arguments alone, so that no other child can change it. The
/// model APIs behind most clients accept `[A-Za-z0-9_-]` only and refuse the whole
/// tool list otherwise: a name that has anything else, or more than `max_length`
/// characters, is made to fit and ends in a hash of the full name. An empty
/// `prefix` leaves the name as it is, whatever it is.
pub fn public_name(prefix: &str, own: &str, max_length: usize) -> PublicName {
    if prefix.is_empty() {
        return own.into();
    }
    let full = format!("{prefix}{SEPARATOR}{own}");
    if full.len() <= max_length && full.chars().all(is_safe) {
        return full.into();
    }
    let kept = max_length.saturating_sub(SUFFIX_LENGTH);
    let mut name: String = full
        .chars()
        .map(|c| if is_safe(c) { c } else { '_' })
        .take(kept)
        .collect();
    let digest = Sha256::digest(&full);
    name.push_str(&format!(
        "_{:02x}{:02x}{:02x}",
        digest[0], digest[1], digest[2]
    ));
    name.into()
}

fn is_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_fits_is_prefix_and_own_name() {
        assert_eq!(
            public_name("github", "search_code", 42).as_str(),
            "github__search_code"
        );
        assert_eq!(
            public_name("", "any thing/at all", 5).as_str(),
            "any thing/at all"
        );
    }

    #[test]
    fn a_long_name_is_cut_and_ends_in_a_hash_of_the_whole() {
        let own = "a_tool_whose_name_goes_on_and_on";
        let (a, b) = (
            public_name("container_manager", own, 42),
            public_name("container_manager", &format!("{own}_more"), 42),
        );
        assert_eq!(a.as_str().len(), 42);
        assert_eq!(&a.as_str()[..35], "container_manager__a_tool_whose_nam");
        assert_ne!(a, b);
    }

    #[test]
    fn characters_that_break_clients_are_replaced() {
        let name = public_name("x", "délete.all files", 42);
        assert!(name.as_str().starts_with("x__d_lete_all_files_"), "{name}");
    }

    proptest! {
        #[test]
        fn every_public_name_is_one_that_clients_accept(own in "\\PC{0,80}", max in 16usize..64) {
            let name = public_name("p", &own, max);
            prop_assert!(name.as_str().len() <= max);
            prop_assert!(name.as_str().chars().all(is_safe));
        }

        #[test]
        fn two_own_names_never_share_a_public_name(a in "[a-z. ]{0,60}", b in "[a-z. ]{0,60}") {
            prop_assume!(a != b);
            prop_assert_ne!(public_name("p", &a, 42), public_name("p", &b, 42));
        }
    }
}
