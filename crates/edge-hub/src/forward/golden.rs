//! Runs `golden.txt`: what happens to messages that are stored, as a table that can be read without
//! the code.

use std::collections::BTreeSet;

use host::clock::Mono;
use jiff::Timestamp;
use manifest::hub_config::PRIORITY_LAST;
use model::message::Message;

use super::lane::Read;
use super::queue::{Line, Look, Step, Window};
use super::record::Record;
use super::room::{Candidate, victim};
use crate::settings::WhenFull;

const TABLE: &str = include_str!("golden.txt");
const LINES: [&str; 3] = ["open", "away", "blocked"];
const MESSAGES: [&str; 3] = ["waiting", "sent", "finished"];
const LIVES: [&str; 3] = ["lives", "over", "for-ever"];

/// The rows of a part, without its heads; columns are two or more spaces apart.
fn rows(part: &str) -> Vec<Vec<&'static str>> {
    let lines = TABLE.lines().skip_while(|line| *line != part).skip(2);
    let lines = lines.take_while(|line| !line.is_empty());
    let columns = |line: &'static str| {
        line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
    };
    lines.map(columns).collect()
}

/// The step for one message that stands so.
fn step(line: &str, message: &str, life: &str) -> &'static str {
    let noon = Timestamp::from_second(12 * 3600).unwrap();
    let expires = match life {
        "lives" => Timestamp::from_second(13 * 3600).ok(),
        "over" => Some(noon),
        _ => None,
    };
    let record = Record {
        sender: "leaf".parse().unwrap(),
        time_to_live: None,
        message: Message::from_body("x"),
    };
    let mut window = Window::new(0);
    let taken = Timestamp::UNIX_EPOCH;
    window.push(Read { sequence: 0, record, taken, expires }, Mono::ZERO);
    match message {
        "waiting" => {}
        "sent" => window.sent(0, Mono::ZERO),
        _ => {
            window.sent(0, Mono::ZERO);
            window.finish(0);
        }
    }
    let stands = |_: &_, _| match line {
        "open" => Line::Open,
        "away" => Line::Away,
        _ => Line::Blocked("refused".into()),
    };
    match window.plan(Look::All, noon, stands)[..] {
        [] => "-",
        [Step::Send { .. }] => "send",
        [Step::Park { .. }] => "park",
        [Step::Expire { .. }] => "expire",
        [Step::Recall { .. }] => "recall",
        ref more => panic!("{more:?}"),
    }
}

#[test]
fn a_queue_does_what_the_table_says_in_every_case() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in rows("queue") {
        let [line, message, life, expected] = row[..] else { panic!("{row:?}") };
        let found = step(line, message, life);
        if found != expected {
            wrong.push(format!("{row:?}, but: {found}"));
        }
        seen.insert((line, message, life));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for line in LINES {
        for message in MESSAGES {
            for life in LIVES {
                assert!(seen.contains(&(line, message, life)), "no row: {line} {message} {life}");
            }
        }
    }
}

#[test]
fn a_full_store_makes_room_as_the_table_says() {
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in rows("full") {
        let [policy, queues, expected] = row[..] else { panic!("{row:?}") };
        let when_full = match policy {
            "refuse" => WhenFull::Refuse,
            "drop-lowest-priority" => WhenFull::DropLowestPriority,
            "drop-oldest" => WhenFull::DropOldest,
            other => panic!("{other} is no policy"),
        };
        let queues = queues.split(' ').filter(|queue| *queue != "-");
        let candidates: Vec<Candidate<&str>> = queues.map(candidate).collect();
        let found = victim(when_full, &candidates).unwrap_or("nothing");
        if found != expected {
            wrong.push(format!("{row:?}, but: {found}"));
        }
        seen.insert(policy);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// `priority@hour` of its oldest message.
fn candidate(queue: &str) -> Candidate<&str> {
    let (priority, hour) = queue.split_once('@').unwrap();
    let priority = match priority {
        "dead" => None,
        "last" => Some(PRIORITY_LAST),
        number => Some(number.parse().unwrap()),
    };
    let oldest = Timestamp::from_second(hour.parse::<i64>().unwrap() * 3600).ok();
    Candidate { stream: queue, priority, oldest }
}
