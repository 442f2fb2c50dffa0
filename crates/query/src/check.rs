//! From an expression to a program: names, functions and types.
//!
//! Properties are texts, literals have their types, and what comes from a body or twin is known
//! only with the message. Two types that never compare are refused here (er §5.2); the original
//! finds them after it reported success (er §9, T-ROUTE-TYPE).

use crate::error::{Error, Problem, shortened};
use crate::function::{Function, Parameter, Signature};
use crate::program::{Path, PathStep, Program, Reference, Step};
use crate::syntax::{Link, Literal, Node, Operator, Syntax};
use crate::value::Type;
use crate::{Rules, number};

/// The program of a condition: true, false or undefined when it is evaluated.
pub(crate) fn condition(text: &str, syntax: &Syntax, rules: Rules) -> Result<Program, Error> {
    let checker = Checker { text, rules };
    let (program, given) = checker.expression(syntax)?;
    match given {
        Type::Bool | Type::Null | Type::Undefined => Ok(program),
        Type::Any => Ok(narrowed(program, Type::Bool)),
        Type::Number | Type::Text => {
            let hint = (given == Type::Text).then(|| checker.comparison_hint(syntax));
            Err(Error::new(syntax.span.start, Problem::NotACondition { given, hint }))
        }
    }
}

struct Checker<'t> {
    text: &'t str,
    rules: Rules,
}

/// One side of an operator.
struct Side<'s> {
    given: Type,
    at: usize,
    /// How it was written; none for what was computed before.
    syntax: Option<&'s Syntax>,
}

/// What an operator makes of the types of its sides.
struct Joined {
    gives: Type,
    narrow_left: Option<Type>,
    narrow_right: Option<Type>,
    dynamic: bool,
}

impl Joined {
    fn gives(gives: Type) -> Self {
        Self { gives, narrow_left: None, narrow_right: None, dynamic: false }
    }
}

