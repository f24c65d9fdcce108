//! End-to-end, conformance and fault tests, in one binary so that it is linked once.
//!
//! Each module is named after what it shows; `support` starts real servers and clients.

mod support;
