//! `bowline import`, run as a user runs it, on the sample files beside it. `UPDATE_GOLDEN=1` writes what is expected anew.

#[path = "import/support.rs"]
mod support;

#[path = "import/golden.rs"]
mod golden;
#[path = "import/nothing_lost.rs"]
mod nothing_lost;
#[path = "import/random.rs"]
mod random;
#[path = "import/usage.rs"]
mod usage;
