//! Expressions as they were written: no names resolved, no types known.

use std::ops::Range;

/// An expression and the bytes of its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Syntax {
    pub(crate) span: Range<usize>,
    pub(crate) node: Node,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Literal(Literal),
    /// `name`
    Name(String),
    /// `$name` or `$body.a[0].b`, with the `$`
    Dollar(String),
    /// `{$name}`, with the `$`
    Braced(String),
    /// `name(argument, …)`
    Call {
        name: String,
        arguments: Vec<Syntax>,
    },
    /// `-operand`
    Negate(Box<Syntax>),
    /// `NOT operand`
    Not(Box<Syntax>),
    /// Operators of one precedence, applied from the left. A chain is one node, so that a long one
    /// is not a deep one.
    Chain {
        first: Box<Syntax>,
        rest: Vec<Link>,
    },
}

/// One operator of a chain with what follows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Link {
    pub(crate) at: usize,
    pub(crate) operator: Operator,
    pub(crate) operand: Syntax,
}

/// A value that stands in the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
}

/// An operator between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Coalesce,
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Concat,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Coalesce => "??",
            Self::Or => "OR",
            Self::And => "AND",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Concat => "||",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}
