//! The file in which a test reads what this child has seen.
//!
//! One line an event, each written with a single append, so that a reader never
//! sees half of one and several children may share a file.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::Arc,
};

use serde_json::{Value, json};

/// Where events go; nowhere when no file was named.
#[derive(Clone)]
pub struct Journal(Option<Arc<File>>);

impl Journal {
    /// Opens `path` for appending. A journal that cannot be opened ends the child:
    /// a test would wait for its events in vain.
    pub fn open(path: Option<&Path>) -> Self {
        Self(path.map(|path| {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap_or_else(|error| panic!("journal {}: {error}", path.display()));
            Arc::new(file)
        }))
    }

    /// This process runs.
    pub fn started(&self) {
        self.note("started", json!({"pid": std::process::id()}));
    }

    /// Notes one event with its facts.
    pub fn note(&self, event: &str, mut facts: Value) {
        let Some(mut file) = self.0.as_deref() else {
            return;
        };
        facts["event"] = event.into();
        let line = format!("{facts}\n");
        if let Err(error) = file.write_all(line.as_bytes()) {
            eprintln!("test-child: journal: {error}");
        }
    }
}
