use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

fn check(
    level: Level,
    message: &str,
    fields: &[(&'static str, &str)],
    format: Format,
    expected: &str,
) {
    let fields: Vec<_> = fields.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    let line = Line {
        time: "2026-11-23T09:08:03.1239Z".parse().unwrap(),
        level,
        is_fatal: false,
        target: "hub",
        message,
        fields: &fields,
    };
    assert_eq!(line.text(format), format!("{expected}\n"));
}

#[test]
fn edge_lines() {
    check(
        Level::INFO,
        "text",
        &[("key", "value")],
        Format::EdgePrio,
        "<6> 2026-11-23 09:08:03.123 +00:00 [INF] - text key=value",
    );
    check(Level::ERROR, "e", &[], Format::EdgePrio, "<3> 2026-11-23 09:08:03.123 +00:00 [ERR] - e");
    check(Level::WARN, "w", &[], Format::EdgePrio, "<4> 2026-11-23 09:08:03.123 +00:00 [WRN] - w");
    check(Level::DEBUG, "d", &[], Format::EdgePrio, "<7> 2026-11-23 09:08:03.123 +00:00 [DBG] - d");
    check(Level::TRACE, "t", &[], Format::EdgePrio, "<7> 2026-11-23 09:08:03.123 +00:00 [VRB] - t");
}

#[test]
fn logfmt_quotes_what_needs_it() {
    check(
        Level::WARN,
        "it is late",
        &[("device_id", "d1"), ("empty", ""), ("text", "a \"b\" c"), ("eq", "a=b")],
        Format::Logfmt,
        r#"time=2026-11-23T09:08:03.123Z level=warn target=hub msg="it is late" device_id=d1 empty="" text="a \"b\" c" eq="a=b""#,
    );
}

#[test]
fn json_is_json() {
    check(
        Level::INFO,
        "a\\b",
        &[("k", "\u{1}\"")],
        Format::Json,
        r#"{"time":"2026-11-23T09:08:03.123Z","level":"info","target":"hub","msg":"a\\b","k":"\u0001\""}"#,
    );
}

#[test]
fn a_peer_cannot_start_a_line_or_reach_the_terminal() {
    let evil = "x\n<0> forged\r\u{1b}[2J\u{9b}\u{2028}";
    check(
        Level::INFO,
        evil,
        &[("k", evil)],
        Format::EdgePrio,
        "<6> 2026-11-23 09:08:03.123 +00:00 [INF] - x\\n<0> forged\\r\\u001b[2J\\u009b\\u2028 \
         k=\"x\\n<0> forged\\r\\u001b[2J\\u009b\\u2028\"",
    );
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<String>>);

impl Sink for Memory {
    fn line(&self, line: &str) {
        self.0.lock().push_str(line);
    }
}

#[test]
fn events_carry_their_spans_fields_errors_their_causes_and_the_level_can_change() {
    let memory = Memory::default();
    let (filter, handle) = reload::Layer::new(parse_level("warn").unwrap());
    let logs = Logs { filter: handle };
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(Lines::new(Format::Logfmt, memory.clone()));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("unheard");
        let span = tracing::warn_span!("session", device = "d1");
        let error = crate::fs::read(std::path::Path::new("/no/such")).unwrap_err();
        span.in_scope(|| tracing::warn!(error = &error as &dyn StdError, count = 3, "hm"));
        logs.set_level("debug").unwrap();
        tracing::debug!("heard");
        tracing::error!(fatal = true, "last words");
    });
    let text = memory.0.lock().clone();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].ends_with(
        r#"msg="hm" error="cannot read /no/such: No such file or directory (os error 2)" count=3 device=d1"#
    ), "{text}");
    assert!(lines[1].ends_with(r#"msg="heard""#));
    assert!(lines[2].contains("level=fatal"));
}

#[test]
fn levels_are_understood_in_both_worlds_or_refused() {
    for good in ["info", "Warning", "verbose", "INFORMATION", "info,hub=debug"] {
        assert!(parse_level(good).is_ok(), "{good}");
    }
    for bad in ["", "loud", "hub=loud", "info,loud"] {
        assert!(parse_level(bad).is_err(), "{bad}");
    }
}
