//! Frames and the few edits made to them; the words everybody else speaks.
//!
//! Owns: how a message is read, spliced and answered, versions and eras, the
//! types of the names. Must never know who sends a message or where it goes.

pub mod abilities;
pub mod answer;
pub mod asked;
pub mod bearer;
pub mod caller;
pub mod ends;
pub mod error;
pub mod frame;
pub mod headers;
pub mod json;
pub mod lines;
pub mod methods;
pub mod names;
pub mod request;
pub mod session;
pub mod signed;
pub mod splice;
pub mod subject;
pub mod task;
pub mod trace;
pub mod version;
pub mod view;

pub use abilities::Abilities;
pub use asked::{Asked, is_of_another_process};
pub use bearer::{Bearer, Fingerprint};
pub use caller::{Caller, LogLevel};
pub use frame::{Frame, Kind, LEADING, leading_id};
pub use methods::is_specified;
pub use names::{ChildName, OwnName, PublicName};
pub use rmcp::model;
pub use session::SessionKey;
pub use signed::Signer;
pub use subject::{Subject, SubjectKey, User};
pub use trace::TraceContext;
pub use version::Era;
pub use view::View;
