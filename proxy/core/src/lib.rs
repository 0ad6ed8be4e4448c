//! Pure algorithms of Bowline's data plane: no tokio, no hyper, no sockets, no clock and no lock.
//!
//! The caller passes in `now` (a [`Tick`]) and, where chance is needed, `rng` (a [`fastrand::Rng`]), so that
//! every rule here can be replayed from a seed in simulated time.
//!
//! Two kinds of state, by who owns them:
//!
//! | per worker, `&mut self` | per proxy, shared atomics, `&self` |
//! | --- | --- |
//! | [`balance::Balancer`], [`quantile::RecentQuantile`], [`limit::Queue`] (under a lock of its owner) | [`outlier::Outlier`], [`budget::RetryBudget`], [`limit::Level`] |
//!
//! [`retry`] is a pure decision without state.

pub mod balance;
pub mod breaker;
pub mod budget;
pub mod hash;
pub mod health;
pub mod limit;
pub mod outlier;
pub mod quantile;
pub mod rate;
pub mod retry;
pub mod route;
mod slots;
mod time;

pub use time::Tick;
