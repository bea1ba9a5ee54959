//! The catalogs of lazy children on disk, so that a restart need not start them to
//! know what they offer.
//!
//! One file per child, `<hash of its name>.json`, mode 0600: what it last offered,
//! byte for byte, the era it spoke, and a fingerprint of the settings under which that
//! was so. A file that does not fit is ignored, never trusted; a cache that cannot be
//! used costs a start of the child, nothing else.

use std::{
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::{
    catalog::Listing,
    config::{ChildSettings, TransportSettings},
    protocol::Era,
};

/// Moves whenever a file of before can no longer be read.
const VERSION: u32 = 1;
/// A larger file is none of ours, in bytes.
const LARGEST: u64 = 256 << 20;

/// A folder of catalogs; clones are the same one.
#[derive(Clone, Debug)]
pub struct CatalogCache(Arc<Path>);

/// What was kept of one child.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The era it spoke.
    pub(super) era: Era,
    /// What it offered, unfiltered.
    pub(super) listing: Listing,
}

/// What belongs to one child: where, and under which settings.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: PathBuf,
    fingerprint: String,
}

/// A file, as it stands.
#[derive(Deserialize, Serialize)]
struct Written<'a> {
    version: u32,
    fingerprint: &'a str,
    era: Era,
    #[serde(borrow)]
    offers: &'a RawValue,
}

impl CatalogCache {
    /// The catalogs in this folder, which is made where it is missing.
    ///
    /// # Errors
    ///
    /// When there is no such folder and none can be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        Ok(Self(folder.into()))
    }

    /// The place of a child.
    pub(super) fn place(&self, settings: &ChildSettings) -> Place {
        let name = hash([settings.name.as_str()]);
        Place {
            path: self.0.join(format!("{}.json", &name[..32])),
            fingerprint: fingerprint(&settings.transport),
        }
    }
}

