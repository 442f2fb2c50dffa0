//! Operators, literals, types and functions.

use super::{F, T, U, check};

#[test]
fn literals_and_comparisons() {
    check(&[
        ("true", T),
        ("false", F),
        ("null", F),
        ("undefined", U),
        ("3 = 3", T),
        ("3=3", T),
        ("3 = 4", F),
        ("3 != 4", T),
        ("3 <> 3", F),
        ("'3' = \"3\"", T),
        ("'a' < 'b'", T),
        ("'b' <= 'a'", F),
        ("'B' < 'a'", T),
        ("'ä' > 'z'", T),
        ("'' < 'a'", T),
        ("true = true", T),
        ("true != false", T),
        ("false < true", T),
        ("4 < 7", T),
        ("7 < 7", F),
        ("7 >= 7", T),
        ("8 <= 7", F),
        ("-1 < 0", T),
        ("0x1F = 31", T),
        ("0XFf = 255", T),
        ("1.5e1 = 15", T),
        (".5 = 0.5", T),
        ("1e-6 < 0.001", T),
        ("10e1000 = 1 / 0", T),
    ]);
}

/// .NET compares by UTF-16 units, in which what is beyond the first plane comes before U+E000.
#[test]
fn texts_compare_by_their_units() {
    check(&[
        ("'\u{1F600}' < '\u{E000}'", T),
        ("'x\u{1F600}' < 'x\u{FF5E}'", T),
        ("'\u{1F600}' < '\u{1F601}'", T),
        ("'\u{1F600}' = '\\uD83D\\uDE00'", T),
        ("length('\u{1F600}') = 2", T),
        ("index_of('\u{1F600}x', 'x') = 2", T),
        ("substring('\u{1F600}x', 2) = 'x'", T),
        ("is_defined(substring('\u{1F600}x', 1))", F),
    ]);
}

