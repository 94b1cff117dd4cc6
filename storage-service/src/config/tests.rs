//! Facts about which configurations are accepted.

use super::*;

fn refused(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    config.validate().unwrap_err().to_string()
}

#[test]
fn defaults_are_valid() {
    Config::default().validate().unwrap();
}

#[test]
fn open_listening_without_keys_is_refused() {
    let why = refused(|config| config.listen = "0.0.0.0:9000".parse().unwrap());
    assert_eq!(
        why,
        "`listen` of storage_service: listening beyond loopback needs `access_key` and `secret_key`"
    );
    let with_keys = Config {
        listen: "0.0.0.0:9000".parse().unwrap(),
        access_key: "a".into(),
        secret_key: "b".into(),
        ..Config::default()
    };
    with_keys.validate().unwrap();
}

#[test]
fn values_that_cannot_work_are_named() {
    assert!(refused(|config| config.access_key = "a".into()).contains("`secret_key`"));
    assert!(refused(|config| config.buckets = vec!["No".into()]).contains("`No`"));
    assert!(refused(|config| config.region = "eu west".into()).contains("`region`"));
    assert!(refused(|config| config.inline_size = ByteSize::mib(2)).contains("`inline_size`"));
    assert!(
        refused(|config| config.request_memory = ByteSize::mib(19)).contains("`request_memory`")
    );
    assert!(refused(|config| config.io_threads = 0).contains("`io_threads`"));
}
