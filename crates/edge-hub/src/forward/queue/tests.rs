//! Golden tables: what is in the window and how the lines stand, and what is done then.

use bytes::Bytes;

use super::*;

const NOON: &str = "2026-11-25T12:00:00Z";

/// A window of messages named by their sender; `a!` is past its time at noon.
fn read(sequence: u64, record: Record, expires: Option<Timestamp>) -> Read {
    Read { sequence, record, taken: Timestamp::UNIX_EPOCH, expires }
}

fn window(senders: &str) -> Window {
    let mut window = Window::new(0);
    for (index, name) in senders.split_whitespace().enumerate() {
        let expired = name.ends_with('!');
        let record = Record {
            sender: name.trim_end_matches('!').parse().unwrap(),
            time_to_live: None,
            message: Message::from_body(Bytes::from_static(b"12345")),
        };
        let expires = if expired { "2026-11-25T11:00:00Z" } else { "2026-11-25T13:00:00Z" };
        window.push(read(index as u64, record, Some(expires.parse().unwrap())), Mono::ZERO);
    }
    window
}

/// `a` has an open line, `b` is away, `c` is refused.
fn line(sender: &IdentityId, _: Mono) -> Line {
    match sender.device.as_str().chars().next() {
        Some('a') => Line::Open,
        Some('b') => Line::Away,
        _ => Line::Blocked("refused".into()),
    }
}

fn text(steps: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Send { sequence, attempt: 0 } => format!("send {sequence}"),
        Step::Send { sequence, attempt } => format!("send {sequence} again {attempt}"),
        Step::Park { sequence, reason } => format!("park {sequence} {reason}"),
        Step::Expire { sequence } => format!("expire {sequence}"),
        Step::Recall { sender } => format!("recall {sender}"),
    };
    steps.iter().map(step).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(window: &mut Window, expected: &str) {
    assert_eq!(text(&window.plan(Look::All, NOON.parse().unwrap(), line)), expected);
    // What waits is found without looking at the rest.
    if !expected.contains("recall") {
        assert_eq!(text(&window.plan(Look::Waiting, NOON.parse().unwrap(), line)), expected);
    }
}

#[test]
fn what_waits_is_sent_kept_parked_or_given_up() {
    for (senders, expected) in [
        ("", ""),
        ("a a b c", "send 0, send 1, park 3 refused"),
        ("b a", "send 1"),
        ("a! b! c! a", "expire 0, expire 1, expire 2, send 3"),
        ("c a c", "park 0 refused, send 1, park 2 refused"),
        ("b b b", ""),
    ] {
        check(&mut window(senders), expected);
    }
}

#[test]
fn what_was_sent_is_taken_back_only_when_it_has_to() {
    for (senders, expected) in [
        ("a", ""),
        ("b", ""),
        ("a!", ""),
        // Planned anew after the recall, not before.
        ("b! b", "recall b"),
        ("c c", "recall c"),
    ] {
        let mut window = window(senders);
        for sequence in 0..senders.split_whitespace().count() as u64 {
            window.sent(sequence, Mono::ZERO);
        }
        check(&mut window, expected);
    }
    let mut sent = window("c c a");
    sent.sent(0, Mono::ZERO);
    check(&mut sent, "recall c, send 2");
    // A later message does not make way before an earlier one that is under way.
    let noon = NOON.parse().unwrap();
    assert_eq!(text(&sent.plan(Look::Waiting, noon, line)), "recall c, send 2");
    sent.recall(&"c".parse().unwrap());
    check(&mut sent, "park 0 refused, park 1 refused, send 2");
}

#[test]
fn a_lost_line_plans_all_of_its_sender_from_the_first() {
    let mut window = window("a a2 a");
    for sequence in 0..3 {
        window.sent(sequence, Mono::ZERO);
    }
    // The later message's failure is heard first.
    assert!(window.failed(2, 0));
    window.recall(&"a".parse().unwrap());
    check(&mut window, "send 0 again 1, send 2 again 1");
    // The earlier one's belongs to the attempt that was taken back.
    assert!(!window.failed(0, 0));
    // An acknowledgement of the old attempt still counts.
    window.finish(0);
    check(&mut window, "send 2 again 1");
    assert!(!window.failed(0, 1), "finished");
}

#[test]
fn the_checkpoint_stands_before_the_first_unfinished_message() {
    let mut window = window("a a a a");
    assert_eq!(window.checkpoint(), 0);
    window.finish(1);
    window.finish(2);
    assert_eq!(window.checkpoint(), 0);
    window.finish(0);
    assert_eq!(window.checkpoint(), 3);
    window.finish(3);
    assert_eq!((window.checkpoint(), window.is_empty()), (4, true));
    window.finish(3);
    window.skip_to(9);
    assert_eq!(window.checkpoint(), 9);
}

