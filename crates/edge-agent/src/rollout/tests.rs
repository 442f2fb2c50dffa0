//! Deployments that prove themselves and deployments that don't, on a clock of their own.

use serde_json::{Value, json};

use super::*;
use crate::execute::Pulling;
use crate::observe::{Identities, ObservedModule};
use crate::record::{Failure, Fault};

/// A device whose modules are what a test says.
struct Device {
    rollout: Rollout,
    observation: Observation,
    records: Records,
    standings: BTreeMap<ModuleId, Standing>,
    pulling: Pulling,
    is_connected: bool,
    now: u64,
    /// When the device was looked at, if not now.
    seen_at: Option<u64>,
}

fn id(name: &str) -> ModuleId {
    name.parse().unwrap()
}

fn at(seconds: u64) -> Mono {
    Mono::ZERO + Duration::from_secs(seconds)
}

fn desired(version: u64, modules: &[(&str, &str)]) -> Desired {
    let modules: serde_json::Map<String, Value> = modules
        .iter()
        .map(|(name, image)| {
            let module = json!({
                "type": "docker", "status": "running", "restartPolicy": "always",
                "settings": {"image": image},
            });
            ((*name).to_owned(), module)
        })
        .collect();
    let properties = json!({
        "schemaVersion": "1.1", "runtime": {"type": "docker"}, "systemModules": {},
        "modules": modules,
    });
    Desired { version, properties: properties.as_object().unwrap().clone() }
}

impl Device {
    fn new() -> Self {
        Self {
            rollout: Rollout::default(),
            observation: Observation {
                modules: BTreeMap::new(),
                identities: Identities::Known(BTreeMap::new()),
            },
            records: Records::new(),
            standings: BTreeMap::new(),
            pulling: Pulling::new(),
            is_connected: true,
            now: 0,
            seen_at: None,
        }
    }

    /// A device on which version 1 with these modules has proved itself.
    fn proven(modules: &[(&str, &str)]) -> Self {
        let mut device = Self::new();
        device.wants(1, modules);
        for (name, _) in modules {
            device.is(name, Status::Running);
        }
        assert!(!device.pass(0) && !device.pass(120));
        assert_eq!(device.versions(), (Some(1), Some(1)));
        device
    }

    fn wants(&mut self, version: u64, modules: &[(&str, &str)]) {
        let surroundings = crate::test_surroundings();
        self.rollout.take(&desired(version, modules), &surroundings, at(self.now));
    }

    fn is(&mut self, name: &str, status: Status) {
        let seen = ObservedModule {
            status,
            description: Some(format!("{} for a reason", status.as_str())),
            ..ObservedModule::default()
        };
        self.observation.modules.insert(id(name), seen);
        self.standings.insert(id(name), Standing::Settled);
        let record = Record {
            running_since: (status == Status::Running).then_some(at(self.now)),
            ..Record::default()
        };
        self.records.insert(id(name), record);
    }

    fn fails(&mut self, name: &str, fault: Fault) {
        self.standings.insert(id(name), Standing::Failed);
        let failure = Failure {
            count: 1,
            retry_at: at(self.now + 10),
            message: "cannot do it".into(),
            aim: Aim::Absent,
            fault,
        };
        self.records.entry(id(name)).or_default().failure = Some(failure);
    }

    /// Time passes; says whether another deployment is in force from now on.
    fn pass(&mut self, seconds: u64) -> bool {
        self.now += seconds;
        self.rollout.judge(&Evidence {
            observation: &self.observation,
            seen_at: at(self.seen_at.unwrap_or(self.now)),
            records: &self.records,
            standings: &self.standings,
            pulling: &self.pulling,
            is_connected: self.is_connected,
            now: at(self.now),
            timing: &Timing::default(),
        })
    }

    /// The versions in force and proven.
    fn versions(&self) -> (Option<u64>, Option<u64>) {
        let stages = self.rollout.stages();
        let version = |desired: Option<Desired>| desired.map(|desired| desired.version);
        (version(stages.desired), version(stages.good))
    }

    #[track_caller]
    fn verdict(&self) -> String {
        match self.rollout.verdict().unwrap() {
            Verdict::Deployment(deployment) => deployment.version.to_string(),
            Verdict::Refused { version, code, description } => {
                format!("{version} {code} {description}")
            }
        }
    }
}

