//! Real programs on both sides: curl, grpcio, nginx.
