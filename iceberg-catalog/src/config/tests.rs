//! What the configuration refuses, and that its text form is read back equal.

use super::*;

#[track_caller]
fn refused_key(config: &Config) -> &'static str {
    match config.validate() {
        Err(Error::Config { key, .. }) => key,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn the_defaults_are_valid() {
    Config::default().validate().unwrap();
}

#[test]
fn open_listening_needs_a_token() {
    let mut config = Config {
        listen: "0.0.0.0:8181".parse().unwrap(),
        ..Config::default()
    };
    assert_eq!(refused_key(&config), "token");
    config.token = "secret".to_owned();
    config.validate().unwrap();
}

#[test]
fn wrong_keys_are_named() {
    let database = Config {
        database: Some("mysql://x".to_owned()),
        ..Config::default()
    };
    assert_eq!(refused_key(&database), "database");
    let warehouse = Config {
        warehouse: "ftp://x".to_owned(),
        ..Config::default()
    };
    assert_eq!(refused_key(&warehouse), "warehouse");
    let pages = Config {
        max_page_size: 0,
        ..Config::default()
    };
    assert_eq!(refused_key(&pages), "max_page_size");
}
