//! `bowline inject`, run as a user runs it, on the sample files beside it. `UPDATE_GOLDEN=1` writes what is expected anew.

#[path = "inject/support.rs"]
mod support;

#[path = "inject/golden.rs"]
mod golden;
#[path = "inject/random.rs"]
mod random;
#[path = "inject/refusals.rs"]
mod refusals;
#[path = "inject/usage.rs"]
mod usage;
