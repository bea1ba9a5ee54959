//! Children that are processes: their start and end, and the pipe to them.

mod pipe;
mod process;
pub mod watchdog;

pub(super) use pipe::Pipe;
pub use pipe::PipeExchange;
pub(super) use process::Process;
