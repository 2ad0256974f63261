//! A call's templates rendered to the bytes that are sent.
