//! Evaluates a program on a subject.
//!
//! The time is bounded: each part of the program runs at most once, and texts count against
//! [`WORK_BYTES_MAX`]. The right sides of `AND`, `OR` and `??` run only if they matter, so that
//! a body is not read when a property has decided.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::Value as Json;

use crate::function::Function;
use crate::program::{PathStep, Program, Reference, Step};
use crate::subject::Subject;
use crate::syntax::{Literal, Operator};
use crate::value::{self, Value};
use crate::{Rules, Verdict, WORK_BYTES_MAX};

/// What a program says of a subject.
pub(crate) fn verdict(program: &Program, subject: &dyn Subject, rules: Rules) -> Verdict {
    let evaluation = Evaluation { subject, rules, work_left: Cell::new(WORK_BYTES_MAX) };
    match evaluation.run(program) {
        _ if evaluation.is_exhausted() => Verdict::Undefined,
        Value::Bool(true) => Verdict::True,
        // A literal null: what came with the message was narrowed (er §5.2).
        Value::Bool(false) | Value::Null => Verdict::False,
        _ => Verdict::Undefined,
    }
}

struct Evaluation<'e> {
    subject: &'e dyn Subject,
    rules: Rules,
    /// Bytes of texts that may still be worked through.
    work_left: Cell<usize>,
}

impl<'e> Evaluation<'e> {
    fn run(&self, program: &'e Program) -> Value<'e> {
        if self.is_exhausted() {
            return Value::Undefined;
        }
        match program {
            Program::Constant(literal) => constant(literal),
            Program::Read(reference) => self.read(reference),
            Program::Narrow(to, of) => self.run(of).narrowed(*to),
            Program::Negate(of) => value::negated(&self.run(of)),
            Program::Not(of) => match self.run(of) {
                Value::Bool(truth) => Value::Bool(!truth),
                Value::Null => Value::Bool(true),
                _ => Value::Undefined,
            },
            Program::Chain { first, steps } => self.chain(first, steps),
            Program::Call(Function::Concat, arguments) => self.concat(arguments),
            Program::Call(function, arguments) => {
                let arguments: Vec<Value<'e>> =
                    arguments.iter().map(|argument| self.run(argument)).collect();
                arguments.iter().for_each(|argument| self.work(argument.cost()));
                function.call(&arguments)
            }
        }
    }

    fn chain(&self, first: &'e Program, steps: &'e [Step]) -> Value<'e> {
        let mut left = self.run(first);
        for step in steps {
            if let Some(to) = step.narrow_left {
                left = left.narrowed(to);
            }
            left = self.step(left, step);
        }
        left
    }

    fn step(&self, left: Value<'e>, step: &'e Step) -> Value<'e> {
        let is_null = |program: &Program| *program == Program::Constant(Literal::Null);
        match (step.operator, &left) {
            (Operator::And, Value::Bool(false)) if !is_null(&step.operand) => return left,
            (Operator::Or, Value::Bool(true)) => return left,
            (Operator::Coalesce, left_value) if left_value.is_defined() => return left,
            _ => {}
        }
        let right = self.run(&step.operand);
        match step.operator {
            Operator::Coalesce => right,
            Operator::And => value::and(truth(left), truth(right)),
            Operator::Or => value::or(truth(left), truth(right)),
            Operator::Concat => {
                self.work(left.cost() + right.cost());
                match (left, right) {
                    (Value::Text(left), Value::Text(right)) => Value::Text(left + right),
                    _ => Value::Undefined,
                }
            }
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder => value::arithmetic(step.operator, &left, &right),
            Operator::Equal
            | Operator::NotEqual
            | Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual => {
                self.work(left.cost().min(right.cost()));
                match step.dynamic {
                    true => value::compare_any(step.operator, &left, &right, self.rules),
                    false => value::compare(step.operator, &left, &right),
                }
            }
        }
    }

    fn concat(&self, arguments: &'e [Program]) -> Value<'e> {
        let mut joined = String::new();
        for argument in arguments {
            let Value::Text(text) = self.run(argument) else { return Value::Undefined };
            self.work(text.len());
            if self.is_exhausted() {
                return Value::Undefined;
            }
            joined.push_str(&text);
        }
        Value::Text(Cow::Owned(joined))
    }

    fn read(&self, reference: &'e Reference) -> Value<'e> {
        let text = |text: Option<Cow<'e, str>>| text.map_or(Value::Undefined, Value::Text);
        match reference {
            Reference::Property(name) => text(self.subject.property(name)),
            Reference::System(name) => text(self.subject.system_property(name)),
            Reference::Body(path) => self.lookup(self.subject.body(), path),
            Reference::Twin(path) => self.lookup(self.subject.twin(), path),
            Reference::Either(first, second) => match self.read(first) {
                Value::Undefined => self.read(second),
                value => value,
            },
        }
    }

    fn lookup(&self, document: Option<&'e Json>, path: &[PathStep]) -> Value<'e> {
        let Some(document) = document else { return Value::Undefined };
        let found = path.iter().try_fold(document, |value, step| match step {
            PathStep::Name(name) => value.as_object()?.get(name),
            PathStep::Index(index) => value.as_array()?.get(*index),
        });
        match (found, self.rules) {
            (None, Rules::Edge) => Value::Missing,
            (None, Rules::Hub) | (Some(Json::Object(_) | Json::Array(_)), Rules::Edge) => {
                Value::Undefined
            }
            (Some(Json::Object(_)), Rules::Hub) => Value::Object,
            (Some(Json::Array(_)), Rules::Hub) => Value::Array,
            (Some(Json::Null), _) => Value::Null,
            (Some(Json::Bool(truth)), _) => Value::Bool(*truth),
            (Some(Json::Number(number)), _) => {
                number.as_f64().map_or(Value::Undefined, Value::number)
            }
            (Some(Json::String(text)), _) => Value::Text(Cow::Borrowed(text)),
        }
    }

    /// Counts bytes that are read or made.
    fn work(&self, bytes: usize) {
        self.work_left.set(self.work_left.get().saturating_sub(bytes));
    }

    fn is_exhausted(&self) -> bool {
        self.work_left.get() == 0
    }
}

fn constant(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Undefined => Value::Undefined,
        Literal::Null => Value::Null,
        Literal::Bool(truth) => Value::Bool(*truth),
        Literal::Number(number) => Value::number(*number),
        Literal::Text(text) => Value::Text(Cow::Borrowed(text)),
    }
}

/// Operands of AND and OR are truths, null or undefined.
fn truth(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Bool(truth) => Value::Bool(truth),
        Value::Null => Value::Null,
        _ => Value::Undefined,
    }
}
