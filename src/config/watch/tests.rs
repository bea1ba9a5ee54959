use std::os::unix::fs::symlink;

use notify::event::{CreateKind, DataChange, ModifyKind};
use tempfile::TempDir;

use super::*;

/// Fails instead of waiting for ever.
async fn changes(watch: &mut FileWatch) {
    let waited = tokio::time::timeout(Duration::from_secs(20), watch.changed()).await;
    waited.expect("a change is seen");
}

/// A folder with the file in it.
fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("c.json");
    fs::write(&path, "1").expect("a file");
    (folder, path)
}

fn rename_over(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(&new, path).expect("a rename");
}

#[tokio::test]
async fn a_file_is_seen_when_it_is_rewritten_again_and_again() {
    let (_folder, path) = folder();
    let mut watch = FileWatch::new(&path).expect("a watch");
    for text in ["2", "3", "4"] {
        fs::write(&path, text).expect("a file");
        changes(&mut watch).await;
    }
}

#[tokio::test]
async fn a_file_is_seen_when_another_is_renamed_over_it() {
    let (_folder, path) = folder();
    let mut watch = FileWatch::new(&path).expect("a watch");
    for text in ["2", "3"] {
        rename_over(&path, text);
        changes(&mut watch).await;
    }
    fs::write(&path, "in place, after a rename").expect("a file");
    changes(&mut watch).await;
}

#[tokio::test]
async fn a_folder_is_seen_when_a_file_in_it_changes_comes_or_goes() {
    let (folder, path) = folder();
    let mut watch = FileWatch::new(folder.path()).expect("a watch");
    fs::write(&path, "2").expect("a file");
    changes(&mut watch).await;
    fs::write(folder.path().join("other"), "1").expect("a file");
    changes(&mut watch).await;
    fs::remove_file(&path).expect("it was there");
    changes(&mut watch).await;
}

#[tokio::test]
async fn a_file_may_come_later_and_go_and_come_back() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("not/yet/c.json");
    let mut watch = FileWatch::new(&path).expect("a watch");

    fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    changes(&mut watch).await;
    fs::write(&path, "1").expect("a file");
    changes(&mut watch).await;
    fs::remove_file(&path).expect("it was there");
    changes(&mut watch).await;
    fs::write(&path, "2").expect("a file");
    changes(&mut watch).await;

    fs::remove_dir_all(path.parent().expect("a parent")).expect("it was there");
    changes(&mut watch).await;
    fs::create_dir(path.parent().expect("a parent")).expect("a folder");
    fs::write(&path, "3").expect("a file");
    changes(&mut watch).await;
}

/// As Kubernetes does it: the file is a link through `..data`, which is a link to a
/// folder that is exchanged whole.
#[tokio::test]
async fn a_swapped_link_to_its_folder_is_seen_each_time() {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let version = |name: &str| {
        fs::create_dir(at(name)).expect("a folder");
        fs::write(at(name).join("c.json"), name).expect("a file");
    };
    version("..1");
    symlink("..1", at("..data")).expect("a link");
    symlink("..data/c.json", at("c.json")).expect("a link");
    let mut watch = FileWatch::new(at("c.json")).expect("a watch");
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        version(new);
        symlink(new, at("..tmp")).expect("a link");
        fs::rename(at("..tmp"), at("..data")).expect("a swap");
        changes(&mut watch).await;
        assert_eq!(fs::read_to_string(at("c.json")).expect("a file"), new);
        // Nobody waits for a watcher before the old one goes.
        fs::remove_dir_all(at(old)).expect("it was there");
    }
    fs::write(at("..3/c.json"), "in place, after the swaps").expect("a file");
    changes(&mut watch).await;
}

#[tokio::test]
async fn a_link_into_another_folder_is_followed() {
    let (elsewhere, target) = folder();
    let here = TempDir::new().expect("a folder");
    let link = here.path().join("link.json");
    symlink(&target, &link).expect("a link");
    let mut watch = FileWatch::new(&link).expect("a watch");
    fs::write(&target, "2").expect("a file");
    changes(&mut watch).await;
    drop(elsewhere);
    changes(&mut watch).await;
}

#[tokio::test]
async fn a_burst_is_told_of_once() {
    let (_folder, path) = folder();
    let mut watch = FileWatch::new(&path).expect("a watch");
    for text in 0..100 {
        fs::write(&path, text.to_string()).expect("a file");
    }
    changes(&mut watch).await;
    let armed = watch.armed.as_ref().expect("armed again");
    let again = tokio::time::timeout(2 * QUIET, armed.touched.notified()).await;
    assert!(again.is_err(), "told of twice");
}

#[tokio::test]
async fn a_change_is_not_lost_with_a_wait_that_was_given_up() {
    let (_folder, path) = folder();
    let mut watch = FileWatch::new(&path).expect("a watch");
    fs::write(&path, "2").expect("a file");
    // Given up as soon as it has heard, before it is quiet.
    while !watch.stirred {
        let _ = tokio::time::timeout(Duration::from_millis(1), watch.changed()).await;
    }
    changes(&mut watch).await;
}

#[test]
fn neighbours_and_readers_are_no_change() {
    let way = Way {
        steps: [PathBuf::from("/a/c.json")].into(),
        folders: [PathBuf::from("/a")].into(),
        file: None,
    };
    let touched = |kind, path: &str| way.is_touched_by(&Event::new(kind).add_path(path.into()));
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let created = EventKind::Create(CreateKind::File);
    let changed = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    for kind in [written, created, changed] {
        assert!(touched(kind, "/a/c.json"), "{kind:?}");
        assert!(!touched(kind, "/a/c.json.swp"), "{kind:?}");
    }
    for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Read] {
        assert!(!touched(EventKind::Access(kind), "/a/c.json"), "{kind:?}");
    }
}

#[test]
fn a_loop_of_links_ends() {
    let folder = TempDir::new().expect("a folder");
    symlink("b", folder.path().join("a")).expect("a link");
    symlink("a", folder.path().join("b")).expect("a link");
    let way = Way::to(&folder.path().join("a/c.json")).expect("a way");
    assert_eq!(way.steps.len(), 2 + 1);
}
