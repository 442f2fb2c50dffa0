//! A checked expression, as it is evaluated.

use crate::function::Function;
use crate::syntax::{Literal, Operator};
use crate::value::Type;

/// A checked expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Program {
    Constant(Literal),
    Read(Reference),
    /// The value if it is of the type, else undefined.
    Narrow(Type, Box<Program>),
    Negate(Box<Program>),
    Not(Box<Program>),
    Chain {
        first: Box<Program>,
        steps: Vec<Step>,
    },
    Call(Function, Vec<Program>),
}

/// One operator and its right side; the left one is what was computed so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) operator: Operator,
    /// The left side counts only if it is of this type.
    pub(crate) narrow_left: Option<Type>,
    /// Types are known only when the message comes.
    pub(crate) dynamic: bool,
    pub(crate) operand: Program,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reference {
    /// An application property, by its name.
    Property(String),
    /// A system property, by its name without the `$`.
    System(String),
    Body(Path),
    Twin(Path),
    /// The first if it is defined, else the second.
    Either(Box<Reference>, Box<Reference>),
}

/// Steps into a document.
pub(crate) type Path = Vec<PathStep>;

/// A name, or a place in an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PathStep {
    Name(String),
    Index(usize),
}

impl Program {
    pub(crate) fn is_true(&self) -> bool {
        *self == Self::Constant(Literal::Bool(true))
    }
}