#[test]
fn a_deployment_is_good_when_its_modules_have_been_well_for_a_while() {
    let mut device = Device::proven(&[("ab", "x:1")]);
    device.wants(2, &[("ab", "x:2")]);
    assert_eq!(device.versions(), (Some(2), Some(1)));
    device.is("ab", Status::Running);
    assert!(!device.pass(119));
    assert_eq!(device.versions(), (Some(2), Some(1)));
    assert!(!device.pass(1));
    assert_eq!(device.versions(), (Some(2), Some(2)));
    // From then on it is not judged any more: what fails later is no reason to go back.
    device.is("ab", Status::Unhealthy);
    assert!(!device.pass(10_000));
    assert_eq!(device.verdict(), "2");
}

#[test]
fn images_of_the_deployment_in_force_and_of_the_good_one_are_needed() {
    assert_eq!(Device::new().rollout.images(), None);
    let images =
        |device: &Device| -> Vec<String> { device.rollout.images().unwrap().into_iter().collect() };
    let mut device = Device::proven(&[("ab", "x:1"), ("cd", "y:1")]);
    assert_eq!(images(&device), ["x:1", "y:1"]);
    device.wants(2, &[("ab", "x:2")]);
    assert_eq!(images(&device), ["x:1", "x:2", "y:1"]);
    // A third one before the second has proved itself: nothing goes back to the second.
    device.wants(3, &[("ab", "x:3")]);
    assert_eq!(images(&device), ["x:1", "x:3", "y:1"]);
    device.is("ab", Status::Running);
    assert!(!device.pass(0) && !device.pass(120));
    assert_eq!(images(&device), ["x:3"]);
}

#[test]
fn one_that_is_not_well_in_its_time_goes_back_and_says_so() {
    for status in [Status::Unhealthy, Status::Failed, Status::Dead] {
        let mut device = Device::proven(&[("ab", "x:1")]);
        device.wants(2, &[("ab", "x:2")]);
        device.is("ab", status);
        assert!(!device.pass(599));
        assert!(device.pass(1));
        assert_eq!(device.versions(), (Some(1), Some(1)));
        let expected = format!(
            "2 500 deployment 2 was not healthy within 600 s; went back to deployment 1, and stays \
             there until the desired properties change: ab: {} for a reason",
            status.as_str()
        );
        assert_eq!(device.verdict(), expected);
        // The twin read again says the same; the next one is tried.
        device.wants(2, &[("ab", "x:2")]);
        assert_eq!((device.versions().0, device.verdict()), (Some(1), expected));
        device.wants(3, &[("ab", "x:3")]);
        assert_eq!((device.versions(), device.verdict()), ((Some(3), Some(1)), "3".into()));
    }
}

#[test]
fn a_module_that_keeps_falling_over_never_proves_anything() {
    let mut device = Device::proven(&[("ab", "x:1")]);
    device.wants(2, &[("ab", "x:2")]);
    for _ in 0..6 {
        device.is("ab", Status::Running);
        assert!(!device.pass(60));
        device.is("ab", Status::Failed);
        device.standings.insert(id("ab"), Standing::BackOff);
        assert!(!device.pass(39));
    }
    // At the limit it runs, and is given the time to show for how long.
    device.is("ab", Status::Running);
    assert!(!device.pass(60));
    device.is("ab", Status::Failed);
    device.standings.insert(id("ab"), Standing::BackOff);
    assert!(device.pass(1));
    assert_eq!(device.versions(), (Some(1), Some(1)));
}

#[test]
fn what_was_seen_running_before_its_time_was_up_proves_nothing() {
    let mut device = Device::proven(&[("ab", "x:1")]);
    device.wants(2, &[("ab", "x:2")]);
    device.is("ab", Status::Running);
    // Something else happens late, before the next look shows that it has ended.
    device.seen_at = Some(device.now + 119);
    assert!(!device.pass(125));
    assert_eq!(device.versions(), (Some(2), Some(1)));
    device.seen_at = None;
    assert!(!device.pass(0));
    assert_eq!(device.versions(), (Some(2), Some(2)));
}

