//! The service identity at a real Keycloak, which `tests/run` installs, with the realm
//! of `deploy/keycloak`, and FastMCP servers that check its tokens.

#[path = "../peers/mod.rs"]
mod peers;
#[path = "../support/mod.rs"]
mod support;

/// Everything that needs Keycloak: `tests/run` leaves out what is below this name
/// where Keycloak cannot be had.
#[path = "."]
mod keycloak {
    mod house;
    mod people;
    mod realm;
    mod server;

    mod calls;
    mod door;
    mod exchange;
    mod other_tokens;
    mod outage;
    mod policy;
    mod refreshes;
    mod refusals;
    mod setup;
    mod token;
    mod walks;
}
