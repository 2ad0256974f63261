//! Reach external systems and report exactly what they answered (HTTP first).
