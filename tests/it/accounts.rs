//! Accounts on real rules and a real store: who is let in by what, and what each change ends.
//!
//! Not here: REST, sockets and live sessions. Invariant: the wall clock belongs to the test and is
//! never slept on; only what measures work uses the machine's.

mod caring;
mod entering;
mod lasting;
mod under_load;
mod visitors;
mod world;
