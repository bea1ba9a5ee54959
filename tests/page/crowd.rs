//! Fleets of children with names and tools as they are out there.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::{Child, Fleet};

/// The children of `tests/data/fleet57.json`, in order.
static CROWD: LazyLock<Vec<Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/fleet57.json")).expect("a fleet"));

/// The names of the first ones.
pub fn names(count: usize) -> Vec<&'static str> {
    let crowd = CROWD.iter().take(count);
    crowd
        .map(|child| child["name"].as_str().expect("a name"))
        .collect()
}

/// The name of one of the tools that the child of this name has.
pub fn tool(name: &str, number: usize) -> &'static str {
    let tools = tools(name);
    tools[number % tools.len()]["name"]
        .as_str()
        .expect("a name")
}

fn tools(name: &str) -> &'static [Value] {
    let known = CROWD.iter().find(|child| child["name"] == name);
    let known = known.unwrap_or_else(|| panic!("nobody is called {name}"));
    known["tools"].as_array().expect("tools")
}

/// A child with the tools of the one of this name.
pub fn like(name: &str) -> Child {
    // Some speak the one protocol, some the other.
    let child = match name.len() % 2 {
        0 => Child::modern(),
        _ => Child::legacy(),
    };
    tools(name).iter().fold(child.bare(), |child, tool| {
        let own = tool["name"].as_str().expect("a name");
        child.listing(own, &tool.to_string())
    })
}

/// A fleet of the first ones.
pub fn fleet(count: usize) -> Fleet {
    let names = names(count).into_iter();
    names.fold(Fleet::new(), |fleet, name| fleet.stdio(name, like(name)))
}

/// An entry that is of no use, for this reason of its own.
pub fn missing(program: &str) -> Value {
    json!({"command": program})
}
