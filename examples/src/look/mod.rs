//! Looking at the mesh: the proxy's admin pages and the app's own counts, as a board, drawn on a screen.

mod admin;
mod board;
mod metrics;
mod paint;
mod screen;
mod summary;
mod table;

pub(crate) use admin::vips;
pub(crate) use board::Watcher;
pub(crate) use screen::Screen;
pub(crate) use summary::{Verdict, summary};
pub(crate) use table::Caption;
