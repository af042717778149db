//! What tollgate promises, one file a feature.
