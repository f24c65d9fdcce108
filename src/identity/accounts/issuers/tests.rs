//! Tokens of sites: whose are taken, and whose are not.
