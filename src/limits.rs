//! Bounds that hold everywhere, and the relations between them, checked at compile time.
