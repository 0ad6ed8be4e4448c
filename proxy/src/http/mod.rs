//! The request path. Read [`forward`] first: it is the way of a request, step by step.

pub mod app_body;
pub mod attempt;
pub mod body;
pub mod connect;
pub mod forward;
pub mod hash_key;
pub mod headers;
pub mod mirror;
mod outcome;
pub mod outside;
pub mod replay;
pub mod respond;
mod rewrite;
pub mod server;
pub mod upgrade;
pub mod watch;
