//! Runs `golden.txt`: which message goes where, as a table that can be read without the code.

use serde_json::{Map, Value, json};

use super::*;

const TABLE: &str = include_str!("golden.txt");

/// A line's columns: two or more spaces apart.
fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

/// The parts of the table: lines with nothing between them, without comments.
fn parts() -> Vec<Vec<&'static str>> {
    let mut parts = vec![Vec::new()];
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        match line.trim_end() {
            "" => parts.push(Vec::new()),
            line => parts.last_mut().unwrap().push(line),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// `0 60s`, `last`, `4`: priority and time to live of a route, before its text.
fn route(line: &str) -> (String, Value) {
    let [name, how, text] = columns(line)[..] else { panic!("not a route: {line}") };
    let mut route = json!({ "route": text });
    let (priority, time_to_live) = how.split_once(' ').unwrap_or((how, ""));
    if priority != LAST {
        route["priority"] = json!(priority.parse::<u32>().unwrap());
    }
    if let Some(seconds) = time_to_live.strip_suffix('s') {
        route["timeToLiveSecs"] = json!(seconds.parse::<u32>().unwrap());
    }
    (name.to_owned(), route)
}

fn table(routes: Map<String, Value>, time_to_live: i64) -> Table {
    let desired = json!({
        "schemaVersion": "1.1",
        "routes": routes,
        "storeAndForwardConfiguration": { "timeToLiveSecs": time_to_live }
    });
    Table::new(&HubConfig::parse(desired.as_object().unwrap()).unwrap()).unwrap()
}

/// Where a message goes: `sender` as in the table, `message` in its words.
fn targets(table: &Table, sender: &str, message: &str) -> Vec<String> {
    let (identity, edge) = (sender.parse().unwrap(), "edge1".parse().unwrap());
    let generation = GenerationId::from_number(7);
    let (mut sent, mut is_twin, mut method) = (Message::default(), false, AuthMethod::ModuleSas);
    let json = |body: &str| {
        Message::from_body(body.to_owned())
            .with_system(SystemProperty::ContentType, "application/json")
            .with_system(SystemProperty::ContentEncoding, "utf-8")
    };
    for word in message.split(' ').filter(|word| *word != "-") {
        match word.split_once('=').unwrap_or((word, "")) {
            ("out", output) => sent.set_system(SystemProperty::OutputName, output),
            ("json", body) => sent = json(body),
            ("text", body) => sent = Message::from_body(body.to_owned()),
            ("twin", body) => (sent, is_twin) = (json(body), true),
            ("x509", _) => method = AuthMethod::DeviceX509,
            (name, value) => sent.set_property(name, value),
        }
    }
    let sender = Sender { identity: &identity, generation: &generation, method, edge: &edge };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let routed = match is_twin {
        true => Routed::twin_change(&sent, &sender, now),
        false => Routed::telemetry(&sent, &sender, now),
    };
    let shown = |target: &Target| match target.time_to_live {
        Some(time) => format!("{} {}s", target.queue, time.as_secs()),
        None => format!("{} for ever", target.queue),
    };
    table.targets(&routed).iter().map(shown).collect()
}

#[test]
fn messages_go_where_the_table_says() {
    let (mut routes, mut checked, mut wrong) = (table(Map::new(), 7200), 0, Vec::new());
    for part in parts() {
        let head = columns(part[0]);
        match head[0] {
            "routes" => {
                let time_to_live = head[1].strip_prefix("ttl ").unwrap().parse().unwrap();
                routes = table(part[1..].iter().map(|line| route(line)).collect(), time_to_live);
            }
            "sender" => {
                for line in &part[1..] {
                    let [sender, message, expected] = columns(line)[..] else {
                        panic!("not a message: {line}")
                    };
                    let found = targets(&routes, sender, message);
                    let found = if found.is_empty() { "nowhere".into() } else { found.join(", ") };
                    if found != expected {
                        wrong.push(format!("{line}\n  but: {found}"));
                    }
                    checked += 1;
                }
            }
            "sources" => {}
            other => panic!("{other} is no part of the table"),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(checked > 30, "{checked}");
}

#[test]
fn paths_take_the_sources_that_the_table_says() {
    let parts = parts();
    let part = parts.iter().find(|part| part[0] == "sources").unwrap();
    let senders = &columns(part[1])[1..];
    let mut wrong = Vec::new();
    for line in &part[2..] {
        let cells = columns(line);
        let route = json!(format!("FROM {} INTO $upstream", cells[0]));
        let table = table(Map::from_iter([("r".to_owned(), route)]), 7200);
        let taken = senders.iter().map(|sender| {
            let (sender, what) = sender.split_once(':').unwrap_or((sender, "-"));
            let message = match what {
                "-" | "twin" => what.to_owned(),
                output => format!("out={output}"),
            };
            if targets(&table, sender, &message).is_empty() { "." } else { "x" }
        });
        let taken: Vec<&str> = taken.collect();
        if taken != cells[1..] {
            wrong.push(format!("{line}\n  but: {taken:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(part.len() > 10);
}
