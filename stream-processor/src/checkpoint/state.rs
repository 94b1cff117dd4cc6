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

/// A batch as a file or a part of one: an Arrow IPC stream in an LZ4 frame. State is hashes and numbers for the most
/// part, of which zstd makes little less in four times the time.
pub(crate) fn encode(batch: &RecordBatch) -> Result<PutPayload, Error> {
    let write = || {
        let file = File(PutPayloadMut::new().with_block_size(PIECE));
        let mut writer = StreamWriter::try_new(FrameEncoder::new(file), &batch.schema())?;
        for begin in (0..batch.num_rows()).step_by(ROWS) {
            writer.write(&batch.slice(begin, ROWS.min(batch.num_rows() - begin)))?;
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

/// The batches of a file: of one frame after another.
pub(crate) fn decode(file: Bytes) -> Result<Vec<RecordBatch>, Error> {
    let broken = |error: &dyn std::error::Error| Error::Restore {
        message: format!("a state file is damaged: {error}"),
    };
    let length = file.len() as u64;
    let mut file = Cursor::new(file);
    let mut batches = Vec::new();
    while file.position() < length {
        let frame = FrameDecoder::new(&mut file);
        let mut stream = StreamReader::try_new(frame, None).map_err(|error| broken(&error))?;
        for batch in stream.by_ref() {
            batches.push(batch.map_err(|error| broken(&error))?);
        }
        // The mark at the end of the frame is still to be read.
        let rest = io::copy(stream.get_mut(), &mut io::sink()).map_err(|error| broken(&error))?;
        if rest > 0 {
            return Err(Error::Restore {
                message: format!("a state file is damaged: {rest} bytes behind a stream"),
            });
        }
    }
    Ok(batches)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("value", column)]).unwrap()
    }

    #[test]
    fn a_file_is_one_frame_after_another() {
        let numbers = batch(Arc::new(Int64Array::from_iter_values(0..2 * ROWS as i64)));
        let texts = batch(Arc::new(StringArray::from(vec!["a", "b"])));
        let frames = [&numbers, &texts].map(|batch| Bytes::from(encode(batch).unwrap()));
        let file = Bytes::from(frames.concat());
        let halves = [numbers.slice(0, ROWS), numbers.slice(ROWS, ROWS)];
        assert_eq!(
            decode(file.clone()).unwrap(),
            [&halves[..], &[texts]].concat()
        );
        for end in [frames[0].len() / 2, frames[0].len() + 20, file.len() - 20] {
            let error = decode(file.slice(..end)).unwrap_err().to_string();
            assert!(error.contains("a state file is damaged"), "{end}: {error}");
        }
    }
}
