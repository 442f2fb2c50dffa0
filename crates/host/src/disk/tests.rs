//! The real disk, and that the faulty one fails as planned and no more.

use super::*;

fn file(disk: &Disk, dir: &Path, size: u64) -> DiskFile {
    let file = disk.create(&dir.join("file")).expect("created");
    file.allocate(size).expect("allocated");
    file.write_zeros(0, size).expect("zeroed");
    file.sync_data().expect("synced");
    disk.sync_dir(dir).expect("synced");
    file
}

fn read(file: &DiskFile, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, at).expect("read");
    bytes
}

#[test]
fn a_file_keeps_what_is_written_where_it_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Disk::real();
    let file = file(&disk, dir.path(), 8192);
    assert_eq!(file.size().expect("known"), 8192);
    file.write_at(b"hello", 5000).expect("written");
    file.sync_data().expect("synced");
    let again = disk.open(file.path()).expect("opened");
    assert_eq!(read(&again, 4999, 7), b"\0hello\0");
    let past = again.read_at(&mut [0; 2], 8191).expect_err("past the end");
    assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(disk.list(dir.path()).expect("listed"), ["file"]);
    disk.rename(file.path(), &dir.path().join("other")).expect("renamed");
    disk.remove(&dir.path().join("other")).expect("removed");
    assert!(disk.list(dir.path()).expect("listed").is_empty());
    assert!(disk.open(&dir.path().join("other")).is_err());
}

#[test]
fn a_directory_is_locked_until_its_owner_lets_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let inner = dir.path().join("a/b");
    let disk = Disk::real();
    disk.create_dir(&inner).expect("created with its parents");
    disk.create_dir(&inner).expect("there already");
    let lock = disk.lock(&inner).expect("no error").expect("free");
    assert!(disk.lock(&inner).expect("no error").is_none());
    drop(lock);
    assert!(disk.lock(&inner).expect("no error").is_some());
}

#[test]
fn faults_come_at_the_planned_call_and_leave_what_they_say() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Arc::new(Faults::new());
    let file = file(&Disk::faulty(faults.clone()), dir.path(), 4096);
    faults.fail_syncs(2, 1, FaultError::Io);
    file.sync_data().expect("the first");
    assert!(file.sync_data().is_err());
    file.sync_data().expect("the third");
    faults.fail_writes(1, 1, 500, FaultError::NoSpace);
    let error = file.write_at(&[1; 100], 0).expect_err("short");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(read(&file, 48, 4), [1, 1, 0, 0]);
}

#[test]
fn space_is_what_is_given_and_comes_back_with_a_removal() {
    let dir = tempfile::tempdir().expect("a directory");
    let faults = Arc::new(Faults::new());
    faults.limit_space(Some(10_000));
    let disk = Disk::faulty(faults);
    let first = file(&disk, dir.path(), 8192);
    let second = disk.create(&dir.path().join("second")).expect("created");
    let error = second.allocate(4096).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.remove(first.path()).expect("removed");
    second.allocate(4096).expect("there is room");
}

#[test]
fn a_power_cut_takes_only_what_was_not_synced() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..40 {
        let dir = tempfile::tempdir().expect("a directory");
        let faults = Arc::new(Faults::new());
        let disk = Disk::faulty(faults.clone());
        let file = file(&disk, dir.path(), 8192);
        file.write_at(&[1; 4096], 0).expect("written");
        file.sync_data().expect("synced");
        file.write_at(&[2; 2048], 2048).expect("written");
        disk.create(&dir.path().join("new")).expect("created");
        faults.power_cut(seed).expect("cut");
        assert!(file.write_at(&[3; 1], 0).is_err() && disk.list(dir.path()).is_err());
        let after = Disk::real().open(file.path()).expect("opened");
        assert_eq!(read(&after, 0, 2048), [1; 2048], "seed {seed}");
        for sector in read(&after, 2048, 2048).chunks(512) {
            match sector[0] {
                1 => lost += 1,
                2 => kept += 1,
                other => panic!("{other} was never written"),
            }
            assert!(sector.iter().all(|byte| *byte == sector[0]), "sectors are whole");
        }
    }
    assert!(kept > 20 && lost > 20, "{kept} kept, {lost} lost");
}
