//! Properties as users copy them from their Java programs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::parse_properties;
use crate::config::{Config, Sasl, SaslMechanism, Tls};

fn with(text: &str) -> Result<Config, String> {
    let properties: BTreeMap<_, _> = parse_properties(text).map_err(|error| error.to_string())?;
    Config::new("host:9092")
        .with_properties(&properties)
        .map_err(|error| error.to_string())
}

#[test]
fn a_file_of_kafkas_tools_is_understood() {
    let config = with(r#"
        # comment
        security.protocol = SASL_SSL
        sasl.mechanism=SCRAM-SHA-512
        sasl.jaas.config=org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule \
            required username="al;ice" password='it"s = \\\\ secret';
        ssl.truststore.type=PEM
        ssl.truststore.location=/etc/ca.pem
        ssl.keystore.location=/etc/client.pem
        client.id=mine
        request.timeout.ms=1500
    "#)
    .unwrap();
    let sasl = Sasl {
        mechanism: SaslMechanism::ScramSha512,
        username: "al;ice".to_owned(),
        password: "it\"s = \\ secret".to_owned(),
    };
    let tls = Tls {
        ca_file: Some("/etc/ca.pem".into()),
        cert_file: Some("/etc/client.pem".into()),
        key_file: Some("/etc/client.pem".into()),
    };
    assert_eq!((config.sasl, config.tls), (Some(sasl), Some(tls)));
    assert_eq!(config.client_id, "mine");
    assert_eq!(config.request_timeout, Duration::from_millis(1500));
}

#[test]
fn without_properties_nothing_changes() {
    assert_eq!(with(""), Ok(Config::new("host:9092")));
    assert_eq!(
        with("security.protocol=PLAINTEXT"),
        Ok(Config::new("host:9092"))
    );
}

#[test]
fn what_would_have_no_effect_is_refused() {
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    for (text, complaint) in [
        ("linger.ms=5".to_owned(), "`linger.ms` is not supported"),
        ("security.protocol=TLS".to_owned(), "not `TLS`"),
        ("sasl.mechanism=PLAIN".to_owned(), "no effect"),
        ("ssl.truststore.location=a.pem".to_owned(), "no effect"),
        (
            "security.protocol=SSL\nssl.truststore.location=a.jks".to_owned(),
            "Java keystores are not read",
        ),
        (
            "security.protocol=SSL\nssl.keystore.type=JKS\nssl.keystore.location=a".to_owned(),
            "Java keystores are not read",
        ),
        (
            "security.protocol=SASL_SSL".to_owned(),
            "`sasl.mechanism` is missing",
        ),
        (
            "security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI".to_owned(),
            "not `GSSAPI`",
        ),
        (
            format!(
                "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config={plain} username=\"a\" password=\"b\";"
            ),
            "begins with `…ScramLoginModule required`",
        ),
        (
            format!(
                "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={plain} username=\"a\";"
            ),
            "has no `password=\"…\"`",
        ),
        (
            format!(
                "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config={plain} username=\"a\" password=\"b;"
            ),
            "ends with `;`",
        ),
        ("request.timeout.ms=soon".to_owned(), "not `soon`"),
        ("nothing".to_owned(), "`nothing` needs the form"),
    ] {
        let error = with(&text).unwrap_err();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}
