//! What a client sees of a list of which it does not see all, so that it is told of
//! those changes only that it would see.

use std::{
    hash::{DefaultHasher, Hasher},
    sync::{Mutex, PoisonError},
};

use crate::catalog::{Family, Primitive};

/// What a client sees of a list: equal if that is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part(u64);

impl Part {
    /// Of the list as it is written for the client.
    pub(super) fn of(list: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(list);
        Self(hasher.finish())
    }
}

/// What one client was last shown of each list, where that was not all of it.
#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<[Option<Part>; Primitive::ALL.len()]>);

impl Parts {
    /// The client is shown this, or told that it is there.
    pub(super) fn show(&self, primitive: Primitive, part: Option<Part>) {
        self.lock()[primitive as usize] = part;
    }

    /// The client begins to listen while there is this: it has missed nothing of the lists
    /// that it has not seen.
    pub(super) fn begin(&self, now: impl Fn(Primitive) -> Option<Part>) {
        for primitive in Primitive::ALL {
            let unseen = self.lock()[primitive as usize].is_none();
            if unseen {
                self.show(primitive, now(primitive));
            }
        }
    }

    /// There is this now, of which the client is told. Whether it is something else than
    /// before: where a client sees all of a list, that cannot be said.
    pub(super) fn change(
        &self,
        family: Family,
        now: impl Fn(Primitive) -> Option<Part>,
    ) -> Option<bool> {
        let mut differs = Some(false);
        for primitive in Primitive::ALL {
            if primitive.family() != family {
                continue;
            }
            let part = now(primitive);
            let before = std::mem::replace(&mut self.lock()[primitive as usize], part);
            differs = match (before, part) {
                (None, None) => None,
                (before, part) => differs.map(|differs| differs || before != part),
            };
        }
        differs
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Option<Part>; Primitive::ALL.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_of_what_the_client_sees() {
        let parts = Parts::default();
        let resources = |text: &'static str| {
            move |primitive| match primitive {
                Primitive::Template => Some(Part::of(text.as_bytes())),
                _ => Some(Part::of(b"")),
            }
        };
        parts.begin(resources("a"));
        let change = |text| parts.change(Family::Resources, resources(text));
        assert_eq!(change("a"), Some(false));
        assert_eq!(change("b"), Some(true));
        assert_eq!(change("b"), Some(false));
        assert_eq!(parts.change(Family::Tools, resources("b")), Some(false));
        // What all see has no parts; who saw a part sees something else now.
        assert_eq!(parts.change(Family::Tools, |_| None), Some(true));
        assert_eq!(parts.change(Family::Tools, |_| None), None);
        assert_eq!(parts.change(Family::Tools, resources("b")), Some(true));
    }
}
