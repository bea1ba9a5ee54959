//! What clients are told of how to use all this: who is here, and what each child says.

use super::Offer;

/// The whole text, in bytes. It stands in the context of a model, all the time.
const MOST: usize = 16 << 10;
/// Of that, for the names.
const MOST_NAMES: usize = 4 << 10;
/// Less than this of a child's text helps nobody.
const LEAST: usize = 256;

/// A short text that names the children and how their tools are called, then each child's
/// own instructions under a heading. `None` without children.
pub fn merged(offers: &[Offer<'_>]) -> Option<String> {
    let offers: Vec<&Offer<'_>> = offers.iter().filter(|offer| offer.enabled).collect();
    if offers.is_empty() {
        return None;
    }
    let mut text = names(&offers);
    let says = |offer: &&Offer<'_>| {
        let text = offer.listing?.profile.instructions.as_deref()?.trim();
        (!text.is_empty()).then(|| (offer.child.to_string(), text.to_owned()))
    };
    let all: Vec<(String, String)> = offers.iter().filter_map(says).collect();
    for (at, (child, said)) in all.iter().enumerate() {
        let left = MOST.saturating_sub(text.len());
        let rest = all.len() - at;
        // What the others do not need is there for the next.
        let share = left / rest;
        let heading = format!("\n## {child}\n\n");
        let room = share.saturating_sub(heading.len());
        if room < LEAST && room < said.len() {
            let more = format!("\n(What {rest} more say is left out.)\n");
            text.push_str(&more);
            break;
        }
        text.push_str(&heading);
        text.push_str(&cut(said, room));
    }
    Some(text)
}

fn names(offers: &[&Offer<'_>]) -> String {
    let mut text = format!(
        "These tools, prompts and resources come from {} MCP server{}. The names of tools and \
         prompts begin with the server's prefix:\n",
        offers.len(),
        if offers.len() == 1 { "" } else { "s" },
    );
    for (at, offer) in offers.iter().enumerate() {
        let line = match offer.prefix {
            "" => format!("- {}: no prefix\n", offer.child),
            prefix => format!("- {}: {prefix}__\n", offer.child),
        };
        if text.len() + line.len() > MOST_NAMES {
            text.push_str(&format!("- and {} more\n", offers.len() - at));
            break;
        }
        text.push_str(&line);
    }
    text
}

/// As much of a text as there is room for, and how much is left out.
fn cut(text: &str, room: usize) -> String {
    if text.len() < room {
        return format!("{text}\n");
    }
    // As long as it can become.
    let note = |left_out: usize| format!("…\n(Cut: {left_out} bytes are left out.)\n");
    let most = room.saturating_sub(note(text.len()).len());
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    let end = end.unwrap_or(0);
    format!("{}{}", &text[..end], note(text.len() - end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::Listing, protocol::ChildName};

    fn of(children: &[(&str, &str, Option<&str>)]) -> Option<String> {
        let listings: Vec<Listing> = children
            .iter()
            .map(|(_, _, said)| {
                let mut listing = Listing::default();
                listing.profile.instructions = said.map(str::to_owned);
                listing
            })
            .collect();
        let names: Vec<ChildName> = children.iter().map(|(name, ..)| (*name).into()).collect();
        let offers: Vec<Offer<'_>> = children
            .iter()
            .zip(names.iter().zip(&listings))
            .map(|((_, prefix, _), (child, listing))| Offer {
                child,
                prefix,
                enabled: *child != "disabled".into(),
                listing: Some(listing),
            })
            .collect();
        merged(&offers)
    }

    #[test]
    fn children_are_named_with_their_prefixes_and_speak_under_a_heading() {
        let text = of(&[
            ("github-mcp", "github", Some(" Ask for issues first. ")),
            ("plain", "", None),
            ("silent", "silent", Some("  ")),
            ("disabled", "disabled", Some("Not to be seen.")),
        ]);
        assert_eq!(
            text.unwrap(),
            "These tools, prompts and resources come from 3 MCP servers. The names of tools and \
             prompts begin with the server's prefix:\n\
             - github-mcp: github__\n- plain: no prefix\n- silent: silent__\n\
             \n## github-mcp\n\nAsk for issues first.\n"
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_long_text_is_cut_and_a_short_one_beside_it_is_whole() {
        let long = "ü".repeat(MOST);
        let text = of(&[
            ("short", "s", Some("short text")),
            ("long", "l", Some(&long)),
            ("last", "z", Some("last text")),
        ]);
        let text = text.unwrap();
        assert!(text.len() <= MOST, "{}", text.len());
        assert!(text.contains("\nshort text\n") && text.contains("\nlast text\n"));
        let (kept, rest) = text.split_once("…\n(Cut: ").unwrap();
        let kept = kept.matches('ü').count() * 2;
        assert!(
            rest.starts_with(&format!("{} bytes", long.len() - kept)),
            "{rest}"
        );
    }

    #[test]
    fn a_thousand_children_do_not_make_a_longer_text() {
        let names: Vec<String> = (0..1000).map(|n| format!("child-number-{n}")).collect();
        let said = "x".repeat(1000);
        let children: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), name.as_str(), Some(said.as_str())))
            .collect();
        let text = of(&children).unwrap();
        assert!(text.len() <= MOST + 100, "{}", text.len());
        assert!(text.contains("more\n") && text.contains("more say is left out"));
    }
}
