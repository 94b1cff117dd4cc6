//! The shapes against the codec: what it writes fits, what lies about its lengths does not.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;

use super::*;
use crate::wire::table::APIS;

/// A request of this API with something in every array that it has.
#[expect(clippy::too_many_lines, reason = "one arm for each API")]
fn example(key: ApiKey, version: i16) -> RequestKind {
    let text = || StrBytes::from_static_str("text");
    let name = || TopicName(text());
    let group = || GroupId(text());
    match key {
        ApiKey::Produce => {
            let partition = produce_request::PartitionProduceData::default()
                .with_records(Some(Bytes::from_static(b"r")));
            let topic =
                produce_request::TopicProduceData::default().with_partition_data(vec![partition]);
            ProduceRequest::default()
                .with_topic_data(vec![topic])
                .into()
        }
        ApiKey::Fetch => {
            let mut partition = fetch_request::FetchPartition::default();
            if version >= 17 {
                partition.replica_directory_id = uuid::Uuid::from_u128(7);
            }
            let topic = fetch_request::FetchTopic::default().with_partitions(vec![partition]);
            let mut request = FetchRequest::default().with_topics(vec![topic]);
            if version >= 12 {
                request.cluster_id = Some(text());
            }
            if version >= 15 {
                request.replica_state.replica_id = BrokerId(3);
            }
            let gone = fetch_request::ForgottenTopic::default().with_partitions(vec![1, 2]);
            if version >= 7 {
                request.with_forgotten_topics_data(vec![gone])
            } else {
                request
            }
            .into()
        }
        ApiKey::ListOffsets => {
            let topic = list_offsets_request::ListOffsetsTopic::default()
                .with_partitions(vec![Default::default()]);
            ListOffsetsRequest::default()
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::Metadata => {
            let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(name()));
            MetadataRequest::default()
                .with_topics(Some(vec![topic]))
                .with_allow_auto_topic_creation(true)
                .into()
        }
        ApiKey::OffsetCommit => {
            let topic = offset_commit_request::OffsetCommitRequestTopic::default()
                .with_partitions(vec![Default::default()]);
            OffsetCommitRequest::default()
                .with_group_id(group())
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::OffsetFetch if version >= 8 => {
            let topic = offset_fetch_request::OffsetFetchRequestTopics::default()
                .with_partition_indexes(vec![1]);
            let asked = offset_fetch_request::OffsetFetchRequestGroup::default()
                .with_topics(Some(vec![topic]));
            OffsetFetchRequest::default()
                .with_groups(vec![asked])
                .into()
        }
        ApiKey::OffsetFetch => {
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_partition_indexes(vec![1]);
            OffsetFetchRequest::default()
                .with_topics(Some(vec![topic]))
                .into()
        }
        ApiKey::FindCoordinator if version >= 4 => FindCoordinatorRequest::default()
            .with_coordinator_keys(vec![text()])
            .into(),
        ApiKey::FindCoordinator => FindCoordinatorRequest::default().with_key(text()).into(),
        ApiKey::JoinGroup => {
            let protocol = join_group_request::JoinGroupRequestProtocol::default()
                .with_metadata(Bytes::from_static(b"m"));
            JoinGroupRequest::default()
                .with_protocols(vec![protocol])
                .into()
        }
        ApiKey::Heartbeat => HeartbeatRequest::default().into(),
        ApiKey::LeaveGroup if version >= 3 => LeaveGroupRequest::default()
            .with_members(vec![Default::default()])
            .into(),
        ApiKey::LeaveGroup => LeaveGroupRequest::default().into(),
        ApiKey::SyncGroup => SyncGroupRequest::default()
            .with_assignments(vec![Default::default()])
            .into(),
        ApiKey::DescribeGroups => DescribeGroupsRequest::default()
            .with_groups(vec![group()])
            .into(),
        ApiKey::ListGroups => ListGroupsRequest::default().into(),
        ApiKey::ApiVersions => ApiVersionsRequest::default().into(),
        ApiKey::CreateTopics => {
            let assignment = create_topics_request::CreatableReplicaAssignment::default()
                .with_broker_ids(vec![BrokerId(1)]);
            let topic = create_topics_request::CreatableTopic::default()
                .with_assignments(vec![assignment])
                .with_configs(vec![Default::default()]);
            CreateTopicsRequest::default()
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::DeleteTopics if version >= 6 => DeleteTopicsRequest::default()
            .with_topics(vec![Default::default()])
            .into(),
        ApiKey::DeleteTopics => DeleteTopicsRequest::default()
            .with_topic_names(vec![name()])
            .into(),
        ApiKey::DeleteRecords => {
            let topic = delete_records_request::DeleteRecordsTopic::default()
                .with_partitions(vec![Default::default()]);
            DeleteRecordsRequest::default()
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::InitProducerId => InitProducerIdRequest::default().into(),
        ApiKey::DescribeConfigs => {
            let resource = describe_configs_request::DescribeConfigsResource::default()
                .with_configuration_keys(Some(vec![text()]));
            DescribeConfigsRequest::default()
                .with_resources(vec![resource])
                .into()
        }
        ApiKey::AlterConfigs => {
            let resource = alter_configs_request::AlterConfigsResource::default()
                .with_configs(vec![Default::default()]);
            AlterConfigsRequest::default()
                .with_resources(vec![resource])
                .into()
        }
        ApiKey::IncrementalAlterConfigs => {
            let resource = incremental_alter_configs_request::AlterConfigsResource::default()
                .with_configs(vec![Default::default()]);
            IncrementalAlterConfigsRequest::default()
                .with_resources(vec![resource])
                .into()
        }
        ApiKey::DescribeLogDirs => {
            let topic = describe_log_dirs_request::DescribableLogDirTopic::default()
                .with_partitions(vec![1]);
            DescribeLogDirsRequest::default()
                .with_topics(Some(vec![topic]))
                .into()
        }
        ApiKey::CreatePartitions => {
            let assignment = create_partitions_request::CreatePartitionsAssignment::default()
                .with_broker_ids(vec![BrokerId(1)]);
            let topic = create_partitions_request::CreatePartitionsTopic::default()
                .with_assignments(Some(vec![assignment]));
            CreatePartitionsRequest::default()
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::DeleteGroups => DeleteGroupsRequest::default()
            .with_groups_names(vec![group()])
            .into(),
        ApiKey::OffsetDelete => {
            let topic = offset_delete_request::OffsetDeleteRequestTopic::default()
                .with_partitions(vec![Default::default()]);
            OffsetDeleteRequest::default()
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::DescribeCluster => DescribeClusterRequest::default().into(),
        ApiKey::SaslHandshake => SaslHandshakeRequest::default().into(),
        ApiKey::SaslAuthenticate => SaslAuthenticateRequest::default().into(),
        other => panic!("{other:?} is served: give an example of it"),
    }
}

fn encoded(key: ApiKey, version: i16) -> Vec<u8> {
    let mut body = BytesMut::new();
    example(key, version)
        .encode(&mut body, version)
        .unwrap_or_else(|error| panic!("{key:?} {version}: {error}"));
    body.to_vec()
}

#[test]
fn every_request_the_codec_writes_fits_its_shape() {
    for api in APIS {
        for version in api.min..=api.max {
            let body = encoded(api.key, version);
            let outcome = check(api.shape, &body, version, version >= api.flexible);
            assert_eq!(outcome, Ok(()), "{} version {version}: {body:?}", api.name);
            for cut in 0..body.len() {
                let outcome = check(api.shape, &body[..cut], version, version >= api.flexible);
                assert!(
                    outcome.is_err(),
                    "{} version {version} cut at {cut}",
                    api.name
                );
            }
        }
    }
}

#[test]
fn elements_are_counted_over_the_whole_request() {
    let request = |n_arrays: u32, n_values: u32| {
        let mut body = n_arrays.to_be_bytes().to_vec();
        for _ in 0..n_arrays {
            body.extend_from_slice(&n_values.to_be_bytes());
            body.resize(body.len() + usize::try_from(n_values).unwrap(), 0);
        }
        body
    };
    assert_eq!(check("[(b)]", &request(300, 300), 0, false), Ok(()));
    assert_eq!(
        check("[(b)]", &request(400, 300), 0, false),
        Err(ShapeError::TooMany { count: 300 })
    );
    // 2000 structures, each with nothing but 60 tags that nobody knows.
    let mut tagged = vec![0xd1, 0x0f];
    for _ in 0..2000 {
        tagged.push(60);
        tagged.extend((0..60).flat_map(|tag| [tag + 10, 0]));
    }
    tagged.push(0);
    assert_eq!(
        check("[]", &tagged, 0, true),
        Err(ShapeError::TooMany { count: 60 })
    );
}

#[test]
fn a_count_that_no_frame_could_hold_is_refused() {
    assert_eq!(
        check("[ s ]", &i32::MAX.to_be_bytes(), 0, false),
        Err(ShapeError::TooMany { count: 0x7fff_ffff })
    );
    assert_eq!(
        check("[ s ]", &[0xff, 0xff, 0xff, 0xff, 0x0f], 0, true),
        Err(ShapeError::TooMany { count: 0xffff_fffe })
    );
    assert_eq!(
        check("(i)", &[0, 0, 0, 9, 0, 0], 0, false),
        Err(ShapeError::Short)
    );
    assert_eq!(
        check("s", &(-2_i16).to_be_bytes(), 0, false),
        Err(ShapeError::Negative)
    );
}

#[test]
fn bytes_behind_the_last_field_are_ignored() {
    // librdkafka 2.13 asks for all topics: what it meant to say follows the four zeros of the count it did not fill in.
    let request = [0, 0, 0, 0, 1, 0, 0];
    let api = APIS.iter().find(|api| api.key == ApiKey::Metadata).unwrap();
    assert_eq!(check(api.shape, &request, 13, true), Ok(()));
}

#[test]
fn a_tag_that_lies_about_its_length_is_refused() {
    let mut body = encoded(ApiKey::Fetch, 17);
    let api = APIS.iter().find(|api| api.key == ApiKey::Fetch).unwrap();
    let length = |body: &[u8]| {
        let id = uuid::Uuid::from_u128(7);
        let at = body.windows(16).position(|bytes| bytes == id.as_bytes());
        at.unwrap() - 1
    };
    let at = length(&body);
    assert_eq!(body[at], 16);
    // What the codec would take for further fields, among them a count of two thousand million topics.
    body[at] = 21;
    body.splice(at + 17..at + 17, [0xff, 0xff, 0xff, 0xff, 0x07]);
    let outcome = check(api.shape, &body, 17, true);
    assert_eq!(outcome, Err(ShapeError::Trailing { n_bytes: 5 }));
    // Tag 0 in a number of 33 bits, which the codec would cut.
    let mut body = encoded(ApiKey::Fetch, 17);
    let at = length(&body) - 1;
    assert_eq!(body[at], 0);
    body.splice(at..=at, [0x80, 0x80, 0x80, 0x80, 0x10]);
    assert!(check(api.shape, &body, 17, true).is_err());
}

/// A frame of every served version, with its header.
fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for api in APIS {
        for version in api.min..=api.max {
            let mut frame = Vec::new();
            frame.extend_from_slice(&(api.key as i16).to_be_bytes());
            frame.extend_from_slice(&version.to_be_bytes());
            frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
            if version >= api.flexible {
                frame.push(0);
            }
            frame.extend(encoded(api.key, version));
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn fuzzed_frames_are_refused_or_understood_but_never_panic() {
    let (mut n_understood, mut n_refused) = (0_u64, 0_u64);
    testkit::fuzz(&frames(), |frame| {
        match crate::wire::decode(&Bytes::copy_from_slice(frame)) {
            Ok(_) => n_understood += 1,
            Err(_) => n_refused += 1,
        }
    });
    assert!(
        n_understood > 0 && n_refused > 0,
        "{n_understood} {n_refused}"
    );
}

proptest! {
    #[test]
    fn no_frame_makes_the_decoder_panic_or_reserve_much(
        api in 0..APIS.len(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        version in any::<proptest::sample::Index>(),
    ) {
        let api = &APIS[api];
        let version = api.min + i16::try_from(version.index(usize::try_from(api.max - api.min + 1).unwrap())).unwrap();
        let mut frame = Vec::new();
        frame.extend_from_slice(&(api.key as i16).to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        if version >= api.flexible {
            frame.push(0);
        }
        frame.extend(encoded(api.key, version));
        for (at, byte) in flips {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        // Refused or understood, but never a panic or an allocation that the frame does not back.
        let _ = crate::wire::decode(&Bytes::from(frame));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = crate::wire::decode(&Bytes::from(bytes));
    }
}
