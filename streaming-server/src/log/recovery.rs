//! Start-up: finds the segments of a partition, trusts what a checkpoint vouches for, and checks the rest.
//!
//! Everything after the checkpoint is read batch by batch (length, format, checksum, offset follows offset). The first
//! thing that is not a good batch is the torn tail of a crash or reserved space: the log ends there, whatever follows is
//! cut off, and because acknowledgements wait for syncs in order nothing acknowledged can be behind it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::batch::{BatchHeader, HEADER_LEN};
use super::disk::{Disk, sync_directory};
use super::index::Index;
use super::producers::Producers;
use super::segment::Segment;

/// Name of the producer table's checkpoint in a partition's directory.
pub(super) const PRODUCERS_FILE: &str = "producers.snapshot";
/// Name of the file that says up to where records were deleted on demand.
pub(super) const START_FILE: &str = "log-start";
const WINDOW: usize = 1 << 20;

/// What a partition's directory holds.
pub(super) struct Recovered {
    /// Oldest first, never empty; the last one takes appends.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) log_start: i64,
    pub(super) next_offset: i64,
    pub(super) producers: Producers,
    /// Bytes written but not part of the log: a batch that was never acknowledged.
    pub(super) cut_bytes: u64,
}

/// Recovers the log in `directory`, ignoring everything at or beyond offset `until` if given.
pub(super) fn recover(
    directory: &Path,
    disk: &Disk,
    until: Option<i64>,
    now_ms: i64,
) -> io::Result<Recovered> {
    let bases = without_strays(directory, segment_bases(directory)?)?;
    let log_start = bases.first().copied().unwrap_or(0);
    let snapshot = Producers::load(&directory.join(PRODUCERS_FILE))?;
    let (producers, known_until) = snapshot.unwrap_or_else(|| (Producers::default(), log_start));
    let mut run = Run {
        directory,
        disk,
        until,
        now_ms,
        producers,
        known_until,
        cut_bytes: 0,
    };
    let (mut segments, mut next_offset) = run.scan_all(&bases)?;
    if next_offset < run.known_until {
        // The snapshot stands for batches the log does not have: believing it would drop a producer's retry.
        remove_if_there(&directory.join(PRODUCERS_FILE))?;
        run.producers = Producers::default();
        run.known_until = log_start;
        (segments, next_offset) = run.scan_all(&bases)?;
    }
    if let Some(active) = segments.last() {
        active.sealed.store(false, Ordering::Relaxed);
    } else {
        let segment = Segment::new(directory, next_offset);
        segment.file(disk)?;
        segments.push(Arc::new(segment));
    }
    let log_start = saved_start(directory)?.clamp(log_start, next_offset);
    Ok(Recovered {
        segments,
        log_start,
        next_offset,
        producers: run.producers,
        cut_bytes: run.cut_bytes,
    })
}

struct Run<'a> {
    directory: &'a Path,
    disk: &'a Disk,
    until: Option<i64>,
    now_ms: i64,
    producers: Producers,
    /// Offset up to which the producer table is complete.
    known_until: i64,
    cut_bytes: u64,
}

impl Run<'_> {
    fn scan_all(&mut self, bases: &[i64]) -> io::Result<(Vec<Arc<Segment>>, i64)> {
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let mut next_offset = bases.first().copied().unwrap_or(0);
        for (i, &base) in bases.iter().enumerate() {
            if i > 0 && (base != next_offset || self.until.is_some_and(|until| base >= until)) {
                self.drop_from(&bases[i..])?;
                break;
            }
            let segment = self.scan_segment(base)?;
            next_offset = segment.index.read().next_offset;
            segments.push(Arc::new(segment));
        }
        Ok((segments, next_offset))
    }

    /// Checks one segment from its recovery point on and trims what is not part of the log.
    fn scan_segment(&mut self, base: i64) -> io::Result<Segment> {
        let path = self.directory.join(format!("{base:020}.log"));
        let file = File::options().read(true).write(true).open(&path)?;
        let file_len = file.metadata()?.len();
        let saved = Index::load(&path.with_extension("index"), base)?;
        let saved = saved.filter(|index| {
            index.log_len <= file_len && self.until.is_none_or(|until| index.next_offset <= until)
        });
        let mut index = saved.clone().unwrap_or_else(|| Index::new(base));
        if self.known_until < index.next_offset {
            self.replay_headers(&file, &index)?;
        }
        let first_ms = first_timestamp(&file, file_len)?;
        let scanned = Scan {
            file: &file,
            file_len,
            until: self.until,
        }
        .run(&mut index, |header| {
            if header.base_offset >= self.known_until {
                self.producers.record(header, self.now_ms);
            }
        })?;
        self.cut_bytes += scanned.cut_bytes;
        let is_clean = saved.is_some_and(|saved| saved.log_len == file_len);
        let segment = Segment::recovered(self.directory, index, base, first_ms);
        if !is_clean {
            let len = segment.synced_len();
            segment.trim(self.disk, len)?;
            remove_if_there(&segment.index_path())?;
        }
        segment.sealed.store(is_clean, Ordering::Relaxed);
        Ok(segment)
    }

    /// Feeds the producer table from batches that the index vouches for but the snapshot does not know.
    fn replay_headers(&mut self, file: &File, index: &Index) -> io::Result<()> {
        let start = index.position_before(self.known_until);
        let mut walk = super::read::HeaderWalk::new(file, start, index.log_len);
        while let Some((_, header)) = walk.next()? {
            if header.base_offset >= self.known_until {
                self.producers.record(&header, self.now_ms);
            }
        }
        Ok(())
    }

    fn drop_from(&mut self, bases: &[i64]) -> io::Result<()> {
        for base in bases {
            let segment = Segment::new(self.directory, *base);
            self.cut_bytes += fs::metadata(segment.path())?.len();
            segment.remove()?;
        }
        sync_directory(self.directory)
    }
}

