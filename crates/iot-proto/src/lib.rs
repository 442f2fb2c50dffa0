//! How the nouns look on the wire: topics, property bags, SAS, REST shapes, status table.
