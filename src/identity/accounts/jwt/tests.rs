//! Forged tokens of every class, and what happens to each.