#[test]
fn escapes_in_texts() {
    check(&[
        (r#"'it\'s' = "it's""#, T),
        (r#""a\"b" = 'a"b'"#, T),
        (r"'a\\b' = 'a\u005Cb'", T),
        (r"length('\t\n') = 2", T),
    ]);
}

#[test]
fn three_valued_logic() {
    check(&[
        ("not true", F),
        ("NOT false", T),
        ("not (true and false)", T),
        ("true AND not true", F),
        ("true and true", T),
        ("false or true", T),
        ("false or false", F),
        ("undefined or false", U),
        ("undefined or true", T),
        ("true or undefined", T),
        ("true and undefined", U),
        ("false and undefined", F),
        ("undefined and false", F),
        ("undefined < undefined", U),
        ("none = 'x' or true", T),
        ("none = 'x' or false", U),
        ("none = 'x' and false", F),
        ("true and none = 'x'", U),
        ("not (none = 'x')", U),
        ("none != 'x'", U),
        ("null and null", F),
        ("(null and null) = null", T),
        ("(null and false) = null", T),
        ("(null and true) = null", T),
        ("null or true", T),
        ("null or false", F),
        ("(null or null) = null", T),
        ("not null", T),
        // Null is not equal to another type, nor unequal.
        ("key1 = null", U),
        ("key1 != null", U),
        ("3 < null", U),
        ("null = null", T),
        ("null <= null", T),
        ("null < null", F),
    ]);
}

#[test]
fn precedence() {
    check(&[
        ("3 + 4 * 2 = 11", T),
        ("(3 + 4) * 2 = 14", T),
        ("3 + 4 < 8", T),
        ("10 - 4 - 3 = 3", T),
        ("2 * 3 % 4 = 2", T),
        ("3 -4 = -1", T),
        ("-(3 + 4) = -7", T),
        ("- 3 = -3", T),
        ("1 < 2 = true", T),
        ("true or false and false", T),
        ("(true or false) and false", F),
        ("false and true or true", T),
        ("not false and false", F),
        ("NOT is_defined(none) AND key1 = 'value1'", T),
        ("'a' || 'b' || 'c' = 'abc'", T),
        ("true and undefined ?? false", F),
    ]);
}

#[test]
fn coalesce_takes_the_first_that_is_defined() {
    check(&[
        ("undefined ?? undefined", U),
        ("(key1 ?? 'other') = 'value1'", T),
        ("(none ?? 'other') = 'other'", T),
        ("(none ?? none2 ?? 'other') = 'other'", T),
        ("(none ?? none2) = 'other'", U),
        ("(as_number(key2) ?? 12.34) = 3", T),
        ("(as_number(key1) ?? 12.34) = 12.34", T),
        ("(3 % 0 ?? 12.34) = 12.34", T),
        ("($body.weather.temperature ?? 1) = 50", T),
        ("(none = 'x') ?? true", T),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("3 + as_number(key2) = 6", T),
        ("3 / 4 = 0.75", T),
        ("4 % 3 = 1", T),
        ("is_defined(3 % 0)", F),
        ("is_defined(3 / 0)", T),
        ("is_defined(0 / 0)", F),
        ("3 / 0 > 1e300", T),
        ("-3 / 0 < 0", T),
        ("is_defined(3 * as_number(none))", F),
        ("is_defined(-as_number(key1))", F),
        // Null counts as zero, and a quotient with it has its own rules.
        ("null + 3 = 3", T),
        ("null - 3 = -3", T),
        ("3 * null = 0", T),
        ("null / 0 = 0", T),
        ("0 / null = 1 / 0", T),
        ("-1 / null = -1 / 0", T),
        ("null % 3 = 0", T),
        ("is_defined(null / null)", F),
        ("is_defined(3 % null)", F),
    ]);
}

#[test]
fn names_are_taken_in_any_case_and_signs_belong_to_them() {
    check(&[
        ("key1 = 'value1'", T),
        ("KEY1 = 'value1'", T),
        ("key1='value1'AND key2='3'", T),
        ("key1!='value2'", T),
        ("key1||'x' = 'value1x'", T),
        ("none = 'x'", U),
        ("empty = ''", T),
        // As the original reads it: one name.
        ("is_defined(3-4)", F),
        ("true /* and false */", T),
        ("/* ( */ 3 /**/ = /*=*/ 3", T),
        ("6 /2 = 3", T),
    ]);
}

#[test]
fn functions_on_numbers() {
    check(&[
        ("abs(-12) = 12", T),
        ("ABS(as_number(key2)) = 3", T),
        ("abs(exp(1) - 2.718281) < 1e-6", T),
        ("exp(4000) = 3 / 0", T),
        ("power(2, 3) = 8", T),
        ("POWER(10, 4000) = 1 / 0", T),
        ("is_defined(power(3 % 0, 2))", F),
        ("square(3) = 9", T),
        ("ceiling(2.1) = 3", T),
        ("ceiling(-2.1) = -2", T),
        ("floor(-2.1) = -3", T),
        ("sign(0) = 0", T),
        ("sign(-2.1) = -1", T),
        ("sign(3 / 0) = 1", T),
        ("sqrt(4) = 2", T),
        ("sqrt(-4) = -2", U),
        ("is_defined(sqrt(3 / 0))", T),
    ]);
}

/// T-PROPERTY-STRING: properties are texts.
#[test]
fn as_number_reads_what_the_invariant_culture_reads() {
    check(&[
        ("as_number(key2) = 3", T),
        ("as_number(key2) > 30", F),
        ("as_number(key1) = 3", U),
        ("as_number(none) = 3", U),
        ("as_number(as_number(4)) = 4", T),
        ("as_number('10e10') = 10e10", T),
        ("as_number('10e1000') = 1 / 0", T),
        ("as_number('10000000000000000000000000') = 1e25", T),
        ("as_number('  -1,234.5  ') = -1234.5", T),
        ("as_number('.5') = 0.5", T),
        ("as_number('5.') = 5", T),
        ("as_number('+5') = 5", T),
        ("as_number('5-') = -5", T),
        ("as_number('(5)') = -5", T),
        ("as_number('1E+2') = 100", T),
        ("as_number('-Infinity') = -1 / 0", T),
        ("as_number('')  = 0", U),
        ("as_number('.') = 0", U),
        ("as_number('1e') = 1", U),
        ("as_number('--5') = 5", U),
        ("as_number('(-5)') = 5", U),
        ("as_number('0x10') = 16", U),
        ("as_number('NaN') = 0", U),
        ("as_number('nan') = 0", U),
        ("as_number('inf') = 0", U),
        ("as_number('1 2') = 12", U),
        ("as_number(',1') = 1", U),
    ]);
}

#[test]
fn functions_on_types() {
    check(&[
        ("is_bool(true)", T),
        ("is_bool('true')", F),
        ("is_bool(none)", F),
        ("is_number(12.34)", T),
        ("is_number(key2)", F),
        ("is_number(3 / 0)", F),
        ("is_number(as_number(key1))", F),
        ("is_string(key1)", T),
        ("is_string(none)", F),
        ("is_string('a' || 'b')", T),
        ("is_defined(undefined)", F),
        ("IS_DEFINED(key1)", T),
        ("is_defined(key4)", F),
        ("is_defined(none = 'x')", F),
        ("is_defined(null)", T),
        ("is_null(null)", T),
        ("is_null(12.34)", F),
        ("is_null(none)", F),
        ("is_null(key1)", F),
        ("is_null(as_number(key1))", F),
    ]);
}

#[test]
fn functions_on_texts() {
    check(&[
        ("concat('a', 'b', 'c', 'd') = 'abcd'", T),
        ("CONCAT('a', key1, 'd') = 'avalue1d'", T),
        ("is_defined(concat('a', none))", F),
        ("is_defined('a' || none || 'd')", F),
        ("length('HELLO') = 5", T),
        ("length('') = 0", T),
        ("is_defined(length(none))", F),
        ("lower(key3) = 'value3'", T),
        ("upper(key1) = 'VALUE1'", T),
        ("substring('abc', 1) = 'bc'", T),
        ("substring('abc', 3) = ''", T),
        ("substring('abc', 4) = ''", U),
        ("substring('abc', -1) = ''", U),
        ("substring('abc', 1 % 0) = ''", U),
        ("substring('abc', 1, 1) = 'b'", T),
        ("substring('abc', 1, 0) = ''", T),
        ("substring('abc', 1, -2) = ''", U),
        ("substring('abc', 3, 0) = ''", U),
        ("substring('hello', 1, 4) = 'ello'", T),
        ("substring('hello', 1, 5) = 'ello'", U),
        ("substring('hello', 1.9, 1.9) = 'e'", T),
        ("index_of('abcdef', 'cd') = 2", T),
        ("index_of('abc', 'x') = -1", T),
        ("starts_with('abc', 'ab')", T),
        ("STARTS_WITH(key1, 'VAL')", F),
        ("startswith(key1, 'val')", T),
        ("ends_with('abc', 'bc')", T),
        ("EndsWith('abc', 'b')", F),
        ("contains('abc', 'b')", T),
        ("contains(none, 'b')", U),
        ("contains('abc', '')", T),
    ]);
}
