//! Where values come from, and what is refused.

mod page;

use super::*;

fn load_with(settings: &Settings, environment: &[(&str, &str)]) -> anyhow::Result<Loaded> {
    let pairs = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_from(settings, pairs)
}

fn set(settings: &[&str]) -> Settings {
    Settings {
        set: settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect(),
        ..Settings::default()
    }
}

#[test]
fn the_committed_defaults_are_the_defaults() {
    let written: Config = toml::from_str(DEFAULTS).unwrap();
    assert_eq!(written, Config::default());
}

#[test]
fn a_later_layer_goes_over_an_earlier_one() {
    let variable = [("STREAMFORGE__QUERY_ENGINE__LISTEN", "127.0.0.1:1")];
    let loaded = load_with(&Settings::default(), &variable).unwrap();
    assert_eq!(loaded.config.query_engine.listen.port(), 1);
    let loaded = load_with(&set(&["query_engine.listen=127.0.0.1:2"]), &variable).unwrap();
    assert_eq!(loaded.config.query_engine.listen.port(), 2);
    let origin = loaded.origins.get("query_engine.listen");
    assert_eq!(
        origin,
        Some(&Origin::Option("--set query_engine.listen".to_owned()))
    );
}

#[test]
fn text_that_looks_like_a_number_stays_text_where_text_is_wanted() {
    let loaded = load_with(&set(&["storage_service.secret_key=1234"]), &[]).unwrap();
    assert_eq!(loaded.config.storage_service.secret_key, "1234");
}

#[test]
fn an_unknown_key_is_refused_with_its_origin() {
    let refused = load_with(&set(&["query_engine.lissen=1"]), &[])
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("--set query_engine.lissen") && refused.contains("lissen"),
        "{refused}"
    );
}

#[test]
fn data_lies_below_the_platforms_directory_unless_it_is_set_by_itself() {
    let settings = Settings {
        data_dir: Some("/d".into()),
        ..set(&["storage_service.data_dir=/elsewhere"])
    };
    let config = load_with(&settings, &[]).unwrap().config;
    assert_eq!(config.storage_service.data_dir, Path::new("/elsewhere"));
    assert_eq!(
        config.iceberg_catalog.data_dir,
        Path::new("/d/iceberg-catalog")
    );
}

#[test]
fn the_default_addresses_of_peers_are_the_default_listeners() {
    let config = Config::default();
    let http = |address: std::net::SocketAddr| format!("http://{address}");
    assert_eq!(
        config.endpoints.kafka,
        config.streaming_server.listen.to_string()
    );
    assert_eq!(
        config.endpoints.kafka_admin,
        http(config.streaming_server.admin_listen)
    );
    assert_eq!(config.endpoints.s3, http(config.storage_service.listen));
    assert_eq!(
        config.endpoints.catalog,
        http(config.iceberg_catalog.listen)
    );
    assert_eq!(
        config.endpoints.gateway,
        http(config.stream_processor.gateway_listen)
    );
    assert_eq!(
        config.endpoints.jobs,
        http(config.stream_processor.job_listen)
    );
    assert_eq!(config.endpoints.trino, http(config.query_engine.listen));
    assert_eq!(
        config.endpoints.dashboard,
        http(config.viz_dashboard.listen)
    );
}

#[test]
fn without_any_other_layer_the_values_are_the_defaults_to_the_byte() {
    let config = load_with(&Settings::default(), &[]).unwrap().config;
    assert_eq!(
        config.streaming_server.max_message_size,
        Config::default().streaming_server.max_message_size
    );
    let mut expected = Config::default();
    place_data(&mut expected, &Origins::default());
    assert_eq!(config, expected);
}

#[test]
fn what_is_printed_loads_back_to_the_same_values() {
    let mut odd = Vec::new();
    for (key, value) in keys(&[], &DEFAULTS.parse().unwrap()) {
        let candidates = match value {
            toml::Value::Integer(number) => vec![(number + 7).to_string(), number.to_string()],
            toml::Value::Boolean(yes) => vec![(!yes).to_string()],
            toml::Value::String(_) => [
                "1234567 B",
                "1h 2m 3s 45ms",
                "127.0.0.1:4321",
                "http://odd:1/",
            ]
            .map(str::to_owned)
            .to_vec(),
            _ => continue,
        };
        let is_secret = ["secret", "password", "token", "users", "private_key"]
            .iter()
            .any(|part| key.contains(part));
        let accepted = candidates
            .iter()
            .map(|value| format!("{key}={value}"))
            .find(|setting| load_with(&set(&[setting]), &[]).is_ok());
        odd.extend(accepted.filter(|_| !is_secret));
    }
    assert!(odd.len() > 100, "only {} keys were tried", odd.len());
    let odd: Vec<_> = odd.iter().map(String::as_str).collect();
    let loaded = load_with(&set(&odd), &[]).unwrap();
    let printed = render::render(&loaded).unwrap();
    let mut back = layers::Layers::new(DEFAULTS).unwrap();
    back.add_file(Path::new("printed.toml"), &printed).unwrap();
    let (back, _, _) = back.finish().unwrap();
    assert_eq!(back, loaded.config, "{printed}");
    assert!(
        printed.contains("max_message_size = \"1234567 B\""),
        "{printed}"
    );
}

/// Every key of a table with its value, as `service.key`.
fn keys(path: &[&str], table: &toml::Table) -> Vec<(String, toml::Value)> {
    table
        .iter()
        .flat_map(|(name, value)| {
            let path = [path, &[name.as_str()]].concat();
            match value {
                toml::Value::Table(inner) => keys(&path, inner),
                value => vec![(path.join("."), value.clone())],
            }
        })
        .collect()
}
