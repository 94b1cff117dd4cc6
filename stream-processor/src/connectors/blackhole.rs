//! The `blackhole` sink: takes every row and keeps none.

use futures::FutureExt;

use crate::batch::ChangeBatch;
use crate::error::Error;
use crate::formats::options;
use crate::graph::SinkSpec;
use crate::operator::CheckpointId;
use crate::runtime::ends::{Prepared, SinkWriter};

struct Blackhole;

/// Opens an instance.
pub(crate) fn open(spec: &SinkSpec) -> Result<Box<dyn SinkWriter>, Error> {
    options::refuse_unknown(&spec.table, &["connector", "property-version"])?;
    Ok(Box::new(Blackhole))
}

impl SinkWriter for Blackhole {
    fn write(&mut self, _batch: ChangeBatch) -> Result<(), Error> {
        Ok(())
    }

    fn prepare(&mut self, _checkpoint: CheckpointId) -> Prepared {
        async { Ok(Vec::new()) }.boxed()
    }
}
