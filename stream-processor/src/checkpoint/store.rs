//! The checkpoints of one job in object storage: claim the job, write, publish, retain, restore.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::checkpoint::manifest::{Epoch, Manifest, OperatorState, Segment, TableState, VERSION};
use crate::checkpoint::state;
use crate::error::Error;
use crate::operator::{CheckpointId, StateRows, StateTable, Subtask};
use crate::runtime::ends::{PendingCommit, Positions};

/// Uploads and downloads at once.
const CONCURRENCY: usize = 8;

/// One generation of one job.
pub(crate) struct JobStore {
    store: Arc<dyn ObjectStore>,
    job: Path,
    generation: u64,
    retain: usize,
    /// Published by this generation or restored by it, oldest first, with their manifests.
    published: VecDeque<(CheckpointId, Manifest)>,
    /// What is already in storage, by uid, instance and table.
    written: HashMap<TableKey, Vec<Written>>,
}

type TableKey = (String, usize, String);

/// A file and stubs of the batches it was made from.
struct Written {
    batches: Vec<StateRows>,
    segment: Segment,
}

/// The checkpoint a generation starts from.
pub(crate) struct Restored {
    /// Its manifest.
    pub(crate) manifest: Manifest,
}

/// Everything the instances of a job gave to a checkpoint.
#[derive(Default)]
pub(crate) struct Collected {
    /// By uid, then instance.
    pub(crate) tables: Vec<(String, Subtask, Vec<StateTable>)>,
    /// By uid of the source.
    pub(crate) sources: BTreeMap<String, Positions>,
    /// By uid of the sink.
    pub(crate) pending: BTreeMap<String, Vec<PendingCommit>>,
}

// === impl JobStore ===

impl JobStore {
    /// Takes the job over from whoever ran it before; `next` is the first checkpoint id that is free.
    pub(crate) async fn claim(
        store: Arc<dyn ObjectStore>,
        base: &Path,
        job: &str,
        retain: usize,
    ) -> Result<(JobStore, Option<Restored>, CheckpointId), Error> {
        let job = base.clone().join(job);
        let generation = claim_generation(&store, &job).await?;
        let mut this = JobStore {
            store,
            job,
            generation,
            retain: retain.max(1),
            published: VecDeque::new(),
            written: HashMap::new(),
        };
        loop {
            let last = this.epochs().await?.last().copied();
            let epoch = match last {
                Some(number) => Some(this.epoch(number).await?),
                None => None,
            };
            let manifest = epoch.and_then(|epoch| epoch.manifest);
            let fence = last.map_or(1, |number| number + 1);
            let record = Epoch {
                generation,
                manifest: manifest.clone(),
            };
            if !this.put_epoch(fence, &record).await? {
                // Somebody published meanwhile: start from that.
                continue;
            }
            let restored = match manifest {
                Some(path) => Some(Restored {
                    manifest: this.manifest(&path).await?,
                }),
                None => None,
            };
            this.remember_older(fence).await?;
            if let Some(restored) = &restored {
                this.published
                    .push_back((CheckpointId(fence), restored.manifest.clone()));
            }
            return Ok((this, restored, CheckpointId(fence + 1)));
        }
    }

    /// Takes charge of deleting what earlier generations published.
    async fn remember_older(&mut self, fence: u64) -> Result<(), Error> {
        for number in self
            .epochs()
            .await?
            .into_iter()
            .filter(|number| *number < fence)
        {
            match self.epoch(number).await?.manifest {
                Some(path) => {
                    let manifest = self.manifest(&path).await?;
                    self.published.push_back((CheckpointId(number), manifest));
                }
                None => self.delete(&format!("epochs/{number:020}")).await?,
            }
        }
        Ok(())
    }

