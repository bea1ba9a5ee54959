//! What is known to be lost through the multiplexer.

/// Scenario, checks, and why.
pub const KNOWN: &[(&str, &[&str], &str)] = &[];
