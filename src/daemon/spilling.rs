//! The directory for bodies that are too large for memory, tried before it is needed.

use std::sync::Arc;

use super::StartError;
use crate::config::model::Model;
use crate::config::model::shield::SpillDir;
use crate::upstream::spill::Spill;

/// Opens the directory of a configuration, if it has one; the one that was there before stays if it is the same.
pub(super) fn open(model: &Model, before: Option<&Arc<Spill>>) -> Result<Option<Arc<Spill>>, StartError> {
    let Some(SpillDir { path, max }) = &model.upstream.buffers.spill else { return Ok(None) };
    let same = before.filter(|before| before.directory() == path);
    let opened = same.map_or_else(|| Spill::open(path, *max), |same| Ok(Arc::clone(same)));
    opened.map(Some).map_err(|error| StartError::Spill(path.display().to_string(), error))
}
