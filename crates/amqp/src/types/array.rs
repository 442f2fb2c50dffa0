//! Arrays: values of one type, which stands on the wire only once.

use super::{Kind, Symbol, Value};

/// An AMQP array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array(Box<Parts>);

/// Boxed, because arrays are rare and would make every [`Value`] larger.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    /// The descriptors that all elements share, outermost first; nearly always none.
    descriptors: Vec<Value>,
    kind: Kind,
    items: Vec<Value>,
}

/// An array was asked for from values that don't share one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an array of {expected:?} has an element of {found:?}: use a list")]
pub struct MixedArray {
    /// The array's type.
    pub expected: Kind,
    /// The type of the element that is different.
    pub found: Kind,
}

impl Array {
    /// An array of one kind. Described values cannot be its items, see [`Array::described`].
    pub fn new(kind: Kind, items: Vec<Value>) -> Result<Array, MixedArray> {
        Array::described(Vec::new(), kind, items)
    }

    /// An array whose elements all have these descriptors, outermost first.
    pub fn described(
        descriptors: Vec<Value>,
        kind: Kind,
        items: Vec<Value>,
    ) -> Result<Array, MixedArray> {
        // A described element has the kind of what it describes, as on the wire.
        let stranger = items.iter().map(Value::kind).find(|found| *found != kind);
        match stranger {
            Some(found) => Err(MixedArray { expected: kind, found }),
            None if kind == Kind::Described => Err(MixedArray { expected: kind, found: kind }),
            None => Ok(Array::of_same_kind(descriptors, kind, items)),
        }
    }

    /// An array of items that are known to be of one kind.
    pub(crate) fn of_same_kind(descriptors: Vec<Value>, kind: Kind, items: Vec<Value>) -> Array {
        debug_assert!(items.iter().all(|item| item.kind() == kind));
        Array(Box::new(Parts { descriptors, kind, items }))
    }

    /// An array of symbols, as capabilities are.
    pub fn of_symbols(symbols: impl IntoIterator<Item = Symbol>) -> Array {
        let items = symbols.into_iter().map(Value::Symbol).collect();
        Array::of_same_kind(Vec::new(), Kind::Symbol, items)
    }

    /// An array of strings.
    pub fn of_strings(strings: impl IntoIterator<Item = String>) -> Array {
        let items = strings.into_iter().map(Value::String).collect();
        Array::of_same_kind(Vec::new(), Kind::String, items)
    }

    /// The type that all items have.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The descriptors that all elements share, outermost first.
    pub fn descriptors(&self) -> &[Value] {
        &self.0.descriptors
    }

    /// The elements, without their descriptors.
    pub fn items(&self) -> &[Value] {
        &self.0.items
    }

    /// The elements, without their descriptors.
    pub fn into_items(self) -> Vec<Value> {
        self.0.items
    }
}
