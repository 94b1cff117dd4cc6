//! What the configuration refuses.

use super::*;

#[test]
fn open_listening_needs_a_password() {
    Config::default().validate().unwrap();
    let mut config = Config {
        listen: "0.0.0.0:8088".parse().unwrap(),
        ..Config::default()
    };
    assert_eq!(
        config.validate().unwrap_err().to_string(),
        "`password` listening on 0.0.0.0:8088 is open to others and needs a password"
    );
    config.password = "secret".to_owned();
    config.validate().unwrap();
}