impl Checker<'_> {
    fn expression(&self, syntax: &Syntax) -> Result<(Program, Type), Error> {
        match &syntax.node {
            Node::Literal(literal) => Ok((Program::Constant(literal.clone()), type_of(literal))),
            Node::Name(name) => Ok((Program::Read(Reference::Property(name.clone())), Type::Text)),
            Node::Dollar(name) => self.dollar(name, syntax.span.start, false),
            Node::Braced(name) => self.dollar(name, syntax.span.start, true),
            Node::Call { name, arguments } => self.call(name, arguments, syntax.span.start),
            Node::Negate(operand) => {
                let (program, given) = self.expression(operand)?;
                self.operand(&Side::of(operand, given), "-", &NUMBERS, "a number", |source| {
                    format!("write -as_number({source})")
                })?;
                let operand = maybe_narrowed(program, given, Type::Number);
                Ok((Program::Negate(Box::new(operand)), Type::Number))
            }
            Node::Not(operand) => {
                let (program, given) = self.expression(operand)?;
                self.operand(&Side::of(operand, given), "NOT", &TRUTHS, "true or false", |_| {
                    "NOT comes before = and the like; write NOT (…)".to_owned()
                })?;
                let operand = maybe_narrowed(program, given, Type::Bool);
                Ok((Program::Not(Box::new(operand)), Type::Bool))
            }
            Node::Chain { first, rest } => self.chain(first, rest),
        }
    }

    fn chain(&self, first: &Syntax, rest: &[Link]) -> Result<(Program, Type), Error> {
        let (start, given) = self.expression(first)?;
        let mut left = Side::of(first, given);
        let mut steps = Vec::with_capacity(rest.len());
        for link in rest {
            let (program, given) = self.expression(&link.operand)?;
            let right = Side::of(&link.operand, given);
            let joined = self.join(link, &left, &right)?;
            let operand = match joined.narrow_right {
                Some(to) => narrowed(program, to),
                None => program,
            };
            steps.push(Step {
                operator: link.operator,
                narrow_left: joined.narrow_left,
                dynamic: joined.dynamic,
                operand,
            });
            left = Side { given: joined.gives, at: link.at, syntax: None };
        }
        Ok((Program::Chain { first: Box::new(start), steps }, left.given))
    }

    fn join(&self, link: &Link, left: &Side<'_>, right: &Side<'_>) -> Result<Joined, Error> {
        let operator = link.operator;
        let both = |to: Type, gives: Type| Joined {
            narrow_left: (left.given == Type::Any).then_some(to),
            narrow_right: (right.given == Type::Any).then_some(to),
            ..Joined::gives(gives)
        };
        match operator {
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder => {
                for side in [left, right] {
                    self.operand(side, operator.text(), &NUMBERS, "numbers", |source| {
                        format!("write as_number({source})")
                    })?;
                }
                Ok(both(Type::Number, Type::Number))
            }
            Operator::Concat => {
                for side in [left, right] {
                    self.operand(side, "||", &TEXTS, "texts", |_| {
                        "for one or the other write OR".to_owned()
                    })?;
                }
                Ok(both(Type::Text, Type::Text))
            }
            Operator::And | Operator::Or => {
                for side in [left, right] {
                    self.operand(side, operator.text(), &TRUTHS, "true or false", |source| {
                        format!("compare it, such as {source} = 'true'")
                    })?;
                }
                let nulls = [left, right].iter().filter(|side| side.given == Type::Null).count();
                let is_null = nulls == 2 || (nulls == 1 && operator == Operator::And);
                Ok(both(Type::Bool, if is_null { Type::Null } else { Type::Bool }))
            }
            Operator::Coalesce => match (left.given, right.given) {
                (left, right) if left == right => Ok(Joined::gives(left)),
                (Type::Any, _) | (_, Type::Any) => Ok(Joined::gives(Type::Any)),
                (Type::Undefined, other) | (other, Type::Undefined) => Ok(Joined::gives(other)),
                _ => Err(self.mixed(link, left, right)),
            },
            Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual => match (left.given, right.given) {
                (Type::Any, _) | (_, Type::Any) => {
                    Ok(Joined { dynamic: true, ..Joined::gives(Type::Bool) })
                }
                (left, right) if left == right => Ok(Joined::gives(Type::Bool)),
                (Type::Null, _) | (_, Type::Null) => Ok(Joined::gives(Type::Bool)),
                _ => Err(self.mixed(link, left, right)),
            },
        }
    }

    /// Refuses a side that is of no wanted type.
    fn operand(
        &self,
        side: &Side<'_>,
        of: &'static str,
        wanted: &[Type],
        takes: &'static str,
        hint: impl FnOnce(&str) -> String,
    ) -> Result<(), Error> {
        if wanted.contains(&side.given) {
            return Ok(());
        }
        let source = side.syntax.map(|syntax| self.source(syntax));
        let hint = source.filter(|_| side.given == Type::Text).map(|source| hint(&source));
        Err(Error::new(side.at, Problem::Operand { of, takes, given: side.given, hint }))
    }

    fn mixed(&self, link: &Link, left: &Side<'_>, right: &Side<'_>) -> Error {
        let hint = |text: &Side<'_>, other: &Side<'_>| {
            let (text, other) = (text.syntax?, other.given);
            let is_literal = matches!(text.node, Node::Literal(_));
            match other {
                Type::Number if is_literal => Some("write the number without quotes".to_owned()),
                Type::Number => Some(format!("write as_number({})", self.source(text))),
                Type::Bool if is_literal => Some("write true or false without quotes".to_owned()),
                Type::Bool => Some(format!("write {} = 'true'", self.source(text))),
                _ => None,
            }
        };
        let hint = match (left.given, right.given) {
            (Type::Text, _) => hint(left, right),
            (_, Type::Text) => hint(right, left),
            _ => None,
        };
        let operator = link.operator.text();
        let problem = Problem::Mixed { operator, left: left.given, right: right.given, hint };
        Error::new(left.syntax.map_or(link.at, |syntax| syntax.span.start), problem)
    }

    fn call(&self, name: &str, arguments: &[Syntax], at: usize) -> Result<(Program, Type), Error> {
        let Some(signature) = Signature::find(name, self.rules) else {
            return Err(Error::new(at, self.unknown_function(name)));
        };
        let most = if signature.repeats { usize::MAX } else { signature.parameters.len() };
        if !(signature.least..=most).contains(&arguments.len()) {
            return Err(Error::new(
                at,
                Problem::ArgumentCount {
                    function: signature.name,
                    takes: signature.takes(),
                    given: arguments.len(),
                },
            ));
        }
        let mut programs = Vec::with_capacity(arguments.len());
        let mut is_of_body = false;
        for (index, argument) in arguments.iter().enumerate() {
            let (program, given) = self.expression(argument)?;
            let side = Side::of(argument, given);
            let as_number = |source: &str| format!("write as_number({source})");
            is_of_body |= given == Type::Any;
            programs.push(match signature.parameter(index) {
                Some(Parameter::Number) => {
                    let wanted = [Type::Number, Type::Any];
                    self.operand(&side, signature.name, &wanted, "a number", as_number)?;
                    maybe_narrowed(program, given, Type::Number)
                }
                Some(Parameter::Text) => {
                    self.operand(&side, signature.name, &TEXTS, "a text", as_number)?;
                    maybe_narrowed(program, given, Type::Text)
                }
                Some(Parameter::TextOrNumber) => {
                    let wanted = [Type::Text, Type::Number, Type::Any];
                    self.operand(&side, signature.name, &wanted, "a text or number", as_number)?;
                    program
                }
                Some(Parameter::Anything) | None => program,
            });
        }
        let function = match signature.function {
            Function::IsNull if is_of_body && self.rules == Rules::Edge => Function::IsNullAtEdge,
            function => function,
        };
        Ok((Program::Call(function, programs), signature.gives))
    }

    fn unknown_function(&self, name: &str) -> Problem {
        let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        let elsewhere = |reason| Problem::FunctionElsewhere { name: shortened(name), reason };
        if is(&["count", "avg", "sum", "min", "max"]) {
            return elsewhere("counts over many; a condition looks at one message");
        }
        if is(&["twin_change_includes"]) {
            return elsewhere("works in routes of a hub's twin changes only");
        }
        if is(&["array_contains"]) {
            return elsewhere("works in queries only");
        }
        if Signature::find(name, Rules::Hub).is_some() {
            return elsewhere("works in routes of a hub only");
        }
        let similar = Signature::similar(name, self.rules);
        let hint = similar.map(|similar| format!("did you mean {similar}?"));
        Problem::UnknownFunction { name: shortened(name), hint }
    }

    /// `$name`, or `{$name}`, which is never an application property.
    fn dollar(&self, name: &str, at: usize, braced: bool) -> Result<(Program, Type), Error> {
        let read = |reference: Reference, given: Type| Ok((Program::Read(reference), given));
        let own = |reference: Reference| match braced {
            true => reference,
            false => {
                let property = Reference::Property(name.to_owned());
                Reference::Either(Box::new(property), Box::new(reference))
            }
        };
        if let Some(path) = document(name, "$body") {
            let body = Reference::Body(self.path(name, path, at, BODY_EXAMPLE)?);
            // No application property has brackets in its name.
            let is_body_only = self.rules == Rules::Hub || path.contains('[');
            return read(if is_body_only { body } else { own(body) }, Type::Any);
        }
        if let Some(path) = document(name, "$twin") {
            if self.rules == Rules::Edge {
                return Err(Error::new(at, Problem::Twin));
            }
            return read(Reference::Twin(self.path(name, path, at, TWIN_EXAMPLE)?), Type::Any);
        }
        let plain = name.strip_prefix('$').unwrap_or(name);
        if plain.is_empty() || plain.contains(['[', ']']) {
            let problem = Problem::Path { found: shortened(name), example: BODY_EXAMPLE };
            return Err(Error::new(at, problem));
        }
        let system = Reference::System(plain.to_owned());
        match self.rules {
            Rules::Edge => read(own(system), Type::Text),
            Rules::Hub => {
                let property = Reference::Property(plain.to_owned());
                read(Reference::Either(Box::new(system), Box::new(property)), Type::Text)
            }
        }
    }

    /// `a.b[0].c`: names with places in arrays, joined by points.
    fn path(
        &self,
        whole: &str,
        path: &str,
        at: usize,
        example: &'static str,
    ) -> Result<Path, Error> {
        let refuse = || Error::new(at, Problem::Path { found: shortened(whole), example });
        let mut steps = Vec::new();
        for segment in path.strip_prefix('.').ok_or_else(refuse)?.split('.') {
            let (name, mut places) =
                segment.split_at(segment.find(['[', ']']).unwrap_or(segment.len()));
            if name.is_empty() {
                return Err(refuse());
            }
            steps.push(PathStep::Name(name.to_owned()));
            while let Some(inside) = places.strip_prefix('[') {
                let (digits, rest) = inside.split_once(']').ok_or_else(refuse)?;
                let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
                let index = is_number.then(|| digits.parse().ok()).flatten();
                steps.push(PathStep::Index(index.ok_or_else(refuse)?));
                places = rest;
            }
            if !places.is_empty() {
                return Err(refuse());
            }
        }
        Ok(steps)
    }

    /// How to make a condition of a text or number.
    fn comparison_hint(&self, syntax: &Syntax) -> String {
        match &syntax.node {
            Node::Name(name) if KEYWORDS.iter().any(|word| name.eq_ignore_ascii_case(word)) => {
                format!("write {} in lower case", name.to_ascii_lowercase())
            }
            Node::Name(name) if number::from_text(name).is_none() && name.contains(SIGNS) => {
                format!("operators want spaces around them, or {} is a name", shortened(name))
            }
            _ => format!("compare it, such as {} = 'high'", self.source(syntax)),
        }
    }

    fn source(&self, syntax: &Syntax) -> String {
        shortened(self.text.get(syntax.span.clone()).unwrap_or_default())
    }
}

