//! Tests of whole bundles: how they load, and how they are refused.

mod disk;
mod file;
mod load;
mod planted;
mod shipped;
mod signature;
mod source;
mod threshold;
mod tools;
