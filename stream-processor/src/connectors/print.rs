//! The `print` sink: each change as a line on standard output, as Flink prints it.

use std::io::Write;

use futures::FutureExt;

use crate::batch::ChangeBatch;
use crate::connectors::rows::write_row;
use crate::connectors::stored_columns;
use crate::error::Error;
use crate::formats::options;
use crate::graph::SinkSpec;
use crate::operator::{CheckpointId, Subtask};
use crate::runtime::ends::{Prepared, SinkWriter};
use crate::table::SqlType;

struct Print {
    prefix: String,
    types: Vec<SqlType>,
}

/// Opens an instance.
pub(crate) fn open(spec: &SinkSpec, subtask: Subtask) -> Result<Box<dyn SinkWriter>, Error> {
    let known = ["connector", "print-identifier", "standard-error"];
    options::refuse_unknown(&spec.table, &known)?;
    if options::flag(&spec.table, "standard-error", false)? {
        return Err(options::wrong(&spec.table, "standard-error", "true"));
    }
    let identifier = options::get(&spec.table, "print-identifier").unwrap_or_default();
    // Flink tells instances apart only if there are several.
    let prefix = match (identifier, subtask.parallelism) {
        ("", 1) => String::new(),
        ("", _) => format!("{}> ", subtask.index + 1),
        (identifier, 1) => format!("{identifier}> "),
        (identifier, _) => format!("{identifier}:{}> ", subtask.index + 1),
    };
    let columns = stored_columns(&spec.table);
    Ok(Box::new(Print {
        prefix,
        types: columns
            .iter()
            .map(|column| column.data_type.clone())
            .collect(),
    }))
}

impl SinkWriter for Print {
    fn write(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            text.extend_from_slice(self.prefix.as_bytes());
            text.extend_from_slice(batch.kind(row).short().as_bytes());
            write_row(&batch.rows, row, &self.types, &mut text)?;
            text.push(b'\n');
        }
        std::io::stdout()
            .lock()
            .write_all(&text)
            .map_err(|error| Error::caused("could not print", error))
    }

    fn prepare(&mut self, _checkpoint: CheckpointId) -> Prepared {
        let flushed = std::io::stdout()
            .flush()
            .map_err(|error| Error::caused("could not print", error));
        async { flushed.map(|()| Vec::new()) }.boxed()
    }
}
