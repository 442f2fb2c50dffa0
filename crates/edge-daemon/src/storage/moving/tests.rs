//! A move that is ended at each of its moments, and finished or given up by the next.

use std::cell::Cell;

use tempfile::TempDir;

use super::*;

struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        for (name, text) in CONTENT {
            let path = scene.place("old").dir.join(name);
            fs::create_dir(path.parent().unwrap()).unwrap();
            fs::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        }
        scene
    }

    fn place(&self, name: &str) -> Place {
        Place { dir: self.dir.path().join(name).join("edgeHub"), is_named: false }
    }

    fn named(&self, name: &str) -> Place {
        Place { is_named: true, ..self.place(name) }
    }

    fn settle(&self, wanted: &Place) -> Result<Settled, MoveError> {
        self.settle_until(wanted, &|_| Ok(()))
    }

    fn settle_until(
        &self,
        wanted: &Place,
        reach: &dyn Fn(Point) -> Result<(), MoveError>,
    ) -> Result<Settled, MoveError> {
        let (record, usual) = (self.dir.path().join("record.json"), self.place("old"));
        let mover = Mover { record: &record, usual: &usual, marks: &["state.db", "queues"], reach };
        mover.settle(wanted)
    }

    fn record(&self) -> Record {
        let text = fs::read_to_string(&self.dir.path().join("record.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The store is here, whole, and nowhere else.
    #[track_caller]
    fn check(&self, here: &Place, elsewhere: &[&Place]) {
        for (name, text) in CONTENT {
            assert_eq!(fs::read_to_string(&here.dir.join(name)).unwrap(), text);
        }
        assert!(!fs::exists(&here.dir.join(MARKER)).unwrap());
        assert_eq!(self.record().at.as_ref(), Some(here));
        assert_eq!((self.record().moving, self.record().left), (None, None));
        for place in elsewhere {
            let rest = fs::list(&place.dir).unwrap_or_default();
            let rest: Vec<_> = rest.into_iter().filter(|path| !path.ends_with(LOCK)).collect();
            assert_eq!(rest, Vec::<PathBuf>::new());
        }
    }
}

const CONTENT: [(&str, &str); 3] =
    [("state.db", "rows"), ("queues/0.log", "messages"), ("queues/1.log", "more")];

/// Ends at the `count`th time that a point is reached.
fn end_at(point: Point, count: u32) -> impl Fn(Point) -> Result<(), MoveError> {
    let left = Cell::new(count);
    move |reached| {
        if reached == point {
            left.set(left.get() - 1);
            if left.get() == 0 {
                return Err(MoveError::Ended(reached));
            }
        }
        Ok(())
    }
}

#[test]
fn a_store_moves_by_name_and_by_copy_and_leaves_nothing_behind() {
    let scene = Scene::new();
    let (old, new, named) = (scene.place("old"), scene.place("new"), scene.named("named"));
    assert_eq!(scene.settle(&old).unwrap(), Settled::There);
    assert_eq!(scene.settle(&new).unwrap(), Settled::Moved(old.dir.clone()));
    scene.check(&new, &[&old]);
    assert!(!fs::exists(&old.dir).unwrap());
    // A directory that the manifest names is neither replaced nor removed.
    assert_eq!(scene.settle(&named).unwrap(), Settled::Moved(new.dir.clone()));
    scene.check(&named, &[&old, &new]);
    assert_eq!(scene.settle(&old).unwrap(), Settled::Moved(named.dir.clone()));
    scene.check(&old, &[&new, &named]);
    assert!(fs::exists(&named.dir).unwrap());
}

#[test]
fn killed_at_each_moment_it_is_finished_or_given_up_whole() {
    let copying = [
        (Point::Intended, 1, false),
        (Point::Marked, 1, false),
        (Point::Copying, 1, false),
        (Point::Copying, 2, false),
        (Point::Copied, 1, false),
        (Point::Committed, 1, true),
        (Point::Unmarked, 1, true),
        (Point::Clearing, 1, true),
        (Point::Clearing, 2, true),
        (Point::Cleared, 1, true),
    ];
    let renaming = [(Point::Intended, 1, false), (Point::Renamed, 1, true)];
    for (is_named, moments) in [(true, &copying[..]), (false, &renaming[..])] {
        for (point, count, is_moved) in moments.iter().copied() {
            for goes_on in [true, false] {
                let scene = Scene::new();
                let old = scene.place("old");
                let new = Place { is_named, ..scene.place("new") };
                scene.settle(&old).unwrap();
                let ended = scene.settle_until(&new, &end_at(point, count)).unwrap_err();
                assert!(matches!(ended, MoveError::Ended(_)), "{ended}");
                // A copy that is not whole can be seen from itself.
                if !is_moved && fs::exists(&new.dir.join("state.db")).unwrap() {
                    assert!(fs::exists(&new.dir.join(MARKER)).unwrap());
                }
                // The next daemon goes on, or has a deployment that wants the old place again.
                let wanted = if goes_on { &new } else { &old };
                scene.settle(wanted).unwrap();
                scene.check(wanted, &[if goes_on { &old } else { &new }]);
            }
        }
    }
}

#[test]
fn who_runs_on_it_keeps_it() {
    let scene = Scene::new();
    let (old, new) = (scene.place("old"), scene.place("new"));
    scene.settle(&old).unwrap();
    let lock = fs::lock_exclusive(&old.dir.join(LOCK)).unwrap();
    match scene.settle(&new).unwrap_err() {
        MoveError::File(error) => assert!(error.is_locked()),
        error => panic!("{error}"),
    }
    drop(lock);
    scene.check(&old, &[&new]);
}

#[test]
fn a_store_in_the_new_place_counts_and_the_old_one_is_left() {
    let scene = Scene::new();
    let (old, new) = (scene.place("old"), scene.place("new"));
    fs::create_dir(&new.dir.join("queues")).unwrap();
    assert_eq!(scene.settle(&new).unwrap(), Settled::Found(old.dir.clone()));
    assert!(fs::exists(&old.dir.join("state.db")).unwrap());
    assert_eq!(scene.record().at, Some(new));
}

#[test]
fn a_place_that_is_gone_is_told_and_one_inside_the_other_is_possible() {
    let scene = Scene::new();
    let old = scene.place("old");
    let inside = Place { dir: old.dir.join("edgeHub"), is_named: false };
    scene.settle(&old).unwrap();
    assert_eq!(scene.settle(&inside).unwrap(), Settled::Moved(old.dir.clone()));
    scene.check(&inside, &[]);
    assert_eq!(scene.settle(&old).unwrap(), Settled::Moved(inside.dir.clone()));
    scene.check(&old, &[&inside]);
    fs::remove_dir_all(&old.dir).unwrap();
    let new = scene.place("new");
    assert_eq!(scene.settle(&new).unwrap(), Settled::Lost(old.dir));
}

#[test]
fn what_cannot_be_copied_leaves_the_old_store_in_force() {
    let scene = Scene::new();
    let (old, new) = (scene.place("old"), scene.named("new"));
    fs::symlink(Path::new("/etc/passwd"), &old.dir.join("zlink")).unwrap();
    scene.settle(&old).unwrap();
    assert!(matches!(scene.settle(&new).unwrap_err(), MoveError::File(_)));
    scene.check(&old, &[&new]);
}
