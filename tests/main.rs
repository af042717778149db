//! The one integration binary.

mod messages;
