//! Why a handshake failed: one word of a fixed list, for counters.

use std::io;

use rustls::{Error, InvalidMessage};

use crate::telemetry::arrivals::HandshakeFailure;

/// The word for what a handshake ended with.
pub fn of(error: &io::Error) -> HandshakeFailure {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        // The client left, or its network did.
        return HandshakeFailure::Left;
    };
    match error {
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => HandshakeFailure::ClientCertificate,
        Error::PeerIncompatible(_) => HandshakeFailure::NothingInCommon,
        Error::AlertReceived(_) => HandshakeFailure::RefusedByClient,
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => HandshakeFailure::NoTls,
        _ => HandshakeFailure::Malformed,
    }
}
