//! Placeholder of the room until it is built.
