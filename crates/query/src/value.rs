//! Values and their types, and how two values compare.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::Rules;
use crate::syntax::Operator;

/// What is known of a value before any message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// The word `undefined`.
    Undefined,
    /// The word `null`.
    Null,
    /// True or false.
    Bool,
    /// A number.
    Number,
    /// A text; every property is one.
    Text,
    /// Part of a body or twin: known when the message comes.
    Any,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Undefined => "undefined",
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Any => "a value of the body",
        })
    }
}

/// A value. Numbers are never NaN: what is not a number is undefined.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'v> {
    Undefined,
    /// A path of the body that leads nowhere, by the edge hub's rules: as null, but for `is_null`.
    Missing,
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'v, str>),
    Array,
    Object,
}

impl Value<'_> {
    pub(crate) fn number(number: f64) -> Self {
        if number.is_nan() { Self::Undefined } else { Self::Number(number) }
    }

    pub(crate) fn is_defined(&self) -> bool {
        *self != Self::Undefined
    }

    /// The value if it is of this type, else undefined.
    pub(crate) fn narrowed(self, to: Type) -> Self {
        match (&self, to) {
            (Self::Bool(_), Type::Bool)
            | (Self::Number(_), Type::Number)
            | (Self::Text(_), Type::Text) => self,
            _ => Self::Undefined,
        }
    }

    /// Bytes that are read to look at it.
    pub(crate) fn cost(&self) -> usize {
        if let Self::Text(text) = self { text.len() } else { 0 }
    }

    /// Where values of different types stand to each other at an edge hub (er §5.2).
    fn rank(&self) -> u8 {
        match self {
            Self::Undefined => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
            Self::Null | Self::Missing => 4,
            Self::Array | Self::Object => 5,
        }
    }
}

/// Compares two values that were known to be of one type, or one of them null.
pub(crate) fn compare(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
    let is_null = |value: &Value<'_>| *value == Value::Null;
    match ordering(left, right) {
        Some(ordering) => holds(operator, ordering),
        None if is_null(left) && is_null(right) => holds(operator, Ordering::Equal),
        None => Value::Undefined,
    }
}

/// Compares two values of which one at least came with the message.
pub(crate) fn compare_any(
    operator: Operator,
    left: &Value<'_>,
    right: &Value<'_>,
    rules: Rules,
) -> Value<'static> {
    if !left.is_defined() || !right.is_defined() {
        return Value::Undefined;
    }
    match (ordering(left, right), rules) {
        (Some(ordering), _) => holds(operator, ordering),
        (None, Rules::Edge) => holds(operator, left.rank().cmp(&right.rank())),
        (None, Rules::Hub) => Value::Undefined,
    }
}

/// The order of two values of one type.
fn ordering(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.partial_cmp(right),
        (Value::Text(left), Value::Text(right)) => Some(ordinal(left, right)),
        _ => None,
    }
}

/// Texts compare by their UTF-16 units, as in .NET. Bytes have the same order, but for characters
/// beyond the first 65536.
fn ordinal(left: &str, right: &str) -> Ordering {
    let common = left.bytes().zip(right.bytes()).take_while(|(l, r)| l == r).count();
    let start = (0..=common).rev().find(|at| left.is_char_boundary(*at)).unwrap_or(0);
    match (left.get(start..), right.get(start..)) {
        (Some(left), Some(right)) => left.encode_utf16().cmp(right.encode_utf16()),
        _ => left.cmp(right),
    }
}

fn holds(operator: Operator, ordering: Ordering) -> Value<'static> {
    Value::Bool(match operator {
        Operator::Equal => ordering.is_eq(),
        Operator::NotEqual => ordering.is_ne(),
        Operator::Less => ordering.is_lt(),
        Operator::LessEqual => ordering.is_le(),
        Operator::Greater => ordering.is_gt(),
        Operator::GreaterEqual => ordering.is_ge(),
        _ => return Value::Undefined,
    })
}

/// Three-valued AND. Null with anything is null (er §5.2).
pub(crate) fn and(left: Value<'static>, right: Value<'static>) -> Value<'static> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (Value::Bool(false), _) | (_, Value::Bool(false)) => Value::Bool(false),
        (Value::Bool(true), Value::Bool(true)) => Value::Bool(true),
        _ => Value::Undefined,
    }
}

/// Three-valued OR. Null with anything is the other.
pub(crate) fn or(left: Value<'static>, right: Value<'static>) -> Value<'static> {
    match (left, right) {
        (Value::Null, other) | (other, Value::Null) => other,
        (Value::Bool(true), _) | (_, Value::Bool(true)) => Value::Bool(true),
        (Value::Bool(false), Value::Bool(false)) => Value::Bool(false),
        _ => Value::Undefined,
    }
}

/// Arithmetic. Null is zero that a product or quotient keeps (er §5.2).
pub(crate) fn arithmetic(
    operator: Operator,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Value<'static> {
    let null = |value: &Value<'_>| *value == Value::Null;
    let (Some(l), Some(r)) = (summand(left), summand(right)) else { return Value::Undefined };
    Value::number(match operator {
        Operator::Add => l + r,
        Operator::Subtract => l - r,
        Operator::Multiply if null(left) || null(right) => 0.0,
        Operator::Multiply => l * r,
        Operator::Divide if null(left) && !null(right) => 0.0,
        Operator::Divide if null(right) && !null(left) && l == 0.0 => f64::INFINITY,
        Operator::Divide => l / r,
        Operator::Remainder if null(left) && !null(right) => 0.0,
        Operator::Remainder => l % r,
        _ => f64::NAN,
    })
}

pub(crate) fn negated(value: &Value<'_>) -> Value<'static> {
    summand(value).map_or(Value::Undefined, |number| Value::Number(-number))
}

fn summand(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Null => Some(0.0),
        _ => None,
    }
}
