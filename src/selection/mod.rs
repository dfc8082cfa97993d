//! Which neurons compute.
