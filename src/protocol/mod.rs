//! Frames and the few edits made to them; the words everybody else speaks.
pub mod names;
