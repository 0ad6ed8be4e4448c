//! Pure algorithms of Bowline's data plane: no tokio, no hyper, no sockets, no clock and no lock.
//!
//! The caller passes in `now` (a [`Tick`]) and, where chance is needed, `rng` (a [`fastrand::Rng`]), so that
//! every rule here can be replayed from a seed in simulated time.
//!
//! Two kinds of state, by who owns them:
//!
//! | per worker, `&mut self` | per proxy, shared atomics, `&self` |
//! | --- | --- |
//! | [`balance::Balancer`], [`quantile::RecentQuantile`], [`hedge::Hedging`], [`limit::Queue`] (under a lock of its owner), [`health::Check`] (on the one thread that checks) | [`outlier::Outlier`], [`breaker::Breaker`], [`budget::RetryBudget`], [`rate::Bucket`], [`rate::Keyed`], [`limit::Level`], [`limit::Adaptive`] |
//!
//! Built once a snapshot and never changed: [`route::Table`], [`route::Split`], [`balance::Ring`], [`balance::Maglev`],
//! [`balance::SubsetIndex`]. Pure decisions without state: [`retry`], [`hedge::decide`], [`balance::zone`],
//! [`balance::priority`], [`balance::SlowStart`].

pub mod balance;
pub mod breaker;
pub mod budget;
pub mod hash;
pub mod health;
pub mod hedge;
pub mod limit;
pub mod outlier;
pub mod quantile;
pub mod rate;
pub mod retry;
pub mod route;
mod slots;
mod time;

pub use time::Tick;
