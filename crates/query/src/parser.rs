//! From tokens to an expression.
//!
//! Precedence, lowest first: `??`, `OR`, `AND`, `= !=`, `< <= > >=`, `+ - ||`, `* / %`, and `NOT` and
//! the sign highest (er §5.2). All join to the left.

use crate::DEPTH_MAX;
use crate::error::{Error, Problem, shortened};
use crate::lexer::{Placed, Token};
use crate::syntax::{Link, Literal, Node, Operator, Syntax};

/// The expression that the tokens are; the text ends at byte `end`.
pub(crate) fn parse(tokens: &[Placed], end: usize) -> Result<Syntax, Error> {
    if tokens.is_empty() {
        return Err(Error::new(end, Problem::Empty));
    }
    let mut parser = Parser { tokens, end, next: 0, depth: 0 };
    let syntax = parser.level(0)?;
    match parser.peek() {
        None => Ok(syntax),
        Some(Token::Close) => Err(parser.expected("the end (this closes nothing)")),
        Some(_) => Err(parser.expected("an operator such as = or AND, or the end")),
    }
}

struct Parser<'t> {
    tokens: &'t [Placed],
    end: usize,
    next: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    /// A chain of the operators of one precedence, and of all higher ones.
    fn level(&mut self, level: usize) -> Result<Syntax, Error> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let first = self.level(level + 1)?;
        let mut rest = Vec::new();
        while let Some(Token::Operator(operator)) = self.peek()
            && operators.contains(operator)
        {
            let at = self.at();
            self.next += 1;
            let operand = self.level(level + 1)?;
            rest.push(Link { at, operator: *operator, operand });
        }
        let Some(last) = rest.last() else { return Ok(first) };
        let span = first.span.start..last.operand.span.end;
        Ok(Syntax { span, node: Node::Chain { first: Box::new(first), rest } })
    }

    fn unary(&mut self) -> Result<Syntax, Error> {
        let start = self.at();
        let wrap: fn(Box<Syntax>) -> Node = match self.peek() {
            Some(Token::Operator(Operator::Subtract)) => Node::Negate,
            Some(Token::Not) => Node::Not,
            _ => return self.primary(),
        };
        self.next += 1;
        let operand = self.deeper(Self::unary)?;
        Ok(Syntax { span: start..operand.span.end, node: wrap(Box::new(operand)) })
    }

    fn primary(&mut self) -> Result<Syntax, Error> {
        let start = self.at();
        let Some(token) = self.peek() else { return Err(self.expected(VALUE)) };
        let node = match token {
            Token::True => Node::Literal(Literal::Bool(true)),
            Token::False => Node::Literal(Literal::Bool(false)),
            Token::Null => Node::Literal(Literal::Null),
            Token::Undefined => Node::Literal(Literal::Undefined),
            Token::Number(number) => Node::Literal(Literal::Number(*number)),
            Token::Text(text) => Node::Literal(Literal::Text(text.clone())),
            Token::Dollar(name) => Node::Dollar(name.clone()),
            Token::Name(name) => {
                self.next += 1;
                if !self.takes(&Token::Open) {
                    return Ok(self.since(start, Node::Name(name.clone())));
                }
                let arguments = self.deeper(Self::arguments)?;
                return Ok(self.since(start, Node::Call { name: name.clone(), arguments }));
            }
            Token::BraceOpen => {
                self.next += 1;
                let Some(Token::Dollar(name)) = self.peek() else {
                    return Err(self.expected("a system property such as $contentType after {"));
                };
                self.next += 1;
                self.expect(&Token::BraceClose, "} after the system property")?;
                return Ok(self.since(start, Node::Braced(name.clone())));
            }
            Token::Open => {
                self.next += 1;
                let inside = self.deeper(|parser| parser.level(0))?;
                self.expect(&Token::Close, "an operator, or ) for the ( before")?;
                return Ok(self.since(start, inside.node));
            }
            Token::Not | Token::Operator(_) | Token::Close | Token::BraceClose | Token::Comma => {
                return Err(self.expected(VALUE));
            }
        };
        self.next += 1;
        Ok(self.since(start, node))
    }

    /// What stands between `(`, which is taken, and `)`.
    fn arguments(&mut self) -> Result<Vec<Syntax>, Error> {
        let mut arguments = Vec::new();
        if self.takes(&Token::Close) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.level(0)?);
            if !self.takes(&Token::Comma) {
                break;
            }
        }
        self.expect(&Token::Close, "a comma, or ) after the arguments")?;
        Ok(arguments)
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::new(self.at(), Problem::TooDeep));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// What was read from a byte on.
    fn since(&self, start: usize, node: Node) -> Syntax {
        let last = self.next.checked_sub(1).and_then(|last| self.tokens.get(last));
        Syntax { span: start..last.map_or(start, |last| last.end), node }
    }

    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.next).map(|placed| &placed.token)
    }

    /// The byte where the next token begins.
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |placed| placed.at)
    }

    fn takes(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, token: &Token, expected: &'static str) -> Result<(), Error> {
        if self.takes(token) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expected(&self, expected: &'static str) -> Error {
        let found = self.peek().map_or_else(|| "the end".to_owned(), Token::to_string);
        let hint = self.peek().and_then(|token| self.hint(token));
        Error::new(self.at(), Problem::Expected { expected, found, hint })
    }

    /// What the author may have meant, who comes from another language.
    fn hint(&self, token: &Token) -> Option<String> {
        let before = self.next.checked_sub(1).and_then(|last| self.tokens.get(last));
        let before = before.map(|placed| &placed.token);
        match (before, token) {
            (Some(Token::Operator(Operator::Equal)), Token::Operator(Operator::Equal)) => {
                Some("write = once".to_owned())
            }
            (_, Token::Name(name)) if name == "&&" => Some("write AND".to_owned()),
            (Some(Token::Operator(Operator::Concat)), _) => {
                Some("|| joins texts; the other is OR".to_owned())
            }
            (Some(_), Token::Name(name)) if name.eq_ignore_ascii_case("IN") => {
                Some("write name = 'a' OR name = 'b'".to_owned())
            }
            (Some(Token::Name(name)), _) if name.eq_ignore_ascii_case("IS") => {
                Some("write is_null(…) or is_defined(…)".to_owned())
            }
            (Some(Token::Name(name)), Token::Number(_) | Token::Text(_)) => {
                Some(format!("write an operator after {}", shortened(name)))
            }
            _ => None,
        }
    }
}

const VALUE: &str = "a name, a value or (";

/// Lowest first.
const LEVELS: [&[Operator]; 7] = [
    &[Operator::Coalesce],
    &[Operator::Or],
    &[Operator::And],
    &[Operator::Equal, Operator::NotEqual],
    &[Operator::Less, Operator::LessEqual, Operator::Greater, Operator::GreaterEqual],
    &[Operator::Add, Operator::Subtract, Operator::Concat],
    &[Operator::Multiply, Operator::Divide, Operator::Remainder],
];
