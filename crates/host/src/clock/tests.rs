use futures_util::FutureExt;

use super::*;

fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

#[tokio::test]
async fn a_manual_clock_wakes_only_the_sleepers_that_it_passes() {
    let clock = Clock::manual(noon());
    let mut short = Box::pin(clock.sleep(Duration::from_secs(5)));
    let mut long = Box::pin(clock.sleep(Duration::from_secs(6)));
    assert_eq!(short.as_mut().now_or_never(), None);
    assert_eq!(long.as_mut().now_or_never(), None);
    assert_eq!(clock.sleepers(), 2);

    clock.advance(Duration::from_secs(5));
    assert_eq!(short.as_mut().now_or_never(), Some(()));
    assert_eq!(long.as_mut().now_or_never(), None);
    assert_eq!(clock.wall(), "2026-11-23T12:00:05Z".parse().unwrap());
}

#[tokio::test]
async fn a_timeout_gives_up_at_its_deadline() {
    let clock = Clock::manual(noon());
    let mut work = Box::pin(clock.timeout(Duration::from_secs(1), std::future::pending::<()>()));
    assert_eq!(work.as_mut().now_or_never(), None);
    clock.advance(Duration::from_secs(1));
    assert_eq!(work.as_mut().now_or_never(), Some(Err(Elapsed)));
    let done = clock.timeout(Duration::ZERO, std::future::ready(7)).await;
    assert_eq!(done, Ok(7));
}

#[test]
fn a_wall_jump_leaves_the_monotonic_time_alone() {
    let clock = Clock::manual(noon());
    clock.advance(Duration::from_secs(10));
    clock.set_wall("2020-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(clock.now(), Mono::ZERO + Duration::from_secs(10));
    assert_eq!(clock.wall(), "2020-01-01T00:00:00Z".parse().unwrap());
}

#[test]
fn the_wall_is_not_trusted_before_2024_or_before_a_moment_that_has_been() {
    let clock = Clock::manual("1970-01-01T00:00:10Z".parse().unwrap());
    assert!(!clock.wall_is_trusted());
    clock.set_wall(noon());
    assert!(clock.wall_is_trusted());
    clock.not_before(noon() + Duration::from_secs(60));
    clock.not_before(noon());
    assert!(!clock.wall_is_trusted());
    clock.advance(Duration::from_secs(60));
    assert!(clock.wall_is_trusted());
}

#[tokio::test]
async fn a_sleeper_hears_that_the_wall_was_set() {
    let clock = Clock::manual(noon());
    let mut sleep = Box::pin(clock.sleep_unless_set(Duration::from_secs(3600), noon()));
    assert_eq!(sleep.as_mut().now_or_never(), None);
    clock.advance(Duration::from_secs(10));
    assert_eq!(sleep.as_mut().now_or_never(), None, "time passes, nobody set the wall");
    clock.set_wall(noon() + Duration::from_secs(13));
    clock.advance(Duration::from_secs(10));
    assert_eq!(sleep.as_mut().now_or_never(), None, "a few seconds are drift");
    clock.set_wall("2016-01-01T00:00:00Z".parse().unwrap());
    clock.advance(Duration::from_secs(10));
    assert_eq!(sleep.as_mut().now_or_never(), Some(true));
    let before = clock.wall_at_origin();
    let mut sleep = Box::pin(clock.sleep_unless_set(Duration::from_secs(15), before));
    assert_eq!(sleep.as_mut().now_or_never(), None);
    clock.advance(Duration::from_secs(15));
    assert_eq!(sleep.as_mut().now_or_never(), Some(false));
}

#[test]
fn the_wall_at_the_origin_changes_when_the_wall_is_set() {
    for clock in [Clock::system(), Clock::manual(noon())] {
        let off = clock.wall().duration_since(clock.wall_at_origin());
        let elapsed = SignedDuration::try_from(clock.now().since_origin()).unwrap();
        assert!((off - elapsed).abs() < SignedDuration::from_secs(1));
    }
    let clock = Clock::manual(noon());
    clock.advance(Duration::from_secs(10));
    assert_eq!(clock.wall_at_origin(), noon());
    clock.set_wall(noon());
    assert_eq!(clock.wall_at_origin(), noon() - Duration::from_secs(10));
    assert_eq!(clock.newest_known(), None);
    clock.not_before(noon());
    assert_eq!(clock.newest_known(), Some(noon()));
}

#[tokio::test]
async fn the_system_clock_goes_forward() {
    let clock = Clock::system();
    let before = clock.now();
    clock.sleep(Duration::from_millis(2)).await;
    assert!(clock.now() - before >= Duration::from_millis(2));
}
