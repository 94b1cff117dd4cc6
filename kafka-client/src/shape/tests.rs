//! The shapes against the codec: what it writes fits, what lies about its lengths does not.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::*;

/// The versions of each API that the client may ask for.
const VERSIONS: [(ApiKey, i16, i16); 17] = [
    (ApiKey::Produce, 3, 11),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 7),
    (ApiKey::FindCoordinator, 0, 3),
    (ApiKey::ListGroups, 0, 4),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
];

/// A response with something in every array that it has.
#[expect(clippy::too_many_lines, reason = "one arm for each API")]
fn example(key: ApiKey, version: i16) -> ResponseKind {
    let text = || StrBytes::from_static_str("text");
    let topic = || TopicName(text());
    match key {
        ApiKey::Produce => {
            use produce_response::{
                BatchIndexAndErrorMessage, NodeEndpoint, PartitionProduceResponse,
                TopicProduceResponse,
            };
            let mut partition = PartitionProduceResponse::default();
            if version >= 8 {
                partition.record_errors = vec![BatchIndexAndErrorMessage::default()];
            }
            if version >= 10 {
                partition.current_leader.leader_id = BrokerId(2);
            }
            let topic = TopicProduceResponse::default()
                .with_name(topic())
                .with_partition_responses(vec![partition]);
            let response = ProduceResponse::default().with_responses(vec![topic]);
            if version >= 10 {
                response.with_node_endpoints(vec![NodeEndpoint::default(); 2])
            } else {
                response
            }
            .into()
        }
        ApiKey::Fetch => {
            use fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
            let mut partition = PartitionData::default()
                .with_aborted_transactions(Some(vec![AbortedTransaction::default()]))
                .with_records(Some(Bytes::from_static(b"records")));
            if version >= 12 {
                partition.diverging_epoch.epoch = 4;
                partition.current_leader.leader_id = BrokerId(2);
                partition.snapshot_id.epoch = 1;
            }
            let topic = FetchableTopicResponse::default()
                .with_topic(topic())
                .with_partitions(vec![partition]);
            FetchResponse::default().with_responses(vec![topic]).into()
        }
        ApiKey::ListOffsets => {
            let topic = list_offsets_response::ListOffsetsTopicResponse::default()
                .with_name(topic())
                .with_partitions(vec![Default::default()]);
            ListOffsetsResponse::default()
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::Metadata => {
            use metadata_response::{
                MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
            };
            let partition = MetadataResponsePartition::default()
                .with_replica_nodes(vec![BrokerId(1)])
                .with_isr_nodes(vec![BrokerId(1), BrokerId(2)]);
            let topic = MetadataResponseTopic::default()
                .with_name(Some(topic()))
                .with_partitions(vec![partition]);
            MetadataResponse::default()
                .with_brokers(vec![MetadataResponseBroker::default().with_host(text())])
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::OffsetCommit => {
            let topic = offset_commit_response::OffsetCommitResponseTopic::default()
                .with_name(topic())
                .with_partitions(vec![Default::default()]);
            OffsetCommitResponse::default()
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::OffsetFetch => {
            let topic = offset_fetch_response::OffsetFetchResponseTopic::default()
                .with_name(topic())
                .with_partitions(vec![Default::default()]);
            OffsetFetchResponse::default()
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::FindCoordinator => FindCoordinatorResponse::default().with_host(text()).into(),
        ApiKey::ListGroups => ListGroupsResponse::default()
            .with_groups(vec![Default::default()])
            .into(),
        ApiKey::SaslHandshake => SaslHandshakeResponse::default()
            .with_mechanisms(vec![text(), text()])
            .into(),
        ApiKey::SaslAuthenticate => SaslAuthenticateResponse::default()
            .with_auth_bytes(Bytes::from_static(b"proof"))
            .into(),
        ApiKey::ApiVersions => {
            use api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
            let response =
                ApiVersionsResponse::default().with_api_keys(vec![ApiVersion::default(); 3]);
            if version >= 3 {
                response
                    .with_supported_features(vec![SupportedFeatureKey::default()])
                    .with_finalized_features(vec![FinalizedFeatureKey::default()])
                    .with_finalized_features_epoch(5)
                    .with_zk_migration_ready(true)
            } else {
                response
            }
            .into()
        }
        ApiKey::CreateTopics => {
            let mut result = create_topics_response::CreatableTopicResult::default();
            if version >= 5 {
                result.configs = Some(vec![Default::default()]);
                result.topic_config_error_code = 29;
            }
            CreateTopicsResponse::default()
                .with_topics(vec![result])
                .into()
        }
        ApiKey::DeleteTopics => {
            let result =
                delete_topics_response::DeletableTopicResult::default().with_name(Some(topic()));
            DeleteTopicsResponse::default()
                .with_responses(vec![result])
                .into()
        }
        ApiKey::CreatePartitions => CreatePartitionsResponse::default()
            .with_results(vec![Default::default()])
            .into(),
        ApiKey::InitProducerId => InitProducerIdResponse::default().into(),
        ApiKey::DescribeConfigs => {
            use describe_configs_response::{
                DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
            };
            let entry = DescribeConfigsResourceResult::default()
                .with_synonyms(vec![DescribeConfigsSynonym::default()]);
            let result = DescribeConfigsResult::default().with_configs(vec![entry]);
            DescribeConfigsResponse::default()
                .with_results(vec![result])
                .into()
        }
        ApiKey::IncrementalAlterConfigs => IncrementalAlterConfigsResponse::default()
            .with_responses(vec![Default::default()])
            .into(),
        other => panic!("no example of {other:?}"),
    }
}

/// Every response in every version: key, version, body.
fn responses() -> Vec<(ApiKey, i16, Vec<u8>)> {
    let mut all = Vec::new();
    for (key, min, max) in VERSIONS {
        for version in min..=max {
            let mut body = BytesMut::new();
            example(key, version)
                .encode(&mut body, version)
                .unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
            all.push((key, version, body.to_vec()));
        }
    }
    all
}

#[test]
fn every_response_the_codec_writes_fits_its_shape() {
    assert_eq!(VERSIONS.len(), RESPONSES.len());
    for (key, version, body) in responses() {
        let outcome = check(key as i16, &body, version);
        assert_eq!(outcome, Ok(()), "{key:?} version {version}: {body:?}");
        for cut in 0..body.len() {
            let outcome = check(key as i16, &body[..cut], version);
            assert!(outcome.is_err(), "{key:?} version {version} cut at {cut}");
        }
    }
}

#[test]
fn a_count_that_no_frame_could_hold_is_refused() {
    let metadata = ApiKey::Metadata as i16;
    let much = [0x7f, 0xff, 0xff, 0xff];
    assert_eq!(check(metadata, &much, 1), Err(SHORT));
    // Throttle time, then an array of 4 thousand million brokers.
    let compact = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(check(metadata, &compact, 12), Err(SHORT));
    // Features, in a tagged field of five bytes.
    let versions = [0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(check(ApiKey::ApiVersions as i16, &versions, 3), Err(SHORT));
    // The tag says three bytes, of which an empty list takes one: the codec would go on behind that one.
    let versions = [0, 0, 1, 0, 0, 0, 0, 1, 0, 3, 1, 0xff, 0xff];
    assert!(check(ApiKey::ApiVersions as i16, &versions, 3).is_err());
    assert!(check(ApiKey::Vote as i16, &[], 0).is_err());
}

/// The process would end, for want of memory, if a count were believed.
#[test]
fn fuzzed_responses_are_refused_or_read_but_never_panic() {
    let tag = |(key, version, body): (ApiKey, i16, Vec<u8>)| {
        let mut tagged = vec![key as u8, version as u8];
        tagged.extend(body);
        tagged
    };
    let corpus: Vec<_> = responses().into_iter().map(tag).collect();
    testkit::fuzz(&corpus, |input| {
        let [key, version, body @ ..] = input else {
            return;
        };
        let (key, version) = (i16::from(*key), i16::from(*version));
        let known = VERSIONS
            .iter()
            .find(|(known, min, max)| *known as i16 == key && (*min..=*max).contains(&version));
        let Some((key, _, _)) = known else { return };
        if check(*key as i16, body, version).is_ok() {
            // Text that is no UTF-8 may still be refused.
            let _ = ResponseKind::decode(*key, &mut Bytes::copy_from_slice(body), version);
        }
    });
}
