//! Reads files line by line; each file is a split, and its position is a byte.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMillisecondArray};
use kafka_client::Span;

use crate::connectors::ConnectorConfig;
use crate::connectors::filesystem::local_path;
use crate::connectors::records::RecordReader;
use crate::error::Error;
use crate::formats::{Payloads, options};
use crate::graph::SourceSpec;
use crate::operator::Subtask;
use crate::runtime::ends::{Polled, Positions, Source, SplitRows};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

struct Files {
    reader: RecordReader,
    files: Vec<OneFile>,
    current: usize,
    buffer: Vec<u8>,
    longest_record: usize,
}

struct OneFile {
    path: PathBuf,
    size: u64,
    modified: i64,
    position: u64,
    open: Option<File>,
}

/// Opens an instance: every `parallelism`-th file is its own.
pub(crate) fn open(
    config: &ConnectorConfig,
    spec: &Arc<SourceSpec>,
    subtask: Subtask,
    positions: Option<&Positions>,
) -> Result<Box<dyn Source>, Error> {
    let table = &spec.table;
    let known = [
        "connector",
        "path",
        "format",
        "source.path.regex-pattern",
        "sink.",
        "auto-compaction",
        "partition.",
    ];
    options::refuse_unknown(table, &known)?;
    if !table.partitioned_by.is_empty() {
        // Flink takes these columns from the names of the folders.
        return Err(Error::invalid(format!(
            "table {} is PARTITIONED BY, which connector 'filesystem' does not support",
            table.path
        )));
    }
    let format = options::need(table, "format")?;
    let path = local_path(table)?;
    let mut paths = Vec::new();
    list(&path, &mut paths)
        .map_err(|error| Error::caused(format!("could not list `{}`", path.display()), error))?;
    paths.sort();
    if let Some(pattern) = options::get(table, "source.path.regex-pattern") {
        let regex = regex::Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|_| options::wrong(table, "source.path.regex-pattern", pattern))?;
        paths.retain(|path| regex.is_match(&path.to_string_lossy()));
    }
    let mine = paths
        .into_iter()
        .skip(subtask.index)
        .step_by(subtask.parallelism);
    let files = mine.map(|path| {
        let name = path.to_string_lossy().into_owned();
        let position = positions.and_then(|all| all.get(&name)?.as_u64());
        OneFile::new(path, position.unwrap_or(0))
    });
    Ok(Box::new(Files {
        reader: RecordReader::new(spec, format, None)?,
        files: files.collect::<Result<_, _>>()?,
        current: 0,
        buffer: Vec::new(),
        longest_record: config.longest_record,
    }))
}

fn list(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if std::fs::metadata(path)?.is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Flink leaves out hidden files and those being written.
        if !name.starts_with(['.', '_']) {
            list(&path, found)?;
        }
    }
    Ok(())
}

// === impl OneFile ===

impl OneFile {
    fn new(path: PathBuf, position: u64) -> Result<Self, Error> {
        let found = std::fs::metadata(&path).map_err(|error| unreadable(&path, error))?;
        let modified = found.modified().ok();
        let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(OneFile {
            size: found.len(),
            modified: modified.map_or(0, |since| since.as_millis() as i64),
            path,
            position,
            open: None,
        })
    }

    /// Reads whole lines from the position on; `None` at the end.
    fn read(&mut self, buffer: &mut Vec<u8>, longest: usize) -> Result<Option<usize>, Error> {
        let mut wanted = CHUNK;
        loop {
            buffer.clear();
            let file = match &mut self.open {
                Some(file) => file,
                None => {
                    let file =
                        File::open(&self.path).map_err(|error| unreadable(&self.path, error))?;
                    self.open.insert(file)
                }
            };
            file.seek(SeekFrom::Start(self.position))
                .and_then(|_| file.take(wanted as u64).read_to_end(buffer))
                .map_err(|error| unreadable(&self.path, error))?;
            if buffer.is_empty() {
                self.open = None;
                return Ok(None);
            }
            if buffer.len() < wanted {
                return Ok(Some(buffer.len()));
            }
            if let Some(end) = memchr::memrchr(b'\n', buffer) {
                return Ok(Some(end + 1));
            }
            if wanted > longest {
                return Err(Error::failed(format!(
                    "a line of `{}` at byte {} is longer than {longest} bytes",
                    self.path.display(),
                    self.position
                )));
            }
            wanted *= 2;
        }
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::caused(format!("could not read `{}`", path.display()), error)
}

/// The lines of `text` without their ends.
fn lines(text: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut begin = 0;
    for end in memchr::memchr_iter(b'\n', text).chain([text.len()]) {
        let last = end == text.len();
        if !(last && begin == end) {
            let bare = if end > begin && text[end - 1] == b'\r' {
                end - 1
            } else {
                end
            };
            spans.push(Span {
                start: begin as u32,
                end: bare as u32,
            });
        }
        begin = end + 1;
    }
    spans
}

impl Source for Files {
    fn splits(&self) -> usize {
        self.files.len()
    }

    fn poll(&mut self, _now: i64) -> Result<Polled, Error> {
        let split = self.current;
        let Some(file) = self.files.get_mut(split) else {
            return Ok(Polled::Ended);
        };
        let Some(length) = file.read(&mut self.buffer, self.longest_record)? else {
            self.current += 1;
            return Ok(Polled::SplitEnded(split));
        };
        let text = &self.buffer[..length];
        let spans = lines(text);
        let payloads = Payloads {
            data: text,
            spans: &spans,
        };
        let n_records = spans.len();
        let table = self
            .reader
            .read(payloads, None, |key| metadata(file, key, n_records))?;
        file.position += length as u64;
        Ok(Polled::Rows(SplitRows {
            split,
            tables: vec![table],
            bytes: length,
            records: n_records,
        }))
    }

    fn positions(&self) -> Positions {
        let files = self.files.iter();
        files
            .map(|file| {
                (
                    file.path.to_string_lossy().into_owned(),
                    file.position.into(),
                )
            })
            .collect()
    }

    fn lag(&self) -> Option<u64> {
        None
    }
}

fn metadata(file: &OneFile, key: &str, n_records: usize) -> Result<ArrayRef, Error> {
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; n_records])) };
    match key {
        "file.path" => Ok(text(&file.path.to_string_lossy())),
        "file.name" => Ok(text(
            &file.path.file_name().unwrap_or_default().to_string_lossy(),
        )),
        "file.size" => Ok(Arc::new(Int64Array::from(vec![
            file.size as i64;
            n_records
        ]))),
        "file.modification-time" => {
            let times = TimestampMillisecondArray::from(vec![file.modified; n_records]);
            Ok(Arc::new(times.with_timezone("UTC")))
        }
        other => Err(Error::invalid(format!(
            "connector 'filesystem' has no metadata '{other}'"
        ))),
    }
}
