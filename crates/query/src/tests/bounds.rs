//! Nothing that is written or sent takes long, or ends the program.

use proptest::prelude::*;

use super::*;

#[test]
fn depth_and_length_are_bounded() {
    let deep = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Condition::parse(&deep(DEPTH_MAX), Rules::Edge).is_ok());
    for text in [
        deep(DEPTH_MAX + 1),
        "(".repeat(CONDITION_BYTES_MAX),
        format!("{} true", "not ".repeat(1000)),
        format!("{}1 = 1", "- ".repeat(4000)),
        "abs(".repeat(2000),
    ] {
        let error = Condition::parse(&text, Rules::Edge).unwrap_err();
        assert_eq!(error.problem, Problem::TooDeep);
    }
    let long = "x".repeat(CONDITION_BYTES_MAX + 1);
    assert_eq!(Condition::parse(&long, Rules::Edge).unwrap_err().problem, Problem::TooLong);
    // A long chain is not a deep one.
    let chain = vec!["key1 = 'x'"; 500].join(" OR ");
    assert_eq!(verdict(&format!("{chain} OR true"), &sample(), Rules::Edge), T);
    let sum = format!("{} = 2000", vec!["1"; 2000].join(" + "));
    assert_eq!(verdict(&sum, &sample(), Rules::Edge), T);
}

#[test]
fn work_on_texts_is_bounded() {
    let mut message = Message::default();
    message.set_property("a", "x".repeat(200 * 1024));
    let one = |times: usize| format!("length(concat({})) > 0", vec!["a"; times].join(","));
    assert_eq!(verdict(&one(5), &message, Rules::Edge), T);
    assert_eq!(verdict(&one(1000), &message, Rules::Edge), U);
    let many = vec!["a != a"; 200].join(" OR ");
    assert_eq!(verdict(&many, &message, Rules::Edge), U);
}

#[test]
fn a_keyword_ends_a_condition() {
    let text = " a = 'INTO' AND b = 'y' into $upstream";
    let (condition, end) = Condition::parse_before(text, "INTO", Rules::Edge).unwrap();
    assert_eq!(condition.text(), "a = 'INTO' AND b = 'y'");
    assert_eq!(&text[end..], "into $upstream");
    let error = Condition::parse_before("a = INTO x", "INTO", Rules::Edge).unwrap_err();
    assert_eq!(
        (error.at, error.to_string().as_str()),
        (4, "expected a name, a value or (, found the end")
    );
    assert!(Condition::parse("true", Rules::Edge).unwrap().is_always());
    assert!(!Condition::parse("1 = 1", Rules::Edge).unwrap().is_always());
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "\\PC{0,80}") {
        run(&text);
    }

    #[test]
    fn any_row_of_words_is_taken_or_refused(
        words in proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..24)
    ) {
        run(&words.join(" "));
        run(&words.concat());
    }

    #[test]
    fn any_number_is_read_or_not(text in "[ ()+\\-0-9,.eE]{0,12}") {
        if let Some(number) = number::from_text(&text) {
            prop_assert!(!number.is_nan());
        }
    }
}

/// Whatever is taken can be evaluated, reads back, and says the same again.
fn run(text: &str) {
    let (message, sender) = (sample(), sender());
    for rules in [Rules::Edge, Rules::Hub] {
        match Condition::parse(text, rules) {
            Ok(condition) => {
                let subject = MessageSubject::new(&message, arrival(&sender), rules);
                let verdict = condition.evaluate(&subject);
                let again = Condition::parse(condition.text(), rules).unwrap();
                assert_eq!(again, condition);
                assert_eq!(again.evaluate(&subject), verdict, "{text}");
            }
            Err(error) => assert!(text.get(error.at..).is_some(), "{text}: {error:?}"),
        }
    }
}

const WORDS: [&str; 48] = [
    "a",
    "key1",
    "key2",
    "$body.weather.temperature",
    "$body.weather.city",
    "$body.a[0]",
    "$twin.tags.a",
    "$contentType",
    "{$messageId}",
    "'x'",
    "\"y\"",
    "'",
    "1",
    "0.5",
    "0x1",
    "1e9",
    "true",
    "false",
    "null",
    "undefined",
    "AND",
    "or",
    "NOT",
    "=",
    "!=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "??",
    "(",
    ")",
    "(",
    ")",
    ",",
    "as_number(",
    "is_defined(",
    "is_null(",
    "concat(",
    "substring(",
    "/*",
];