impl Place {
    /// What is kept here; `None` if nothing is, or nothing that fits. Says in the log
    /// what is wrong with a file that is there.
    pub(super) fn read(&self) -> Option<Kept> {
        let why = match self.try_read() {
            Ok(kept) => return Some(kept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => error,
        };
        warn!(file = %self.path.display(), %why, "a kept catalog is ignored");
        None
    }

    fn try_read(&self) -> io::Result<Kept> {
        let size = fs::metadata(&self.path)?.len();
        if size > LARGEST {
            return Err(io::Error::other("it is too large"));
        }
        let text = fs::read_to_string(&self.path)?;
        // Another version may differ in everything else.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(&text)?;
        if version != VERSION {
            return Err(io::Error::other(format!("it is of version {version}")));
        }
        let written: Written<'_> = serde_json::from_str(&text)?;
        if written.fingerprint != self.fingerprint {
            return Err(io::Error::other("the child's settings have changed"));
        }
        Ok(Kept {
            era: written.era,
            listing: Listing::read(written.offers.get())
                .ok_or_else(|| io::Error::other("it holds no lists"))?,
        })
    }

    /// Keeps this; a reader sees the old or the new, never a part. Says in the log
    /// that it could not.
    pub(super) fn write(&self, kept: &Kept) {
        if let Err(why) = self.try_write(kept) {
            warn!(file = %self.path.display(), %why, "a catalog cannot be kept");
        }
    }

    fn try_write(&self, Kept { era, listing }: &Kept) -> io::Result<()> {
        let offers = RawValue::from_string(listing.to_json())?;
        let text = serde_json::to_string(&Written {
            version: VERSION,
            fingerprint: &self.fingerprint,
            era: *era,
            offers: &offers,
        })?;
        // Two processes may share the folder.
        let own = format!("{}.tmp", uuid::Uuid::new_v4().simple());
        let temporary = self.path.with_extension(own);
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            // What is left of it helps nobody.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// A hash of what decides which server it is. Credentials are left out where they can
/// be told: a new password is not another server.
fn fingerprint(transport: &TransportSettings) -> String {
    match transport {
        TransportSettings::Stdio(stdio) => {
            let cwd = stdio.cwd.as_deref().unwrap_or(Path::new(""));
            let cwd = cwd.to_string_lossy();
            let args = stdio.args.iter().map(String::as_str);
            hash(["stdio", &stdio.command, &cwd].into_iter().chain(args))
        }
        TransportSettings::Http(remote) | TransportSettings::Sse(remote) => {
            let mut url = remote.url.clone();
            url.set_fragment(None);
            // Only URLs that have no host refuse this.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            hash(["http", url.as_str()])
        }
        TransportSettings::Unusable => hash(["none"]),
    }
}

/// SHA-256 in hex, of parts that cannot run into each other.
fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;
    use crate::config::Settings;

    const OFFERS: &str = r#"{"completes":true,"subscribes":true,"instructions":"\"Wake\" me.",
        "tools":[{"x" : 1.10,"name":"a"},
        {"name":"b","n":1e400, "big":12345678901234567890123}],"prompts":[],
        "resources":[{"uri" : "a:b","name":"n"}],"resourceTemplates":[]}"#;

    fn settings(entry: &str) -> ChildSettings {
        let text = format!(r#"{{"mcpServers": {{"child": {entry}}}}}"#);
        let none = std::collections::HashMap::new();
        Settings::from_json(Path::new("c.json"), &text, &none)
            .unwrap()
            .children
            .remove(0)
    }

    fn place(folder: &TempDir, entry: &str) -> Place {
        let cache = CatalogCache::open(&folder.path().join("cache")).unwrap();
        cache.place(&settings(entry))
    }

    fn kept() -> Kept {
        Kept {
            era: Era::Modern,
            listing: Listing::read(OFFERS).unwrap(),
        }
    }

    #[test]
    fn what_is_kept_comes_back_byte_for_byte_and_is_nobody_elses_to_read() {
        let folder = TempDir::new().unwrap();
        let place = place(&folder, r#"{"command": "x"}"#);
        assert_eq!(place.read(), None);
        place.write(&kept());
        assert_eq!(place.read(), Some(kept()));
        let mode = fs::metadata(&place.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = fs::read_dir(folder.path().join("cache")).unwrap().count();
        assert_eq!(files, 1, "nothing temporary is left");
    }

    #[test]
    fn other_settings_have_no_kept_catalog_and_another_password_has() {
        let folder = TempDir::new().unwrap();
        let entry = |url: &str| format!(r#"{{"url": "{url}"}}"#);
        place(&folder, &entry("http://me:one@h/mcp")).write(&kept());
        let again = place(&folder, &entry("http://me:two@h/mcp"));
        assert_eq!(again.read(), Some(kept()));
        assert_eq!(place(&folder, &entry("http://h/other")).read(), None);
        for entry in [r#"{"command": "x"}"#, r#"{"command": "x", "args": [""]}"#] {
            assert_eq!(place(&folder, entry).read(), None);
            place(&folder, entry).write(&kept());
        }
    }

    #[test]
    fn a_file_that_is_cut_foreign_or_of_another_version_is_ignored() {
        let folder = TempDir::new().unwrap();
        let place = place(&folder, r#"{"command": "x"}"#);
        place.write(&kept());
        let text = fs::read_to_string(&place.path).unwrap();
        let newer = text.replace(r#"{"version":1,"#, r#"{"version":2,"#);
        assert_ne!(newer, text);
        for broken in ["", "[]", "\u{0}", &text[..text.len() / 2], &newer] {
            fs::write(&place.path, broken).unwrap();
            assert_eq!(place.read(), None, "{broken}");
        }
        fs::write(&place.path, b"\xff").unwrap();
        assert_eq!(place.read(), None);
    }

    #[test]
    fn no_secret_stands_in_the_file_or_its_name() {
        let folder = TempDir::new().unwrap();
        let entries = [
            r#"{"url": "http://hunter2:hunter2@h/mcp?key=hunter2", "headers": {"X": "hunter2"}}"#,
            r#"{"command": "x", "args": ["hunter2"], "env": {"A": "hunter2"}}"#,
        ];
        for entry in entries {
            let place = place(&folder, entry);
            place.write(&kept());
            let text = fs::read_to_string(&place.path).unwrap();
            assert!(!text.contains("hunter2"), "{text}");
            assert!(!place.path.to_string_lossy().contains("hunter2"));
        }
    }
}
