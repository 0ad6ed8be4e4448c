//! The control plane of Bowline: finds endpoints and pushes each change to every proxy that needs it.
//!
//! Not built yet. Proxies run alone on a mesh file.
