//! The only place that knows which Kafka error code a failure of the domain becomes.

use kafka_protocol::ResponseError;

use crate::log::batch::BatchError;
use crate::log::{self};
use crate::topics::{self, settings::SettingError};

/// The code of a failure of the log.
pub(crate) fn code(error: &log::Error) -> ResponseError {
    match error {
        log::Error::OffsetOutOfRange { .. } | log::Error::Expired { .. } => {
            ResponseError::OffsetOutOfRange
        }
        log::Error::Batch(BatchError::Checksum | BatchError::Short { .. }) => {
            ResponseError::CorruptMessage
        }
        log::Error::Batch(BatchError::Magic { .. }) => ResponseError::UnsupportedForMessageFormat,
        log::Error::Batch(BatchError::Malformed { .. }) | log::Error::InvalidRecord { .. } => {
            ResponseError::InvalidRecord
        }
        log::Error::TooLarge { .. } => ResponseError::MessageTooLarge,
        log::Error::Sequence(error) => match error {
            log::SequenceError::StaleEpoch { .. } => ResponseError::InvalidProducerEpoch,
            log::SequenceError::OutOfOrder { .. } => ResponseError::OutOfOrderSequenceNumber,
        },
        log::Error::Storage { .. } | log::Error::Read(_) => ResponseError::KafkaStorageError,
        log::Error::Deleted => ResponseError::UnknownTopicOrPartition,
    }
}

/// The code of a refused change of topics.
pub(crate) fn topic_code(error: &topics::Error) -> ResponseError {
    match error {
        topics::Error::Exists { .. } => ResponseError::TopicAlreadyExists,
        topics::Error::Unknown { .. } => ResponseError::UnknownTopicOrPartition,
        topics::Error::Name { .. } => ResponseError::InvalidTopicException,
        topics::Error::Partitions { .. } => ResponseError::InvalidPartitions,
        topics::Error::Setting(SettingError::Unknown { .. } | SettingError::Value { .. }) => {
            ResponseError::InvalidConfig
        }
        topics::Error::Storage(_) | topics::Error::Open(_) => ResponseError::KafkaStorageError,
    }
}
