//! The rules of anonymous identity, one after the other.
