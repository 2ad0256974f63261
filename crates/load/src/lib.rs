//! How much, when and where: limits, pacing, backlog, holding, probing.
