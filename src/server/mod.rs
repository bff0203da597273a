//! A whole broker: start, banner, stop.
