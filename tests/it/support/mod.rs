//! Real servers and clients for the tests: started privately on free ports below 32768, on
//! loopback, ended with the test. A missing program fails the test and names its Debian package.
pub(crate) mod postgres;
