//! From a configuration file's text to a model that holds no bad state. Opens nothing.

pub mod model;
