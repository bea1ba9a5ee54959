//! Children that are processes: their start and end, and the pipe to them.

mod mailbox;
mod paced;
mod pipe;
mod process;
mod stderr;
pub mod watchdog;

pub use pipe::PipeExchange;
pub(super) use pipe::{Pipe, Reader};
pub(super) use process::Process;
