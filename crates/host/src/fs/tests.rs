use super::*;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn an_atomic_write_replaces_sets_the_mode_and_leaves_nothing_beside() {
    let dir = scratch();
    let path = dir.path().join("key.pem");
    write_atomic(&path, b"old", 0o644).unwrap();
    write_atomic(&path, b"new", 0o600).unwrap();
    assert_eq!(read(&path).unwrap(), b"new");
    assert_eq!(facts(&path).unwrap().mode, 0o600);
    assert_eq!(list(dir.path()).unwrap(), [path]);
}

#[test]
fn a_failed_write_names_the_path_and_leaves_nothing_beside() {
    let dir = scratch();
    let path = dir.path().join("target");
    // A non-empty directory cannot be replaced by a file.
    create_dir(&path.join("inside")).unwrap();
    let error = write_atomic(&path, b"x", 0o600).unwrap_err();
    assert!(error.to_string().contains("target"), "{error}");
    assert_eq!(list(dir.path()).unwrap(), [path]);
}

#[test]
fn create_new_does_not_overwrite() {
    let dir = scratch();
    let path = dir.path().join("id");
    assert!(create_new(&path, b"first", 0o600).unwrap());
    assert!(!create_new(&path, b"second", 0o600).unwrap());
    assert_eq!(read_to_string(&path).unwrap(), "first");
    assert_eq!(list(dir.path()).unwrap(), [path]);
}

#[test]
fn a_private_directory_is_its_owners_only_even_if_it_was_open() {
    let dir = scratch();
    let path = dir.path().join("a/b");
    create_dir(&path).unwrap();
    set_mode(&path, 0o755).unwrap();
    create_private_dir(&path).unwrap();
    assert_eq!(facts(&path).unwrap().mode, 0o700);
}

#[test]
fn a_lock_has_one_owner_until_it_is_dropped() {
    let dir = scratch();
    let path = dir.path().join("lock");
    let lock = lock_exclusive(&path).unwrap();
    assert!(lock_exclusive(&path).unwrap_err().is_locked());
    drop(lock);
    lock_exclusive(&path).unwrap();
}

#[test]
fn what_is_missing_is_told_apart_from_what_fails() {
    let dir = scratch();
    let path = dir.path().join("nothing");
    assert_eq!(read_optional(&path).unwrap(), None);
    assert!(!remove(&path).unwrap());
    assert!(!remove_dir_all(&path).unwrap());
    assert!(!exists(&path).unwrap());
    assert!(read(&path).unwrap_err().is_not_found());
    assert!(space(dir.path()).unwrap().total_bytes > 0);
}

#[test]
fn links_are_followed_as_far_as_the_path_exists() {
    let dir = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(dir.path()).unwrap();
    create_dir(&dir.join("real/below")).unwrap();
    symlink(Path::new("real"), &dir.join("link")).unwrap();
    assert_eq!(follow_links(&dir.join("link/below/new/x")), dir.join("real/below/new/x"));
    assert_eq!(follow_links(&dir.join("link/../link")), dir.join("real"));
    assert_eq!(follow_links(Path::new("/no/such/thing")), Path::new("/no/such/thing"));
}
