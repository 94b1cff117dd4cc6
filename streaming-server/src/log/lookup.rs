//! Offsets by time: the first record at or after a moment, and the record with the latest timestamp.
//!
//! Reads and, only here, decompresses, so it runs on a reader thread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::batch::BatchHeader;
use super::partition::Partition;
use super::read::HeaderWalk;
use super::records::{Record, Records};
use super::segment::Segment;

/// Records inflate at most to this when searched for a timestamp.
const INFLATE_LIMIT: usize = 64 << 20;

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
}

impl Partition {
    /// The first record whose timestamp is at least `timestamp`.
    pub(crate) fn find_by_time(&self, timestamp: i64) -> Result<Option<Found>, Error> {
        let (segments, log_start) = self.readable();
        for segment in segments {
            if segment.index.read().max_timestamp < timestamp {
                continue;
            }
            let start = segment.index.read().position_before_time(timestamp);
            let wanted =
                |record: &Record<'_>| record.timestamp >= timestamp && record.offset >= log_start;
            let found = self.search(
                &segment,
                start,
                |header| header.max_timestamp >= timestamp,
                &wanted,
            );
            match found {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                // Retention was faster: the first record is in a later segment.
                Err(_) if segment.is_removed() => {}
                Err(error) => return Err(Error::Read(Arc::new(error))),
            }
        }
        Ok(None)
    }

    /// The first of the records that carry the latest timestamp.
    pub(crate) fn find_max_timestamp(&self) -> Result<Option<Found>, Error> {
        let (segments, _) = self.readable();
        let Some(latest) = segments
            .iter()
            .map(|segment| segment.index.read().max_timestamp)
            .max()
        else {
            return Ok(None);
        };
        // The index may know of batches that are not synced yet: take the latest of what may be read.
        let mut best: Option<Found> = None;
        for segment in segments
            .iter()
            .filter(|segment| segment.index.read().max_timestamp >= latest)
        {
            let found = match self.latest_in(segment) {
                // Retention was faster: the latest is another one now.
                Err(_) if segment.is_removed() => return self.find_max_timestamp(),
                found => found.map_err(|error| Error::Read(Arc::new(error)))?,
            };
            best = match (best, found) {
                (Some(best), Some(found)) if found.timestamp <= best.timestamp => Some(best),
                (best, found) => found.or(best),
            };
        }
        Ok(best)
    }

    fn readable(&self) -> (Vec<Arc<Segment>>, i64) {
        let state = self.state.lock();
        (
            state
                .segments
                .iter()
                .filter(|segment| segment.synced_len() > 0)
                .cloned()
                .collect(),
            state.log_start,
        )
    }

    fn search(
        &self,
        segment: &Segment,
        start: u64,
        may_hold: impl Fn(&BatchHeader) -> bool,
        wanted: &dyn Fn(&Record<'_>) -> bool,
    ) -> io::Result<Option<Found>> {
        let file = segment.file_to_read(&self.env.disk)?;
        let mut walk = HeaderWalk::new(&file, start, segment.synced_len());
        while let Some((position, header)) = walk.next()? {
            if may_hold(&header)
                && let Some(found) = find_record(&file, position, &header, wanted)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn latest_in(&self, segment: &Segment) -> io::Result<Option<Found>> {
        let file = segment.file_to_read(&self.env.disk)?;
        let mut walk = HeaderWalk::new(&file, 0, segment.synced_len());
        let mut latest: Option<(u64, BatchHeader)> = None;
        while let Some((position, header)) = walk.next()? {
            if latest.is_none_or(|(_, best)| header.max_timestamp > best.max_timestamp) {
                latest = Some((position, header));
            }
        }
        let Some((position, header)) = latest else {
            return Ok(None);
        };
        find_record(&file, position, &header, &|record| {
            record.timestamp >= header.max_timestamp
        })
    }
}

fn find_record(
    file: &File,
    position: u64,
    header: &BatchHeader,
    wanted: &dyn Fn(&Record<'_>) -> bool,
) -> io::Result<Option<Found>> {
    let mut batch = vec![0; header.size()];
    file.read_exact_at(&mut batch, position)?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let records = Records::open(&Bytes::from(batch), INFLATE_LIMIT).map_err(invalid)?;
    let mut found = None;
    let walked = records.walk(|record| {
        if wanted(&record) {
            found = Some(Found {
                offset: record.offset,
                timestamp: record.timestamp,
            });
        }
        found.is_none()
    });
    walked.map_err(invalid)?;
    Ok(found)
}