    /// Who writes.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Makes a checkpoint durable and publishes it. Afterwards, and only then, sinks may commit.
    pub(crate) async fn publish(
        &mut self,
        checkpoint: CheckpointId,
        collected: Collected,
        now: i64,
    ) -> Result<Manifest, Error> {
        let directory = format!("gen-{}/chk-{}", self.generation, checkpoint.0);
        let operators = self.write_tables(&directory, collected.tables).await?;
        let manifest = Manifest {
            version: VERSION,
            checkpoint,
            generation: self.generation,
            completed_at: now,
            operators,
            sources: collected.sources,
            pending: collected.pending,
        };
        let path = manifest.path();
        self.put(&path, json(&manifest)?, PutMode::Overwrite)
            .await?;
        let record = Epoch {
            generation: self.generation,
            manifest: Some(path),
        };
        let newest = self.put_epoch(checkpoint.0, &record).await?
            && self.epochs().await?.last() == Some(&checkpoint.0);
        if !newest {
            return Err(Error::failed(
                "another process has taken this job over; its checkpoints are no longer ours to write",
            ));
        }
        self.published.push_back((checkpoint, manifest.clone()));
        self.forget_old().await?;
        Ok(manifest)
    }

    /// Copies the newest checkpoint to where retention does not reach; gives its path.
    pub(crate) async fn savepoint(&self, name: &str) -> Result<String, Error> {
        let Some((_, manifest)) = self.published.back() else {
            return Err(Error::failed("no checkpoint has been taken yet"));
        };
        let mut copy = manifest.clone();
        let tables = copy
            .operators
            .values_mut()
            .flat_map(|state| &mut state.tables);
        for segment in tables.flat_map(|table| &mut table.segments) {
            let to = format!("savepoints/{name}/{}", segment.path.replace('/', "_"));
            self.store
                .copy(&self.at(&segment.path), &self.at(&to))
                .await
                .map_err(|error| Error::caused("could not copy state into the savepoint", error))?;
            segment.path = to;
        }
        let path = format!("savepoints/{name}/_manifest.json");
        self.put(&path, json(&copy)?, PutMode::Overwrite).await?;
        Ok(format!("{}/savepoints/{name}", self.job))
    }

    /// The tables of each instance of an operator, now `parallelism` of them.
    pub(crate) async fn restore(
        &mut self,
        uid: &str,
        operator: &OperatorState,
        parallelism: usize,
    ) -> Result<Vec<Vec<StateTable>>, Error> {
        let mut instances: Vec<BTreeMap<String, Vec<StateRows>>> =
            vec![BTreeMap::new(); parallelism];
        for table in &operator.tables {
            let mut reads: Vec<BoxFuture<'_, _>> = Vec::new();
            for segment in &table.segments {
                reads.push(self.read_segment(segment).boxed());
            }
            let files: Vec<Vec<StateRows>> = stream::iter(reads)
                .buffered(CONCURRENCY)
                .try_collect()
                .await?;
            for (index, instance) in instances.iter_mut().enumerate() {
                let groups = Subtask { index, parallelism }.key_groups();
                let rows = instance.entry(table.name.clone()).or_default();
                for batch in files.iter().flatten() {
                    rows.push(state::cut(batch, &groups)?);
                }
            }
            if operator.parallelism == parallelism {
                let key = (uid.to_owned(), table.subtask, table.name.clone());
                let written = table.segments.iter().zip(files);
                let written = written.map(|(segment, batches)| Written {
                    batches: batches.iter().map(StateRows::stub).collect(),
                    segment: segment.clone(),
                });
                self.written.insert(key, written.collect());
            }
        }
        let tables = |instance: BTreeMap<String, Vec<StateRows>>| {
            let with_rows = instance.into_iter().map(|(name, rows)| StateTable {
                name,
                rows: rows.into_iter().filter(|rows| rows.n_rows() > 0).collect(),
            });
            with_rows.collect()
        };
        Ok(instances.into_iter().map(tables).collect())
    }

    async fn read_segment(&self, segment: &Segment) -> Result<Vec<StateRows>, Error> {
        let batches = state::decode(self.get(&segment.path).await?)?;
        let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if n_rows != segment.rows {
            return Err(Error::Restore {
                message: format!(
                    "the state file `{}` has {n_rows} rows where {} were written",
                    segment.path, segment.rows
                ),
            });
        }
        Ok(batches.into_iter().map(StateRows::from).collect())
    }

