//! Topics, partitions, configurations and offsets of groups are administered.

use kafka_client::{CommittedOffset, ConfigResource, ErrorCode, NewTopic, TopicPartition};

use crate::broker::Broker;

#[tokio::test]
async fn topics_are_made_widened_configured_and_deleted() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    let mut wanted = NewTopic::new("events", 2);
    wanted
        .config
        .insert("retention.ms".to_owned(), "3600000".to_owned());
    assert!(client.ensure_topic(&wanted).await.unwrap());
    assert!(!client.ensure_topic(&wanted).await.unwrap());
    let again = client.create_topic(&wanted).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TopicAlreadyExists));
    let names = client.topic_names().await.unwrap();
    assert!(names.iter().any(|name| &**name == "events"), "{names:?}");
    client.create_partitions("events", 5).await.unwrap();
    assert_eq!(
        client.await_topic("events").await.unwrap().partitions.len(),
        5
    );
    let resource = ConfigResource::Topic("events".to_owned());
    let retention = async || {
        let entries = client.describe_configs(&resource).await.unwrap();
        let entry = entries
            .into_iter()
            .find(|entry| entry.name == "retention.ms")
            .unwrap();
        (entry.value.unwrap(), entry.is_default)
    };
    assert_eq!(retention().await, ("3600000".to_owned(), false));
    client
        .alter_configs(&resource, &[("retention.ms", Some("7200000"))])
        .await
        .unwrap();
    assert_eq!(retention().await, ("7200000".to_owned(), false));
    client.delete_topic("events").await.unwrap();
    let gone = client.topic("events").await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UnknownTopicOrPartition));
    let info = client.cluster().await.unwrap();
    assert_eq!(info.brokers.len(), 1);
    assert_eq!(info.brokers[0].port, broker.address.port());
}

#[tokio::test]
async fn offsets_are_kept_under_the_name_of_a_group_without_members() {
    let broker = Broker::start().await;
    let client = broker.client().await;
    client
        .ensure_topic(&NewTopic::new("read", 3))
        .await
        .unwrap();
    let partitions: Vec<_> = (0..3)
        .map(|index| TopicPartition::new("read", index))
        .collect();
    assert_eq!(
        client
            .committed_offsets("job-1", &partitions)
            .await
            .unwrap(),
        []
    );
    let commit = |index: usize, offset| CommittedOffset {
        partition: partitions[index].clone(),
        offset,
        metadata: format!("checkpoint {offset}"),
    };
    client
        .commit_offsets("job-1", &[commit(0, 10), commit(2, 30)])
        .await
        .unwrap();
    client
        .commit_offsets("job-1", &[commit(2, 31)])
        .await
        .unwrap();
    let found = client
        .committed_offsets("job-1", &partitions)
        .await
        .unwrap();
    assert_eq!(found, [commit(0, 10), commit(2, 31)]);
    let groups = client.list_groups().await.unwrap();
    assert!(
        groups.iter().any(|group| group.group == "job-1"),
        "{groups:?}"
    );
}
