//! The functions: names, what they take and give, and what they do (er §5.2, sa §4.3).

use std::borrow::Cow;

use crate::value::{Type, Value};
use crate::{Rules, number};

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Abs,
    Exp,
    Power,
    Square,
    Ceiling,
    Floor,
    Sign,
    Sqrt,
    AsNumber,
    IsArray,
    IsBool,
    IsDefined,
    IsNull,
    /// `is_null` of a value of the body, as the original's edge hub has it (er §9, T-ISNULL): true
    /// for everything that is there.
    IsNullAtEdge,
    IsNumber,
    IsObject,
    IsPrimitive,
    IsString,
    Concat,
    Length,
    Lower,
    Upper,
    Substring,
    IndexOf,
    StartsWith,
    EndsWith,
    Contains,
}

/// What a function takes as one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter {
    Number,
    Text,
    TextOrNumber,
    Anything,
}

/// How a function is called.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    pub(crate) parameters: &'static [Parameter],
    /// Arguments that have to be there.
    pub(crate) least: usize,
    /// The last parameter may come again and again.
    pub(crate) repeats: bool,
    pub(crate) gives: Type,
}

impl Signature {
    /// The function of a name, in any case.
    pub(crate) fn find(name: &str, rules: Rules) -> Option<&'static Self> {
        let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        let name = alias.map_or(name, |(_, name)| name);
        SIGNATURES
            .iter()
            .find(|signature| signature.name.eq_ignore_ascii_case(name))
            .filter(|signature| rules == Rules::Hub || !signature.function.is_of_hub_only())
    }

    /// A function whose name is the same but for underscores.
    pub(crate) fn similar(name: &str, rules: Rules) -> Option<&'static str> {
        let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
        let name = plain(name);
        let mut known = SIGNATURES.iter().map(|signature| signature.name);
        known.find(|known| plain(known) == name && Self::find(known, rules).is_some())
    }

    /// What it takes as its argument of this number.
    pub(crate) fn parameter(&self, index: usize) -> Option<Parameter> {
        let last = self.parameters.last().filter(|_| self.repeats);
        self.parameters.get(index).or(last).copied()
    }

    /// How many arguments it takes, in words.
    pub(crate) fn takes(&self) -> String {
        let most = self.parameters.len();
        match (self.least, most) {
            (least, _) if self.repeats => format!("at least {least} arguments"),
            (1, 1) => "one argument".to_owned(),
            (least, most) if least == most => format!("{most} arguments"),
            (least, most) => format!("{least} or {most} arguments"),
        }
    }
}

impl Function {
    fn is_of_hub_only(self) -> bool {
        matches!(self, Self::IsArray | Self::IsObject | Self::IsPrimitive)
    }

    /// Its value; arguments are of the types that it takes, or undefined.
    pub(crate) fn call<'v>(self, arguments: &[Value<'v>]) -> Value<'v> {
        match arguments {
            [argument] => self.of_one(argument),
            [Value::Text(left), Value::Text(right)] => self.of_texts(left, right),
            [Value::Number(base), Value::Number(exponent)] if self == Self::Power => {
                Value::number(base.powf(*exponent))
            }
            [Value::Text(text), Value::Number(start)] => substring(text, *start, None),
            [Value::Text(text), Value::Number(start), Value::Number(length)] => {
                substring(text, *start, Some(*length))
            }
            _ => Value::Undefined,
        }
    }

    fn of_one<'v>(self, argument: &Value<'v>) -> Value<'v> {
        let is = |answer: bool| Value::Bool(answer);
        match (self, argument) {
            (Self::IsDefined, _) => is(argument.is_defined()),
            (Self::IsBool, _) => is(matches!(argument, Value::Bool(_))),
            // An infinite number is none (the original's tests).
            (Self::IsNumber, _) => {
                is(matches!(argument, Value::Number(number) if number.is_finite()))
            }
            (Self::IsString, _) => is(matches!(argument, Value::Text(_))),
            (Self::IsArray, _) => is(*argument == Value::Array),
            (Self::IsObject, _) => is(*argument == Value::Object),
            (Self::IsPrimitive, _) => {
                let is_composite = matches!(argument, Value::Array | Value::Object);
                is(argument.is_defined() && !is_composite)
            }
            (Self::IsNull, _) => is(*argument == Value::Null),
            (Self::IsNullAtEdge, Value::Undefined) => Value::Undefined,
            (Self::IsNullAtEdge, _) => is(*argument != Value::Missing),
            (Self::AsNumber, Value::Text(text)) => {
                number::from_text(text).map_or(Value::Undefined, Value::number)
            }
            (Self::AsNumber, Value::Number(number)) => Value::Number(*number),
            (_, Value::Number(number)) => self.of_number(*number),
            (_, Value::Text(text)) => self.of_text(text),
            _ => Value::Undefined,
        }
    }

    fn of_number(self, number: f64) -> Value<'static> {
        Value::number(match self {
            Self::Abs => number.abs(),
            Self::Exp => number.exp(),
            Self::Square => number * number,
            Self::Ceiling => number.ceil(),
            Self::Floor => number.floor(),
            Self::Sign if number == 0.0 => 0.0,
            Self::Sign => number.signum(),
            Self::Sqrt => number.sqrt(),
            _ => f64::NAN,
        })
    }

    fn of_text<'v>(self, text: &str) -> Value<'v> {
        match self {
            Self::Length => Value::Number(units(text) as f64),
            Self::Lower => Value::Text(Cow::Owned(text.to_lowercase())),
            Self::Upper => Value::Text(Cow::Owned(text.to_uppercase())),
            _ => Value::Undefined,
        }
    }

    fn of_texts<'v>(self, left: &str, right: &str) -> Value<'v> {
        match self {
            Self::StartsWith => Value::Bool(left.starts_with(right)),
            Self::EndsWith => Value::Bool(left.ends_with(right)),
            Self::Contains => Value::Bool(left.contains(right)),
            Self::IndexOf => {
                let before = left.find(right).and_then(|at| left.get(..at));
                Value::Number(before.map_or(-1.0, |before| units(before) as f64))
            }
            _ => Value::Undefined,
        }
    }
}

