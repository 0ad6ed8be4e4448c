//! What the proxy tells of itself: metrics and logs.

pub mod catalogue;
pub mod cloudwatch;
pub mod control;
pub mod dns;
pub mod every;
pub mod exemplars;
pub mod failures;
pub mod log;
pub mod log_fields;
pub mod metrics;
pub mod push;
pub mod scrape;
