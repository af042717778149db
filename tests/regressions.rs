//! Payloads that were answered wrongly once, by tollgate or by proxies of its kind.
