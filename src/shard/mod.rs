//! One executor pinned to one core, and everything it owns.