    async fn write_tables(
        &mut self,
        directory: &str,
        tables: Vec<(String, Subtask, Vec<StateTable>)>,
    ) -> Result<BTreeMap<String, OperatorState>, Error> {
        let mut operators: BTreeMap<String, OperatorState> = BTreeMap::new();
        let mut new_files = Vec::new();
        let mut given = BTreeSet::new();
        for (uid, subtask, tables) in tables {
            let operator = operators.entry(uid.clone()).or_default();
            operator.parallelism = subtask.parallelism;
            for table in tables {
                let place = operator.tables.len();
                let key = (uid.clone(), subtask.index, table.name.clone());
                given.insert(key.clone());
                let (kept, new) = self.split_known(&key, &table.rows);
                let segments = kept.iter().map(|written| written.segment.clone()).collect();
                operator.tables.push(TableState {
                    name: table.name.clone(),
                    subtask: subtask.index,
                    segments,
                });
                self.written.insert(key.clone(), kept);
                if !new.is_empty() {
                    let path = format!("{directory}/{}.arrow", new_files.len());
                    new_files.push((key.clone(), place, path, new));
                }
            }
        }
        // Tables come and go with windows.
        self.written.retain(|key, _| given.contains(key));
        let mut uploads: Vec<BoxFuture<'_, Result<_, Error>>> = Vec::new();
        for (key, place, path, batches) in new_files {
            let this = &*self;
            let upload = async move {
                let stubs = batches.iter().map(StateRows::stub).collect();
                let segment = this.write_segment(path, batches).await?;
                let written = Written {
                    batches: stubs,
                    segment,
                };
                Ok((key, place, written))
            };
            uploads.push(upload.boxed());
        }
        let uploaded: Vec<_> = stream::iter(uploads)
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        for (key, place, written) in uploaded {
            if let Some(operator) = operators.get_mut(&key.0) {
                operator.tables[place]
                    .segments
                    .push(written.segment.clone());
            }
            self.written.entry(key).or_default().push(written);
        }
        Ok(operators)
    }

    /// The files that still hold the front of `rows`, and the rest. Files whose batches the operator has let go are left
    /// out.
    fn split_known(
        &mut self,
        key: &TableKey,
        rows: &[StateRows],
    ) -> (Vec<Written>, Vec<StateRows>) {
        let mut kept = Vec::new();
        let mut at = 0;
        for written in self.written.remove(key).unwrap_or_default() {
            let end = at + written.batches.len();
            let holds = rows.get(at..end).is_some_and(|candidates| {
                candidates
                    .iter()
                    .zip(&written.batches)
                    .all(|(new, old)| new.is(old))
            });
            if holds {
                at = end;
                kept.push(written);
            }
        }
        let new = rows[at..].iter().filter(|batch| batch.n_rows() > 0);
        (kept, new.cloned().collect())
    }

    async fn write_segment(&self, path: String, rows: Vec<StateRows>) -> Result<Segment, Error> {
        let n_batches = rows.len();
        let n_rows = rows.iter().map(StateRows::n_rows).sum();
        // Each batch is let go as soon as it is written, so that state is not there twice.
        let encode = move || {
            let files = rows
                .into_iter()
                .map(|rows| rows.into_file()?.ok_or_else(lost));
            files.collect::<Result<Vec<PutPayload>, Error>>()
        };
        let frames = tokio::task::spawn_blocking(encode)
            .await
            .map_err(|error| Error::caused("could not encode state", error))??;
        let file: PutPayload = frames.into_iter().flatten().collect();
        let segment = Segment {
            path,
            batches: n_batches,
            rows: n_rows,
            bytes: file.content_length() as u64,
        };
        self.put(&segment.path, file, PutMode::Overwrite).await?;
        Ok(segment)
    }

