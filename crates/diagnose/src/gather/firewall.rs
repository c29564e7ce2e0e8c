//! This host's own packet filter.

/// What is known of the packet filter.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirewallFacts {}

/// What the rules amount to for the flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ruled {
    pub(crate) lines: Vec<String>,
    /// The rule that eats the packets, in words.
    pub(crate) culprit: Option<String>,
}

impl FirewallFacts {
    pub(crate) fn judge(&self) -> Ruled {
        Ruled::default()
    }
}

pub(crate) fn before(_may: bool) -> FirewallFacts {
    FirewallFacts {}
}

pub(crate) fn after(facts: FirewallFacts) -> FirewallFacts {
    facts
}
