//! Hash families, hash tables and rebuild schedules.
