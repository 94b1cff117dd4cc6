//! What is served: each API with its versions and the shape of its requests. To add an API, begin here.

use kafka_protocol::messages::ApiKey;

/// One API as it is served.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) name: &'static str,
    /// Versions that are understood.
    pub(crate) min: i16,
    pub(crate) max: i16,
    /// Lowest version that is advertised, where it differs for a reason.
    pub(crate) advertised_min: i16,
    /// First version with compact lengths and tagged fields.
    pub(crate) flexible: i16,
    /// Layout of the request; see [`super::shape`].
    pub(crate) shape: &'static str,
}

const NEVER: i16 = i16::MAX;

/// Every API this broker serves and advertises.
pub(crate) const APIS: &[Api] = &[
    // librdkafka before 2.11.1 silently stops compressing unless version 0 is advertised (KAFKA-18659), as Kafka does.
    Api {
        advertised_min: 0,
        ..api(
            ApiKey::Produce,
            "Produce",
            (3, 13),
            9,
            "s h i [ {-12:s} {13-:u} [ i y ] ]",
        )
    },
    api(
        ApiKey::Fetch,
        "Fetch",
        (4, 17),
        12,
        "{-14:i} i i i b {7-:i i} [ {-12:s} {13-:u} [ i {9-:i} l {12-:i} {5-:l} i <0:u> ] ] \
         {7-:[ {-12:s} {13-:u} (i) ]} {11-:s} <0:s> <1:i l ~>",
    ),
    api(
        ApiKey::ListOffsets,
        "ListOffsets",
        (1, 10),
        6,
        "i {2-:b} [ s [ i {4-:i} l ] ] {10-:i}",
    ),
    api(
        ApiKey::Metadata,
        "Metadata",
        (0, 13),
        9,
        "[ {10-:u} s ] {4-:b} {8-10:b} {8-:b}",
    ),
    api(
        ApiKey::OffsetCommit,
        "OffsetCommit",
        (2, 8),
        8,
        "s i s {7-:s} {2-4:l} [ s [ i l {6-:i} s ] ]",
    ),
    api(
        ApiKey::OffsetFetch,
        "OffsetFetch",
        (1, 8),
        6,
        "{-7:s [ s (i) ]} {8-:[ s {9-:s i} [ s (i) ] ]} {7-:b}",
    ),
    api(
        ApiKey::FindCoordinator,
        "FindCoordinator",
        (0, 6),
        3,
        "{-3:s} {1-:b} {4-:(s)}",
    ),
    api(
        ApiKey::JoinGroup,
        "JoinGroup",
        (0, 9),
        6,
        "s i {1-:i} s {5-:s} s [ s y ] {8-:s}",
    ),
    api(ApiKey::Heartbeat, "Heartbeat", (0, 4), 4, "s i s {3-:s}"),
    api(
        ApiKey::LeaveGroup,
        "LeaveGroup",
        (0, 5),
        4,
        "s {-2:s} {3-:[ s s {5-:s} ]}",
    ),
    api(
        ApiKey::SyncGroup,
        "SyncGroup",
        (0, 5),
        4,
        "s i s {3-:s} {5-:s s} [ s y ]",
    ),
    api(
        ApiKey::DescribeGroups,
        "DescribeGroups",
        (0, 6),
        5,
        "(s) {3-:b}",
    ),
    api(
        ApiKey::ListGroups,
        "ListGroups",
        (0, 5),
        3,
        "{4-:(s)} {5-:(s)}",
    ),
    api(ApiKey::SaslHandshake, "SaslHandshake", (1, 1), NEVER, "s"),
    api(ApiKey::ApiVersions, "ApiVersions", (0, 4), 3, "{3-:s s}"),
    api(
        ApiKey::CreateTopics,
        "CreateTopics",
        (2, 7),
        5,
        "[ s i h [ i (i) ] [ s s ] ] i b",
    ),
    api(
        ApiKey::DeleteTopics,
        "DeleteTopics",
        (1, 6),
        4,
        "{-5:(s)} {6-:[ s u ]} i",
    ),
    api(
        ApiKey::DeleteRecords,
        "DeleteRecords",
        (0, 2),
        2,
        "[ s [ i l ] ] i",
    ),
    api(
        ApiKey::InitProducerId,
        "InitProducerId",
        (0, 5),
        2,
        "s i {3-:l h}",
    ),
    api(
        ApiKey::DescribeConfigs,
        "DescribeConfigs",
        (1, 4),
        4,
        "[ b s (s) ] b {3-:b}",
    ),
    api(
        ApiKey::AlterConfigs,
        "AlterConfigs",
        (0, 2),
        2,
        "[ b s [ s s ] ] b",
    ),
    api(
        ApiKey::DescribeLogDirs,
        "DescribeLogDirs",
        (1, 4),
        2,
        "[ s (i) ]",
    ),
    api(
        ApiKey::CreatePartitions,
        "CreatePartitions",
        (0, 3),
        2,
        "[ s i [ (i) ] ] i b",
    ),
    api(
        ApiKey::IncrementalAlterConfigs,
        "IncrementalAlterConfigs",
        (0, 1),
        1,
        "[ b s [ s b s ] ] b",
    ),
    api(
        ApiKey::DescribeCluster,
        "DescribeCluster",
        (0, 2),
        0,
        "b {1-:b} {2-:b}",
    ),
    api(ApiKey::DeleteGroups, "DeleteGroups", (0, 2), 2, "(s)"),
    api(
        ApiKey::OffsetDelete,
        "OffsetDelete",
        (0, 0),
        NEVER,
        "s [ s [ i ] ]",
    ),
    api(ApiKey::SaslAuthenticate, "SaslAuthenticate", (0, 2), 2, "y"),
];

const fn api(
    key: ApiKey,
    name: &'static str,
    versions: (i16, i16),
    flexible: i16,
    shape: &'static str,
) -> Api {
    Api {
        key,
        name,
        min: versions.0,
        max: versions.1,
        advertised_min: versions.0,
        flexible,
        shape,
    }
}

/// The API with this key, if it is served.
pub(crate) fn served(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}