impl<'s> Side<'s> {
    fn of(syntax: &'s Syntax, given: Type) -> Self {
        Self { given, at: syntax.span.start, syntax: Some(syntax) }
    }
}

/// What follows a document's name: empty, or beginning with a point or bracket.
fn document<'n>(name: &'n str, document: &str) -> Option<&'n str> {
    let (start, path) = name.split_at_checked(document.len())?;
    let is_it = start.eq_ignore_ascii_case(document);
    (is_it && (path.is_empty() || path.starts_with(['.', '[']))).then_some(path)
}

fn type_of(literal: &Literal) -> Type {
    match literal {
        Literal::Undefined => Type::Undefined,
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Number(_) => Type::Number,
        Literal::Text(_) => Type::Text,
    }
}

fn narrowed(program: Program, to: Type) -> Program {
    Program::Narrow(to, Box::new(program))
}

fn maybe_narrowed(program: Program, given: Type, to: Type) -> Program {
    if given == Type::Any { narrowed(program, to) } else { program }
}

/// Arithmetic takes null for zero.
const NUMBERS: [Type; 3] = [Type::Number, Type::Null, Type::Any];
const TEXTS: [Type; 2] = [Type::Text, Type::Any];
const TRUTHS: [Type; 4] = [Type::Bool, Type::Null, Type::Undefined, Type::Any];
/// Words that mean something in lower case only.
const KEYWORDS: [&str; 4] = ["true", "false", "null", "undefined"];
const SIGNS: [char; 4] = ['-', '+', '*', '%'];
const BODY_EXAMPLE: &str = "$body.weather.temperature or $body.values[0]";
const TWIN_EXAMPLE: &str = "$twin.tags.building or $twin.properties.desired.limit";