struct Scan<'a> {
    file: &'a File,
    file_len: u64,
    until: Option<i64>,
}

struct Scanned {
    cut_bytes: u64,
}

impl Scan<'_> {
    fn run(&self, index: &mut Index, mut each: impl FnMut(&BatchHeader)) -> io::Result<Scanned> {
        let mut buffer: Vec<u8> = Vec::new();
        let mut buffer_at = index.log_len;
        loop {
            let position = index.log_len;
            let rest = self.file_len - position;
            if rest < HEADER_LEN as u64 {
                break;
            }
            let mut start = usize::try_from(position - buffer_at).unwrap_or(0);
            if buffer.len() < start + HEADER_LEN {
                self.fill(&mut buffer, position, WINDOW)?;
                (buffer_at, start) = (position, 0);
            }
            let Ok(header) = BatchHeader::parse(&buffer[start..]) else {
                break;
            };
            if header.size() as u64 > rest || header.base_offset != index.next_offset {
                break;
            }
            if buffer.len() < start + header.size() {
                self.fill(&mut buffer, position, header.size().max(WINDOW))?;
                (buffer_at, start) = (position, 0);
            }
            let next_offset = header.last_offset() + 1;
            if BatchHeader::verify(&buffer[start..]).is_err()
                || self.until.is_some_and(|until| next_offset > until)
            {
                break;
            }
            index.push(
                header.base_offset,
                next_offset,
                header.max_timestamp,
                header.size(),
            );
            each(&header);
        }
        Ok(Scanned {
            cut_bytes: self.written_after(index.log_len)?,
        })
    }

    fn fill(&self, buffer: &mut Vec<u8>, position: u64, len: usize) -> io::Result<()> {
        let room = usize::try_from(self.file_len - position).unwrap_or(usize::MAX);
        buffer.resize(len.min(room), 0);
        self.file.read_exact_at(buffer, position)
    }

    /// Bytes from `position` to the last one that is not zero: reserved space is no loss and not worth a word.
    fn written_after(&self, position: u64) -> io::Result<u64> {
        let mut written = 0;
        let mut at = position;
        let mut buffer = vec![0; WINDOW];
        while at < self.file_len {
            let len = usize::try_from(self.file_len - at)
                .unwrap_or(usize::MAX)
                .min(WINDOW);
            self.file.read_exact_at(&mut buffer[..len], at)?;
            if let Some(last) = buffer[..len].iter().rposition(|byte| *byte != 0) {
                written = at - position + last as u64 + 1;
            }
            at += len as u64;
        }
        Ok(written)
    }
}

fn first_timestamp(file: &File, file_len: u64) -> io::Result<i64> {
    if file_len < HEADER_LEN as u64 {
        return Ok(0);
    }
    let mut head = [0; HEADER_LEN];
    file.read_exact_at(&mut head, 0)?;
    Ok(BatchHeader::parse(&head).map_or(0, |header| header.max_timestamp.max(0)))
}

fn segment_bases(directory: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log")
            && let Some(base) = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok())
        {
            bases.push(base);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Removes empty files in front of the log. Readers of earlier versions left one where retention had just deleted a
/// segment, and for the scan the log would end there.
fn without_strays(directory: &Path, mut bases: Vec<i64>) -> io::Result<Vec<i64>> {
    while let [first, _, ..] = bases[..] {
        let stray = Segment::new(directory, first);
        if fs::metadata(stray.path())?.len() > 0 {
            break;
        }
        stray.remove()?;
        bases.remove(0);
    }
    Ok(bases)
}

/// Up to where records were deleted on demand; 0 when never or when the file is damaged.
fn saved_start(directory: &Path) -> io::Result<i64> {
    match fs::read_to_string(directory.join(START_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        outcome => Ok(outcome?.parse().unwrap_or(0)),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