#[test]
fn the_window_is_bounded_in_messages_and_bytes() {
    let mut window = Window::new(0);
    let record = |bytes: usize| Record {
        sender: "a".parse().unwrap(),
        time_to_live: None,
        message: Message::from_body(vec![0; bytes]),
    };
    for sequence in 0..SLOTS_MAX as u64 {
        assert!(window.has_room());
        window.push(read(sequence, record(1), None), Mono::ZERO);
    }
    assert!(!window.has_room());
    window.finish(50);
    assert!(!window.has_room(), "a finished message before unfinished ones keeps its place");
    window.finish(0);
    assert!(window.has_room());
    window.push(read(200, record(BYTES_MAX), None), Mono::ZERO);
    assert!(!window.has_room());
    window.finish(200);
    assert_eq!(window.bytes, SLOTS_MAX - 2);
}

#[test]
fn a_message_past_its_time_makes_room_behind_others_that_live_longer() {
    let mut window = window("b b! b b! b!");
    check(&mut window, "expire 1, expire 3, expire 4");
    for (sequence, checkpoint, bytes) in [(3, 0, 20), (1, 0, 15), (4, 0, 10), (4, 0, 10)] {
        window.expire(sequence);
        assert_eq!((window.checkpoint(), window.bytes), (checkpoint, bytes), "{sequence}");
    }
    assert_eq!(window.slots.len(), 2);
    check(&mut window, "");
    // What is delivered before it and after it is passed over with it.
    window.finish(2);
    assert_eq!((window.checkpoint(), window.bytes), (0, 5));
    window.finish(0);
    assert_eq!((window.checkpoint(), window.bytes), (5, 0));
    // Results of sendings that were taken back come late.
    assert!(!window.failed(3, 0));
    window.finish(3);
    assert_eq!((window.checkpoint(), window.bytes), (5, 0));
}

#[test]
fn senders_that_come_and_go_keep_their_order() {
    let mut window = Window::new(0);
    let push = |window: &mut Window, sequence: u64, sender: &str| {
        let record = Record {
            sender: sender.parse().unwrap(),
            time_to_live: None,
            message: Message::default(),
        };
        window.push(read(sequence, record, None), Mono::ZERO);
    };
    push(&mut window, 0, "a");
    for sequence in 1..3 * SENDERS_MAX as u64 {
        push(&mut window, sequence, &format!("b{sequence}"));
        window.expire(sequence);
    }
    let end = 3 * SENDERS_MAX as u64;
    push(&mut window, end, "a");
    push(&mut window, end + 1, "c");
    assert!(window.senders.len() <= SENDERS_MAX);
    check(&mut window, &format!("send 0, send {end}, park {} refused", end + 1));
    window.sent(0, Mono::ZERO);
    check(&mut window, &format!("send {end}, park {} refused", end + 1));
    window.recall(&"a".parse().unwrap());
    check(&mut window, &format!("send 0 again 1, send {end}, park {} refused", end + 1));
}

#[test]
fn a_sender_is_stalled_only_by_the_hubs_silence() {
    let at = |seconds| Mono::ZERO + Duration::from_secs(seconds);
    for (now, entered, hub_since, acknowledged, others, is_full, stalled) in [
        (500, 0, None, None, None, true, false),
        (500, 0, Some(400), None, None, false, false),
        (520, 0, Some(400), None, None, false, true),
        (520, 410, Some(400), None, None, false, false),
        (600, 410, Some(400), Some(500), None, false, false),
        (620, 410, Some(400), Some(500), None, false, true),
        // Others move, before and after it stopped.
        (510, 0, Some(400), Some(500), Some(499), false, false),
        (504, 0, Some(400), Some(500), Some(503), false, false),
        (505, 0, Some(400), Some(500), Some(503), false, true),
        // Nobody moves, and no more is read.
        (529, 0, Some(400), Some(500), None, true, false),
        (530, 0, Some(400), Some(500), Some(499), true, true),
    ] {
        let progress = Progress {
            entered: at(entered),
            hub_since: hub_since.map(at),
            acknowledged: acknowledged.map(at),
            others_acknowledged: others.map(at),
            is_full,
        };
        assert_eq!(is_stalled(at(now), &progress), stalled, "{now} {progress:?}");
    }
}
