//! What the proxy tells of itself: metrics and logs.

pub mod catalogue;
pub mod control;
pub mod dns;
pub mod log;
pub mod metrics;
pub mod render;
