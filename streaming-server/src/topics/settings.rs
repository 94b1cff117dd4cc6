//! Topic settings by Kafka's names: which there are, which may be changed, and what they mean for the log.
//!
//! A setting that the log does not honour is listed with the one value that describes what the log does, and any other
//! value is refused: nothing is accepted and then ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Config;
use crate::log;

/// Why a setting is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingError {
    #[error("no topic setting named `{name}`")]
    Unknown { name: String },
    #[error("topic setting `{name}` cannot be `{value}`: {why}")]
    Value {
        name: String,
        value: String,
        why: String,
    },
}

/// The type of a setting, as Kafka numbers them in `DescribeConfigs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// One setting a topic can have.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The broker setting that its default comes from, as Kafka calls it.
    pub(crate) synonym: &'static str,
    value: Value,
}

enum Value {
    /// May be set; the function takes it from the settings in force.
    Honoured(fn(&log::Settings) -> String),
    /// The log does this and nothing else.
    Fixed(&'static str),
}

const FOREVER: &str = "9223372036854775807";

/// Every topic setting, sorted by name.
pub(crate) const SETTINGS: &[Setting] = &[
    fixed("cleanup.policy", Kind::List, "log.cleanup.policy", "delete"),
    fixed(
        "compression.type",
        Kind::String,
        "compression.type",
        "producer",
    ),
    fixed(
        "delete.retention.ms",
        Kind::Long,
        "log.cleaner.delete.retention.ms",
        "86400000",
    ),
    fixed(
        "file.delete.delay.ms",
        Kind::Long,
        "log.segment.delete.delay.ms",
        "0",
    ),
    fixed(
        "flush.messages",
        Kind::Long,
        "log.flush.interval.messages",
        "1",
    ),
    fixed("flush.ms", Kind::Long, "log.flush.interval.ms", "0"),
    fixed(
        "index.interval.bytes",
        Kind::Int,
        "log.index.interval.bytes",
        "32768",
    ),
    honoured(
        "max.message.bytes",
        Kind::Int,
        "message.max.bytes",
        |settings| settings.max_message_bytes.to_string(),
    ),
    fixed(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "log.message.timestamp.after.max.ms",
        FOREVER,
    ),
    fixed(
        "message.timestamp.before.max.ms",
        Kind::Long,
        "log.message.timestamp.before.max.ms",
        FOREVER,
    ),
    honoured(
        "message.timestamp.type",
        Kind::String,
        "log.message.timestamp.type",
        |settings| {
            if settings.log_append_time {
                "LogAppendTime".to_owned()
            } else {
                "CreateTime".to_owned()
            }
        },
    ),
    fixed(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "log.cleaner.min.cleanable.ratio",
        "0.5",
    ),
    fixed("min.insync.replicas", Kind::Int, "min.insync.replicas", "1"),
    fixed("preallocate", Kind::Boolean, "log.preallocate", "true"),
    fixed(
        "remote.storage.enable",
        Kind::Boolean,
        "remote.log.storage.system.enable",
        "false",
    ),
    honoured(
        "retention.bytes",
        Kind::Long,
        "log.retention.bytes",
        |settings| settings.retention_bytes.to_string(),
    ),
    honoured("retention.ms", Kind::Long, "log.retention.ms", |settings| {
        settings.retention_ms.to_string()
    }),
    honoured(
        "segment.bytes",
        Kind::Int,
        "log.segment.bytes",
        |settings| settings.segment_bytes.to_string(),
    ),
    honoured("segment.ms", Kind::Long, "log.roll.ms", |settings| {
        settings.segment_ms.to_string()
    }),
    fixed(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "unclean.leader.election.enable",
        "false",
    ),
];

const fn fixed(
    name: &'static str,
    kind: Kind,
    synonym: &'static str,
    value: &'static str,
) -> Setting {
    Setting {
        name,
        kind,
        synonym,
        value: Value::Fixed(value),
    }
}

const fn honoured(
    name: &'static str,
    kind: Kind,
    synonym: &'static str,
    value: fn(&log::Settings) -> String,
) -> Setting {
    Setting {
        name,
        kind,
        synonym,
        value: Value::Honoured(value),
    }
}

impl Setting {
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.value, Value::Fixed(_))
    }

    /// What the setting is under `settings`.
    pub(crate) fn value(&self, settings: &log::Settings) -> String {
        match self.value {
            Value::Honoured(value) => value(settings),
            Value::Fixed(value) => value.to_owned(),
        }
    }
}

/// The settings of a topic that sets nothing itself.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    settings: log::Settings,
    max_message_bytes: i64,
}

impl Defaults {
    pub(crate) fn new(config: &Config) -> Self {
        let signed = |size: bytesize::ByteSize| i64::try_from(size.as_u64()).unwrap_or(i64::MAX);
        Self {
            settings: log::Settings {
                segment_bytes: config.segment_size.as_u64(),
                segment_ms: millis(config.segment_age),
                retention_ms: config.retention.map_or(-1, millis),
                retention_bytes: config.retention_size.map_or(-1, signed),
                max_message_bytes: usize::try_from(config.max_message_size.as_u64())
                    .unwrap_or(usize::MAX),
                log_append_time: false,
            },
            max_message_bytes: signed(config.max_request_size),
        }
    }

    pub(crate) fn settings(&self) -> &log::Settings {
        &self.settings
    }

    /// The settings of a topic with these overrides, or why one of them cannot be.
    pub(crate) fn apply(
        &self,
        overrides: &BTreeMap<String, String>,
    ) -> Result<log::Settings, SettingError> {
        let mut settings = self.settings.clone();
        for (name, value) in overrides {
            self.apply_one(&mut settings, name, value)?;
        }
        Ok(settings)
    }

    fn apply_one(
        &self,
        settings: &mut log::Settings,
        name: &str,
        value: &str,
    ) -> Result<(), SettingError> {
        let unknown = || SettingError::Unknown {
            name: name.to_owned(),
        };
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .ok_or_else(unknown)?;
        let refuse = |why: String| SettingError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            why,
        };
        if let Value::Fixed(only) = setting.value {
            let is_it = value == only;
            return is_it
                .then_some(())
                .ok_or_else(|| refuse(format!("this broker serves only `{only}`")));
        }
        let number = |min: i64, max: i64| {
            let number = value
                .parse::<i64>()
                .ok()
                .filter(|number| (min..=max).contains(number));
            number.ok_or_else(|| refuse(format!("it needs a number from {min} to {max}")))
        };
        match name {
            "retention.ms" => settings.retention_ms = number(-1, i64::MAX)?,
            "retention.bytes" => settings.retention_bytes = number(-1, i64::MAX)?,
            "segment.ms" => settings.segment_ms = number(1, i64::MAX)?,
            "segment.bytes" => settings.segment_bytes = number(1024, 1 << 30)?.cast_unsigned(),
            "max.message.bytes" => {
                let max = number(0, self.max_message_bytes)?;
                settings.max_message_bytes = usize::try_from(max).unwrap_or(0);
            }
            "message.timestamp.type" => {
                settings.log_append_time = match value {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => {
                        return Err(refuse(
                            "it needs `CreateTime` or `LogAppendTime`".to_owned(),
                        ));
                    }
                };
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