/// Texts are as long as their UTF-16 form, as in .NET.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Undefined when out of range, or when it would cut a character in halves.
fn substring<'v>(text: &str, start: f64, length: Option<f64>) -> Value<'v> {
    let total = units(text) as f64;
    let fits = match length {
        None => (0.0..=total).contains(&start),
        Some(length) => (0.0..total).contains(&start) && (0.0..=total - start).contains(&length),
    };
    if !fits {
        return Value::Undefined;
    }
    let from = start.trunc();
    let to = length.map_or(total, |length| from + length.trunc());
    match (byte_of_unit(text, from), byte_of_unit(text, to)) {
        (Some(from), Some(to)) => {
            let part = text.get(from..to).unwrap_or_default();
            Value::Text(Cow::Owned(part.to_owned()))
        }
        _ => Value::Undefined,
    }
}

fn byte_of_unit(text: &str, unit: f64) -> Option<usize> {
    let mut seen = 0.0;
    for (at, c) in text.char_indices() {
        if seen >= unit {
            return (seen == unit).then_some(at);
        }
        seen += c.len_utf16() as f64;
    }
    (seen == unit).then_some(text.len())
}

/// Twin queries write these two without underscores; both ways work in both (sa §4.2).
const ALIASES: [(&str, &str); 2] = [("startswith", "starts_with"), ("endswith", "ends_with")];

const fn signature(
    name: &'static str,
    function: Function,
    parameters: &'static [Parameter],
    gives: Type,
) -> Signature {
    Signature { name, function, parameters, least: parameters.len(), repeats: false, gives }
}

const NUMBER: &[Parameter] = &[Parameter::Number];
const TEXT: &[Parameter] = &[Parameter::Text];
const TEXTS: &[Parameter] = &[Parameter::Text, Parameter::Text];
const ANYTHING: &[Parameter] = &[Parameter::Anything];

const SIGNATURES: &[Signature] = &[
    signature("abs", Function::Abs, NUMBER, Type::Number),
    signature("exp", Function::Exp, NUMBER, Type::Number),
    signature("power", Function::Power, &[Parameter::Number, Parameter::Number], Type::Number),
    signature("square", Function::Square, NUMBER, Type::Number),
    signature("ceiling", Function::Ceiling, NUMBER, Type::Number),
    signature("floor", Function::Floor, NUMBER, Type::Number),
    signature("sign", Function::Sign, NUMBER, Type::Number),
    signature("sqrt", Function::Sqrt, NUMBER, Type::Number),
    signature("as_number", Function::AsNumber, &[Parameter::TextOrNumber], Type::Number),
    signature("is_array", Function::IsArray, ANYTHING, Type::Bool),
    signature("is_bool", Function::IsBool, ANYTHING, Type::Bool),
    signature("is_defined", Function::IsDefined, ANYTHING, Type::Bool),
    signature("is_null", Function::IsNull, ANYTHING, Type::Bool),
    signature("is_number", Function::IsNumber, ANYTHING, Type::Bool),
    signature("is_object", Function::IsObject, ANYTHING, Type::Bool),
    signature("is_primitive", Function::IsPrimitive, ANYTHING, Type::Bool),
    signature("is_string", Function::IsString, ANYTHING, Type::Bool),
    Signature { repeats: true, ..signature("concat", Function::Concat, TEXTS, Type::Text) },
    signature("length", Function::Length, TEXT, Type::Number),
    signature("lower", Function::Lower, TEXT, Type::Text),
    signature("upper", Function::Upper, TEXT, Type::Text),
    Signature {
        least: 2,
        ..signature(
            "substring",
            Function::Substring,
            &[Parameter::Text, Parameter::Number, Parameter::Number],
            Type::Text,
        )
    },
    signature("index_of", Function::IndexOf, TEXTS, Type::Number),
    signature("starts_with", Function::StartsWith, TEXTS, Type::Bool),
    signature("ends_with", Function::EndsWith, TEXTS, Type::Bool),
    signature("contains", Function::Contains, TEXTS, Type::Bool),
];
