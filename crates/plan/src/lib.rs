//! The checked form of a definition that the engine runs: steps, templates, expressions, input schema.
