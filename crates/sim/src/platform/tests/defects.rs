//! The defects.
