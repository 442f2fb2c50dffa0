//! Wrong conditions: where, and in which words.

use super::*;

#[track_caller]
fn refused(cases: &[(&str, usize, &str)]) {
    for (text, at, says) in cases {
        match Condition::parse(text, Rules::Edge) {
            Ok(_) => panic!("{text} was taken"),
            Err(error) => {
                assert_eq!(error.to_string(), *says, "{text}");
                assert_eq!(error.at, *at, "{text}: {error}");
            }
        }
    }
}

#[test]
fn grammar() {
    refused(&[
        (
            "",
            0,
            "there is no condition; write one, such as level = 'high', or true for all messages",
        ),
        (
            "  ",
            2,
            "there is no condition; write one, such as level = 'high', or true for all messages",
        ),
        ("a =", 3, "expected a name, a value or (, found the end"),
        ("test == true", 6, "expected a name, a value or (, found =; write = once"),
        ("(a = 'x'", 8, "expected an operator, or ) for the ( before, found the end"),
        ("a = 'x')", 7, "expected the end (this closes nothing), found )"),
        (
            "a 'x'",
            2,
            "expected an operator such as = or AND, or the end, found \"x\"; write an operator after a",
        ),
        (
            "a = 'x' && b = 'y'",
            8,
            "expected an operator such as = or AND, or the end, found &&; write AND",
        ),
        (
            "a = 'x' || || b",
            11,
            "expected a name, a value or (, found ||; || joins texts; the other is OR",
        ),
        ("a IN ['x']", 5, "expected a name, value or operator, found '['"),
        ("!a", 0, "expected a name, value or operator, found '!'; write NOT"),
        (
            "a | b",
            2,
            "expected a name, value or operator, found '|'; write OR, or || to join texts",
        ),
        ("a = 'x", 4, "the text that begins here has no closing quote"),
        ("none = \"", 7, "the text that begins here has no closing quote"),
        (r"a = 'x\q'", 6, "\\q' is not an escape; \\\", \\', \\\\, \\n, \\t and \\u0041 are"),
        (r"a = '\uD800'", 5, "\\uD800 is not an escape; \\\", \\', \\\\, \\n, \\t and \\u0041 are"),
        ("0xFFFFFFFFFFFFFFFFFF = 1", 0, "0xFFFFFFFFFFFFFFFFFF is too large a number"),
        (
            "{contentType} = 'x'",
            1,
            "expected a system property such as $contentType after {, found contentType",
        ),
        ("{$contentType = 'x'", 14, "expected } after the system property, found ="),
        ("length('a' = 1", 14, "expected a comma, or ) after the arguments, found the end"),
    ]);
}

#[test]
fn types() {
    refused(&[
        ("temperature > 30", 0, "> compares a text with a number; write as_number(temperature)"),
        ("30 < temperature", 0, "< compares a number with a text; write as_number(temperature)"),
        ("alert = true", 0, "= compares a text with true or false; write alert = 'true'"),
        (
            "length(key1) = '5'",
            0,
            "= compares a number with a text; write the number without quotes",
        ),
        (
            "true != 'true'",
            0,
            "!= compares true or false with a text; write true or false without quotes",
        ),
        ("3 = undefined", 0, "= compares a number with undefined"),
        ("$contentType = 3", 0, "= compares a text with a number; write as_number($contentType)"),
        ("(key1 ?? 12.34) = 1", 1, "?? compares a text with a number; write as_number(key1)"),
        ("key1 ?? null", 0, "?? compares a text with null"),
        ("3 + none = 1", 4, "+ takes numbers, and this is a text; write as_number(none)"),
        ("is_defined(true + 3)", 11, "+ takes numbers, and this is true or false"),
        ("is_defined(undefined % undefined)", 11, "% takes numbers, and this is undefined"),
        ("- (key1) = 1", 2, "- takes a number, and this is a text; write -as_number((key1))"),
        ("'a' || null = 'a'", 7, "|| takes texts, and this is null"),
        (
            "NOT key1 = 'x'",
            4,
            "NOT takes true or false, and this is a text; NOT comes before = and the like; write NOT (…)",
        ),
        (
            "none and true",
            0,
            "AND takes true or false, and this is a text; compare it, such as none = 'true'",
        ),
        (
            "$body.on OR key1",
            12,
            "OR takes true or false, and this is a text; compare it, such as key1 = 'true'",
        ),
        ("1 < 2 < 3", 6, "< compares true or false with a number"),
        (
            "key1",
            0,
            "this is a text, and a condition is true or false; compare it, such as key1 = 'high'",
        ),
        ("3", 0, "this is a number, and a condition is true or false"),
        ("TRUE", 0, "this is a text, and a condition is true or false; write true in lower case"),
        (
            "level-high",
            0,
            "this is a text, and a condition is true or false; operators want spaces around them, or level-high is a name",
        ),
    ]);
}

#[test]
fn functions() {
    refused(&[
        ("foo(1)", 0, "foo is not a function"),
        ("true AND asnumber(a) > 1", 9, "asnumber is not a function; did you mean as_number?"),
        ("COUNT() > 1", 0, "COUNT counts over many; a condition looks at one message"),
        ("max(a) > 1", 0, "max counts over many; a condition looks at one message"),
        (
            "twin_change_includes(a)",
            0,
            "twin_change_includes works in routes of a hub's twin changes only",
        ),
        ("is_object($body.a)", 0, "is_object works in routes of a hub only"),
        ("array_contains($body.a, 1)", 0, "array_contains works in queries only"),
        ("concat('a') = 'a'", 0, "concat takes at least 2 arguments, here it is given 1"),
        ("abs(3, 4) = 3", 0, "abs takes one argument, here it is given 2"),
        ("substring('a') = 'a'", 0, "substring takes 2 or 3 arguments, here it is given 1"),
        ("index_of() = 1", 0, "index_of takes 2 arguments, here it is given 0"),
        (
            "is_defined(abs(key1))",
            15,
            "abs takes a number, and this is a text; write as_number(key1)",
        ),
        ("is_defined(abs(null))", 15, "abs takes a number, and this is null"),
        ("lower(12.34) = 'x'", 6, "lower takes a text, and this is a number"),
        ("starts_with('a', undefined)", 17, "starts_with takes a text, and this is undefined"),
        ("as_number(true) = 1", 10, "as_number takes a text or number, and this is true or false"),
    ]);
}

#[test]
fn paths() {
    let example = "is not a path; write $body.weather.temperature or $body.values[0]";
    for text in [
        "$body",
        "$body.",
        "$body.a.",
        "$body..a",
        "$body.a[]",
        "$body.a[x]",
        "$body.a[1",
        "$body.a]",
        "$body.[0]",
        "$body[0].a",
        "$contentType[0]",
        "$",
        "$body.a[99999999999999999999999]",
        "$body.a[1]b",
    ] {
        let error = Condition::parse(&format!("{text} = 1"), Rules::Edge).unwrap_err();
        assert_eq!(error.to_string(), format!("{text} {example}"), "{text}");
    }
    refused(&[(
        "$twin.tags.a = 'x'",
        0,
        "an edge hub does not look into twins; $twin works in routes of a hub only",
    )]);
}
