//! Writes `part-*` files: hidden while being written, renamed when their checkpoint has been published.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::FutureExt;

use crate::batch::ChangeBatch;
use crate::connectors::filesystem::local_path;
use crate::connectors::{inserts_only, stored_schema};
use crate::error::Error;
use crate::formats::{Encoder, encoder, options};
use crate::graph::SinkSpec;
use crate::operator::{CheckpointId, Subtask};
use crate::runtime::ends::{Committer, PendingCommit, Prepared, SinkContext, SinkWriter};

struct FileSink {
    directory: PathBuf,
    encoder: Box<dyn Encoder>,
    /// Different for each attempt, so that files of a dead one are never touched.
    attempt: String,
    subtask: usize,
    counter: u64,
    open: Option<Part>,
    line: Vec<u8>,
}

struct Part {
    hidden: PathBuf,
    visible: PathBuf,
    file: BufWriter<File>,
}

/// A file to be renamed.
#[derive(serde::Serialize, serde::Deserialize)]
struct Rename {
    from: PathBuf,
    to: PathBuf,
}

struct Renamer;

/// Opens an instance.
pub(crate) fn open(
    spec: &SinkSpec,
    subtask: Subtask,
    context: &SinkContext,
) -> Result<Box<dyn SinkWriter>, Error> {
    let table = &spec.table;
    let known = ["connector", "path", "format"];
    options::refuse_unknown(table, &known)?;
    if !table.partitioned_by.is_empty() {
        return Err(Error::invalid(format!(
            "table {} is PARTITIONED BY, which connector 'filesystem' does not support",
            table.path
        )));
    }
    let encoder = encoder(
        table,
        options::need(table, "format")?,
        &stored_schema(table),
    )?;
    if !encoder.takes_changes() {
        inserts_only(spec)?;
    }
    let directory = local_path(table)?;
    std::fs::create_dir_all(&directory).map_err(|error| unwritable(&directory, error))?;
    let uid: String = context
        .uid
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .take(40)
        .collect();
    Ok(Box::new(FileSink {
        directory,
        encoder,
        attempt: format!("{uid}-{}", uuid::Uuid::new_v4()),
        subtask: subtask.index,
        counter: 0,
        open: None,
        line: Vec::new(),
    }))
}

/// The committer of any filesystem sink.
pub(crate) fn committer() -> Box<dyn Committer> {
    Box::new(Renamer)
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::caused(format!("could not write `{}`", path.display()), error)
}

impl FileSink {
    fn part(&mut self) -> Result<&mut Part, Error> {
        if self.open.is_none() {
            let name = format!("part-{}-{}-{}", self.attempt, self.subtask, self.counter);
            self.counter += 1;
            let hidden = self.directory.join(format!(".{name}.inprogress"));
            let file = File::create(&hidden).map_err(|error| unwritable(&hidden, error))?;
            self.open = Some(Part {
                hidden,
                visible: self.directory.join(name),
                file: BufWriter::with_capacity(1 << 16, file),
            });
        }
        self.open
            .as_mut()
            .ok_or_else(|| Error::failed("a part file vanished"))
    }
}

impl SinkWriter for FileSink {
    fn write(&mut self, batch: ChangeBatch) -> Result<(), Error> {
        let mut text = std::mem::take(&mut self.line);
        text.clear();
        for row in 0..batch.num_rows() {
            self.encoder.encode(&batch, row, &mut text)?;
            text.push(b'\n');
        }
        let part = self.part()?;
        part.file
            .write_all(&text)
            .map_err(|error| unwritable(&part.hidden, error))?;
        self.line = text;
        Ok(())
    }

    fn prepare(&mut self, _checkpoint: CheckpointId) -> Prepared {
        let Some(part) = self.open.take() else {
            return async { Ok(Vec::new()) }.boxed();
        };
        async move {
            let rename = tokio::task::spawn_blocking(move || close(part));
            let rename = rename
                .await
                .map_err(|error| Error::caused("could not close a part file", error))??;
            Ok(vec![rename])
        }
        .boxed()
    }
}

fn close(part: Part) -> Result<String, Error> {
    let unwritable = |error| unwritable(&part.hidden, error);
    let file = part
        .file
        .into_inner()
        .map_err(|error| unwritable(error.into_error()))?;
    file.sync_all().map_err(unwritable)?;
    let rename = Rename {
        from: part.hidden.clone(),
        to: part.visible,
    };
    serde_json::to_string(&rename)
        .map_err(|error| Error::caused("could not describe a part file", error))
}

#[async_trait]
impl Committer for Renamer {
    async fn commit(&mut self, pending: &[PendingCommit]) -> Result<(), Error> {
        for committable in pending.iter().flat_map(|commit| &commit.committables) {
            let rename: Rename =
                serde_json::from_str(committable).map_err(|error| Error::Restore {
                    message: format!("a prepared file is not described: {error}"),
                })?;
            match tokio::fs::rename(&rename.from, &rename.to).await {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // Renamed before, by an attempt that could not say so any more.
                    tokio::fs::metadata(&rename.to)
                        .await
                        .map_err(|error| unwritable(&rename.to, error))?;
                }
                Err(error) => return Err(unwritable(&rename.to, error)),
            }
        }
        Ok(())
    }
}
