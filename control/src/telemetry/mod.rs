//! What the process says of itself: log lines and metrics.

pub mod log;
pub mod log_fields;
pub mod metrics;
pub mod zone;
