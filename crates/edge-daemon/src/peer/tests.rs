mod reuse;

use super::*;

#[test]
fn each_user_has_room_of_its_own_within_the_whole() {
    let throttle = Throttle::new("test", 2);
    let first = throttle.admit(1).unwrap();
    let _second = throttle.admit(1).unwrap();
    assert!(throttle.admit(1).is_none());
    let others: Vec<Permit> =
        (2..5).flat_map(|uid| [throttle.admit(uid), throttle.admit(uid)]).flatten().collect();
    assert_eq!(others.len(), 6);
    assert!(throttle.admit(9).is_none(), "the whole is full");
    drop(first);
    assert!(throttle.admit(9).is_some());
    assert!(throttle.admit(1).is_some());
    drop(others);
    assert_eq!(throttle.open.lock().users.len(), 1, "users that are gone are forgotten");
}

#[tokio::test]
async fn a_process_that_has_ended_is_nobody_though_its_number_is_known() {
    let program = host::process::Program {
        args: vec!["60".to_owned()],
        ..host::process::Program::new("/bin/sleep")
    };
    let mut child = program.spawn().await.unwrap();
    let pidfd = pidfd_open(Pid::from_raw(child.pid()).unwrap(), PidfdFlags::empty()).unwrap();
    assert!(is_there(&pidfd));
    child.kill();
    child.wait().await.unwrap();
    assert!(!is_there(&pidfd));
}