#[test]
fn only_what_a_deployment_changes_counts() {
    let mut device = Device::proven(&[("ab", "x:1"), ("cd", "y:1")]);
    device.is("cd", Status::Failed);
    device.wants(2, &[("ab", "x:2"), ("cd", "y:1")]);
    device.is("ab", Status::Running);
    assert!(!device.pass(120));
    assert_eq!(device.versions(), (Some(2), Some(2)));
}

#[test]
fn a_slow_pull_and_a_lost_line_are_not_its_fault() {
    let mut device = Device::proven(&[("ab", "x:1")]);
    device.wants(2, &[("ab", "x:2")]);
    device.standings.insert(id("ab"), Standing::Working);
    device.pulling.insert(id("ab"), None);
    assert!(!device.pass(100_000));
    device.pulling.clear();
    device.fails("ab", Fault::Net);
    device.is_connected = false;
    assert!(!device.pass(100_000));
    // With the hub in reach, a registry that refuses is the deployment's business.
    device.is_connected = true;
    assert!(!device.pass(599));
    assert!(device.pass(1));
    // Away, it is no more its fault while one more attempt is under way or waits for its turn.
    for standing in [Standing::Working, Standing::Queued] {
        let mut device = Device::proven(&[("ab", "x:1")]);
        device.wants(2, &[("ab", "x:2")]);
        device.fails("ab", Fault::Net);
        device.standings.insert(id("ab"), standing);
        device.is_connected = false;
        assert!(!device.pass(100_000));
        device.is_connected = true;
        assert!(!device.pass(599));
        assert!(device.pass(1));
    }
    // What fails on this machine is its fault, line or not.
    let mut device = Device::proven(&[("ab", "x:1")]);
    device.wants(2, &[("ab", "x:2")]);
    device.fails("ab", Fault::Device);
    device.is_connected = false;
    assert!(device.pass(600));
}

#[test]
fn a_registry_that_does_not_answer_is_waited_for_and_one_that_refuses_is_not() {
    for standing in [Standing::Failed, Standing::Working, Standing::Queued] {
        let mut device = Device::proven(&[("ab", "x:1")]);
        device.wants(2, &[("ab", "x:2")]);
        device.fails("ab", Fault::Registry);
        device.standings.insert(id("ab"), standing);
        assert!(!device.pass(100_000));
        assert_eq!((device.versions().0, device.verdict()), (Some(2), "2".into()));
        // It is back, and has no such image.
        device.fails("ab", Fault::Net);
        assert!(!device.pass(599));
        assert!(device.pass(1));
    }
}

#[test]
fn without_a_good_one_there_is_nowhere_to_go() {
    let mut device = Device::new();
    device.wants(1, &[("ab", "x:1")]);
    device.is("ab", Status::Failed);
    assert!(!device.pass(100_000));
    assert_eq!((device.versions(), device.verdict()), ((Some(1), None), "1".into()));
}

#[test]
fn all_of_it_survives_the_process() {
    let mut device = Device::proven(&[("ab", "x:1")]);
    let surroundings = crate::test_surroundings();
    device.wants(2, &[("ab", "x:2")]);
    device.is("ab", Status::Failed);
    device.pass(300);
    // On trial, and so it is afterwards, with its whole time.
    device.rollout = Rollout::resume(&device.rollout.stages(), &surroundings, at(device.now));
    assert!(!device.pass(599));
    assert!(device.pass(1));
    let verdict = device.verdict();
    device.rollout = Rollout::resume(&device.rollout.stages(), &surroundings, at(device.now));
    assert_eq!((device.versions(), device.verdict()), ((Some(1), Some(1)), verdict.clone()));
    device.wants(2, &[("ab", "x:2")]);
    assert_eq!((device.versions().0, device.verdict()), (Some(1), verdict));
}

#[test]
fn a_refused_one_leaves_everything_as_it_is() {
    let mut device = Device::proven(&[("ab", "x:1")]);
    let empty = Desired { version: 2, properties: Default::default() };
    device.rollout.take(&empty, &crate::test_surroundings(), at(device.now));
    assert_eq!(device.versions(), (Some(1), Some(1)));
    assert!(device.verdict().starts_with("2 417 "));
}