    async fn forget_old(&mut self) -> Result<(), Error> {
        while self.published.len() > self.retain {
            let Some((checkpoint, manifest)) = self.published.pop_front() else {
                break;
            };
            // A fence publishes the manifest of the epoch before it once more.
            let needed: BTreeSet<String> = self
                .published
                .iter()
                .flat_map(|(_, manifest)| manifest.paths())
                .collect();
            self.delete(&format!("epochs/{:020}", checkpoint.0)).await?;
            for path in manifest.paths().filter(|path| !needed.contains(path)) {
                self.delete(&path).await?;
            }
        }
        Ok(())
    }

    async fn epochs(&self) -> Result<Vec<u64>, Error> {
        list_numbers(&self.store, &self.job.clone().join("epochs")).await
    }

    async fn epoch(&self, number: u64) -> Result<Epoch, Error> {
        parse(&self.get(&format!("epochs/{number:020}")).await?)
    }

    async fn manifest(&self, path: &str) -> Result<Manifest, Error> {
        let manifest: Manifest = parse(&self.get(path).await?)?;
        if manifest.version == VERSION {
            return Ok(manifest);
        }
        Err(Error::Restore {
            message: format!(
                "the checkpoint has format {}, this build reads {VERSION}",
                manifest.version
            ),
        })
    }

    /// `false` if the epoch is taken by somebody else.
    async fn put_epoch(&self, number: u64, record: &Epoch) -> Result<bool, Error> {
        let path = format!("epochs/{number:020}");
        match self.put(&path, json(record)?, PutMode::Create).await {
            Ok(()) => Ok(true),
            Err(error) => match self.epoch(number).await {
                // An answer that got lost: the record is ours all the same.
                Ok(present) => Ok(present == *record),
                Err(_) => Err(error),
            },
        }
    }

    fn at(&self, path: &str) -> Path {
        path.split('/').fold(self.job.clone(), Path::join)
    }

    async fn get(&self, path: &str) -> Result<Bytes, Error> {
        let read = async { self.store.get(&self.at(path)).await?.bytes().await };
        read.await.map_err(|error| {
            Error::caused(format!("could not read checkpoint file `{path}`"), error)
        })
    }

    async fn put(
        &self,
        path: &str,
        body: impl Into<PutPayload>,
        mode: PutMode,
    ) -> Result<(), Error> {
        put(&self.store, &self.at(path), body, mode)
            .await
            .map_err(|error| {
                Error::caused(format!("could not write checkpoint file `{path}`"), error)
            })
    }

    async fn delete(&self, path: &str) -> Result<(), Error> {
        match self.store.delete(&self.at(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::caused(
                format!("could not delete checkpoint file `{path}`"),
                error,
            )),
        }
    }
}

async fn claim_generation(store: &Arc<dyn ObjectStore>, job: &Path) -> Result<u64, Error> {
    let claim = |error| Error::caused("could not claim the job", error);
    let directory = job.clone().join("generations");
    loop {
        let last = list_numbers(store, &directory).await?.last().copied();
        let generation = last.map_or(1, |number| number + 1);
        let path = directory.clone().join(format!("{generation:020}"));
        match put(store, &path, Bytes::from_static(b"{}"), PutMode::Create).await {
            Ok(()) => return Ok(generation),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(claim(error)),
        }
    }
}

async fn put(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    body: impl Into<PutPayload>,
    mode: PutMode,
) -> Result<(), object_store::Error> {
    let options = PutOptions::from(mode);
    store.put_opts(path, body.into(), options).await.map(|_| ())
}

async fn list_numbers(store: &Arc<dyn ObjectStore>, directory: &Path) -> Result<Vec<u64>, Error> {
    let listed: Vec<_> = store
        .list(Some(directory))
        .try_collect()
        .await
        .map_err(|error| Error::caused("could not list the checkpoints of the job", error))?;
    let mut numbers: Vec<u64> = listed
        .iter()
        .filter_map(|object| object.location.filename()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn lost() -> Error {
    Error::failed("an operator keeps a stub of state that no checkpoint has")
}

fn json<T: serde::Serialize>(value: &T) -> Result<Bytes, Error> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| Error::caused("could not encode a checkpoint record", error))
}

fn parse<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Restore {
        message: format!("a checkpoint record is damaged: {error}"),
    })
}
