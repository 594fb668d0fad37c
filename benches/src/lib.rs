//! Seeded workload.
