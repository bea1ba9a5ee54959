//! The pages of the book, as files.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// All pages in this folder and below it.
pub fn below(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            pages.extend(below(path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages
}
