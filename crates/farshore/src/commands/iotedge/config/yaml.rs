//! Reading the YAML of a settings file, with the lines on which things stand.
//!
//! Only what such files hold: one document of maps, lists and scalars. Anchors, aliases and tags are
//! refused (an alias is a way to make much out of little), and so is a key that stands twice. Depth and
//! size have bounds. What a scalar means is up to who reads it.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// What stands at a place.
pub(super) struct Node {
    /// The line, from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// No `Debug`: a settings file holds keys.
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar {
        text: String,
        /// Without quotes: it may be a number or a truth value.
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Why it cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {what}")]
pub(super) struct YamlError {
    /// The line, from 1.
    pub(super) line: usize,
    pub(super) what: String,
}

impl YamlError {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// The one document of a text; an empty one is [`Value::Null`].
pub(super) fn parse(text: &str) -> Result<Node, YamlError> {
    if text.len() > SIZE_BYTES_MAX {
        return Err(YamlError::new(1, format!("is longer than {SIZE_BYTES_MAX} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    let mut document = Node { line: 1, value: Value::Null };
    let mut documents = 0;
    while let Some((event, span)) = reader.event()? {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamEnd => {}
            event => {
                documents += 1;
                if documents > 1 {
                    return Err(YamlError::new(line(&span), "begins a second document"));
                }
                document = reader.node(event, &span, 0)?;
            }
        }
    }
    Ok(document)
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn event(&mut self) -> Result<Option<(Event<'a>, Span)>, YamlError> {
        let next = self.parser.next_event().transpose();
        next.map_err(|error| {
            YamlError::new(error.marker().line(), format!("is no YAML: {}", error.info()))
        })
    }

    /// The next event within a node.
    fn inner(&mut self, outer: usize) -> Result<(Event<'a>, Span), YamlError> {
        self.event()?.ok_or_else(|| YamlError::new(outer, "is not complete"))
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, YamlError> {
        let line = line(span);
        if depth > DEPTH_MAX {
            return Err(YamlError::new(line, format!("is nested more than {DEPTH_MAX} deep")));
        }
        let value = match event {
            Event::Alias(_) => return Err(YamlError::new(line, ANCHORS)),
            Event::Scalar(_, _, anchor, ref tag) if anchor > 0 || tag.is_some() => {
                return Err(YamlError::new(line, ANCHORS));
            }
            Event::SequenceStart(anchor, ref tag) | Event::MappingStart(anchor, ref tag)
                if anchor > 0 || tag.is_some() =>
            {
                return Err(YamlError::new(line, ANCHORS));
            }
            Event::Scalar(text, style, ..) => scalar(text.into_owned(), style),
            Event::SequenceStart(..) => Value::List(self.list(line, depth)?),
            Event::MappingStart(..) => Value::Map(self.map(line, depth)?),
            _ => return Err(YamlError::new(line, "ends where something should stand")),
        };
        Ok(Node { line, value })
    }

    fn list(&mut self, outer: usize, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut nodes = Vec::new();
        loop {
            let (event, span) = self.inner(outer)?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(nodes);
            }
            nodes.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, outer: usize, depth: usize) -> Result<Vec<(String, Node)>, YamlError> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            let (event, span) = self.inner(outer)?;
            if matches!(event, Event::MappingEnd) {
                return Ok(entries);
            }
            let key = self.node(event, &span, depth + 1)?;
            let Value::Scalar { text: name, .. } = key.value else {
                return Err(YamlError::new(key.line, "has a key that is no name"));
            };
            if entries.iter().any(|(known, _)| *known == name) {
                return Err(YamlError::new(key.line, format!("{name} stands here a second time")));
            }
            let (event, span) = self.inner(key.line)?;
            let node = self.node(event, &span, depth + 1)?;
            // A value that is left out has its key's line.
            entries.push((name, Node { line: key.line, value: node.value }));
        }
    }
}

fn scalar(text: String, style: ScalarStyle) -> Value {
    let is_plain = matches!(style, ScalarStyle::Plain);
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" if is_plain => Value::Null,
        _ => Value::Scalar { text, is_plain },
    }
}

fn line(span: &Span) -> usize {
    span.start.line()
}

const ANCHORS: &str =
    "uses an anchor, an alias or a tag, which is not read here; write the value itself";
/// Of a file that people write: the longest known has 10 kB.
const SIZE_BYTES_MAX: usize = 1 << 20;
/// `createOptions` are the deepest there is, a few levels.
const DEPTH_MAX: usize = 32;
