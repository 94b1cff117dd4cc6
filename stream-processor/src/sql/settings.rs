//! The session's `SET` values: those we know, typed; the others kept and shown as ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;

use crate::error::Error;
use crate::graph::JobConfig;

/// Keys whose value changes what we do.
pub(crate) const KNOWN: [&str; 13] = [
    "execution.checkpointing.interval",
    "execution.runtime-mode",
    "parallelism.default",
    "pipeline.name",
    "pipeline.auto-watermark-interval",
    "table.exec.source.idle-timeout",
    "table.exec.state.ttl",
    "table.local-time-zone",
    "table.optimizer.agg-phase-strategy",
    "execution.checkpointing.mode",
    "table.exec.sink.not-null-enforcer",
    "streamforge.late-table",
    "sql-client.execution.result-mode",
];

/// What `SET` has set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    values: BTreeMap<String, String>,
}

impl Settings {
    pub(crate) fn new(values: BTreeMap<String, String>) -> Self {
        Settings { values }
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Sets a key after checking its value.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let before = self.values.insert(key.to_owned(), value.to_owned());
        if let Err(error) = self.check() {
            match before {
                Some(before) => self.values.insert(key.to_owned(), before),
                None => self.values.remove(key),
            };
            return Err(error);
        }
        Ok(())
    }

    /// Forgets one key, or all.
    pub(crate) fn reset(&mut self, key: Option<&str>) {
        match key {
            Some(key) => {
                self.values.remove(key);
            }
            None => self.values.clear(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.job_config()?;
        self.parallelism()?;
        self.state_ttl()?;
        self.zone()?;
        self.two_phases()?;
        if let Some(mode) = self.values.get("execution.checkpointing.mode")
            && !mode.replace('-', "_").eq_ignore_ascii_case("EXACTLY_ONCE")
        {
            return Err(invalid(
                "execution.checkpointing.mode",
                mode,
                "only EXACTLY_ONCE is offered",
            ));
        }
        if let Some(mode) = self.values.get("table.exec.sink.not-null-enforcer")
            && !mode.eq_ignore_ascii_case("ERROR")
        {
            return Err(invalid(
                "table.exec.sink.not-null-enforcer",
                mode,
                "only ERROR is offered",
            ));
        }
        Ok(())
    }

    /// The settings that the runtime needs.
    pub(crate) fn job_config(&self) -> Result<JobConfig, Error> {
        let mode = self.values.get("execution.runtime-mode");
        let batch = match mode.map(|mode| mode.to_ascii_lowercase()).as_deref() {
            None | Some("streaming") => false,
            Some("batch") => true,
            Some(other) => {
                return Err(invalid(
                    "execution.runtime-mode",
                    other,
                    "streaming or batch",
                ));
            }
        };
        Ok(JobConfig {
            checkpoint_interval: self
                .duration("execution.checkpointing.interval")?
                .filter(|interval| !interval.is_zero()),
            auto_watermark_interval: self
                .duration("pipeline.auto-watermark-interval")?
                .unwrap_or(Duration::from_millis(200)),
            source_idle_timeout: self
                .duration("table.exec.source.idle-timeout")?
                .filter(|timeout| !timeout.is_zero()),
            batch,
        })
    }

    /// `parallelism.default`
    pub(crate) fn parallelism(&self) -> Result<usize, Error> {
        match self.values.get("parallelism.default") {
            None => Ok(1),
            Some(text) => match text.parse::<usize>() {
                Ok(value @ 1..=128) => Ok(value),
                _ => Err(invalid(
                    "parallelism.default",
                    text,
                    "a number from 1 to 128",
                )),
            },
        }
    }

    /// `table.exec.state.ttl` in milliseconds; `None` keeps state for ever.
    pub(crate) fn state_ttl(&self) -> Result<Option<i64>, Error> {
        let ttl = self.duration("table.exec.state.ttl")?;
        Ok(ttl
            .filter(|ttl| !ttl.is_zero())
            .map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)))
    }

    /// `table.local-time-zone`; UTC unless set, so that results do not depend on the machine.
    pub(crate) fn zone(&self) -> Result<Tz, Error> {
        match self.values.get("table.local-time-zone").map(String::as_str) {
            None | Some("default") => Ok(Tz::UTC),
            Some(name) => crate::functions::time::zone_named(name)
                .ok_or_else(|| invalid("table.local-time-zone", name, "the name of a time zone")),
        }
    }

    /// `table.optimizer.agg-phase-strategy`: whether windowed aggregates are added up before the exchange.
    pub(crate) fn two_phases(&self) -> Result<bool, Error> {
        let key = "table.optimizer.agg-phase-strategy";
        match self.values.get(key).map(String::as_str) {
            None | Some("AUTO" | "TWO_PHASE") => Ok(true),
            Some("ONE_PHASE") => Ok(false),
            Some(other) => Err(invalid(key, other, "AUTO, ONE_PHASE or TWO_PHASE")),
        }
    }

    /// `pipeline.name`
    pub(crate) fn name(&self) -> Option<&str> {
        self.values.get("pipeline.name").map(String::as_str)
    }

    /// `streamforge.late-table`: where rows go that came after their window had closed.
    pub(crate) fn late_table(&self) -> Option<&str> {
        self.values
            .get("streamforge.late-table")
            .map(String::as_str)
    }

    /// Keys that were set and that change nothing.
    pub(crate) fn ignored(&self) -> Vec<&str> {
        self.values
            .keys()
            .map(String::as_str)
            .filter(|key| !KNOWN.contains(key))
            .collect()
    }

    fn duration(&self, key: &str) -> Result<Option<Duration>, Error> {
        match self.values.get(key) {
            None => Ok(None),
            Some(text) => parse_duration(text)
                .map(Some)
                .ok_or_else(|| invalid(key, text, "a duration like `10 s`")),
        }
    }
}

fn invalid(key: &str, value: &str, wanted: &str) -> Error {
    Error::Validation {
        message: format!("the setting `{key}` cannot be `{value}`: {wanted}"),
    }
}

/// A duration as Flink's `TimeUtils` reads it: a number and a unit, milliseconds without one.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text
        .find(|next: char| !next.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let nanos: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => 1000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        _ => return None,
    };
    Some(Duration::from_nanos(number.checked_mul(nanos)?))
}
