//! State tables as Arrow IPC files, and back into the tables of each instance.

use std::io::{self, Cursor, Write};
use std::ops::Range;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, UInt16Type};
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use object_store::{PutPayload, PutPayloadMut};

use crate::error::Error;
use crate::operator::StateRows;

/// The column by which a table is split.
pub(crate) const KEY_GROUP_COLUMN: &str = "__key_group";

/// Rows of a message: the writer copies one whole before it compresses it.
const ROWS: usize = 1 << 14;
/// Bytes of a piece of a file.
const PIECE: usize = 256 << 10;

/// A file in pieces, so that nothing is copied when it grows.
struct File(PutPayloadMut);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Batches of one schema as a file: an Arrow IPC stream in an LZ4 frame. State is hashes and numbers for the most
/// part, of which zstd makes little less in four times the time.
///
/// Each batch is let go as soon as it is written, so that state is not there twice.
pub(crate) fn encode(batches: Vec<RecordBatch>) -> Result<PutPayload, Error> {
    let Some(first) = batches.first() else {
        return Ok(PutPayload::default());
    };
    let schema = first.schema();
    let write = || {
        let file = File(PutPayloadMut::new().with_block_size(PIECE));
        let mut writer = StreamWriter::try_new(FrameEncoder::new(file), &schema)?;
        for batch in batches {
            for begin in (0..batch.num_rows()).step_by(ROWS) {
                writer.write(&batch.slice(begin, ROWS.min(batch.num_rows() - begin)))?;
            }
        }
        writer
            .into_inner()?
            .finish()
            .map_err(|error| ArrowError::ExternalError(Box::new(error)))
    };
    write()
        .map(|file| file.0.freeze())
        .map_err(|error| Error::caused("could not encode state", error))
}

/// The batches of a file.
pub(crate) fn decode(file: Bytes) -> Result<Vec<RecordBatch>, Error> {
    let broken = |error| Error::Restore {
        message: format!("a state file is damaged: {error}"),
    };
    StreamReader::try_new(FrameDecoder::new(Cursor::new(file)), None)
        .map_err(broken)?
        .collect::<Result<_, _>>()
        .map_err(broken)
}

/// The rows whose key group lies in `groups`; all of them if the table is not keyed.
pub(crate) fn cut(rows: &StateRows, groups: &Range<u16>) -> Result<StateRows, Error> {
    let Some(batch) = rows.batch() else {
        return Ok(rows.clone());
    };
    let schema = batch.schema();
    let keyed = schema.fields().first().is_some_and(|field| {
        field.name() == KEY_GROUP_COLUMN && *field.data_type() == DataType::UInt16
    });
    if !keyed {
        return Ok(rows.clone());
    }
    let of_row = batch.column(0).as_primitive::<UInt16Type>();
    let mine: BooleanArray = of_row
        .values()
        .iter()
        .map(|group| Some(groups.contains(group)))
        .collect();
    if mine.true_count() == batch.num_rows() {
        return Ok(rows.clone());
    }
    filter_record_batch(batch, &mine)
        .map(StateRows::from)
        .map_err(|error| Error::caused("could not split state by key group", error))
}
