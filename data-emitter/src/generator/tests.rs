//! What the events look like, and that they stay the same.

use std::collections::HashSet;
use std::time::Duration;

use expect_test::expect;
use serde_json::Value;

use super::*;
use crate::side_inputs;

const START: i64 = 1_795_000_000_000;

fn made(config: &Config, count: usize) -> (Vec<(Option<String>, String)>, Tally) {
    let mut generator = Generator::new(config);
    let records = (0..count)
        .map(|index| {
            let event = generator.next(START + index as i64);
            let mut value = Vec::new();
            generator.write(&event, &mut value);
            let key = generator
                .key(&event)
                .map(|key| String::from_utf8(key.to_vec()).unwrap());
            (key, String::from_utf8(value).unwrap())
        })
        .collect();
    (records, generator.tally())
}

fn clean() -> Config {
    Config {
        late: 0.0,
        out_of_order: 0.0,
        duplicate: 0.0,
        malformed: 0.0,
        ..Config::default()
    }
}

#[test]
fn a_seed_gives_the_same_bytes_again_and_another_stream_others() {
    let config = Config::default();
    let (first, tally) = made(&config, 5000);
    assert_eq!(
        (&first, tally),
        (&made(&config, 5000).0, made(&config, 5000).1)
    );
    let ids = |records: &[(Option<String>, String)]| -> HashSet<String> {
        let parsed = records
            .iter()
            .filter_map(|(_, value)| serde_json::from_str(value).ok());
        parsed
            .filter_map(|value: Value| Some(value["event_identifier"].as_str()?.to_owned()))
            .collect()
    };
    let (other, _) = made(
        &Config {
            stream: 1,
            ..config
        },
        5000,
    );
    assert!(ids(&first).is_disjoint(&ids(&other)));
    let (_, value) = &made(&clean(), 3).0[2];
    expect![[r#"{"event_identifier":"6a3d834f-ef6c-4276-97c5-9daffda17526","account_id":"e71586f0-f6ec-42cf-92ee-5dc9aae725c7","action_name":"page_view","source_path":"/c/outdoor","session_token":"s-bdcfe192924304d4cfa365","platform_type":"mobile","timestamp_utc":"2026-11-18T11:06:40.002Z","location":{"latitude":40.3474,"longitude":-97.9264},"monetary_value":null}"#]].assert_eq(value);
}

#[test]
fn valid_events_have_the_fields_of_the_contract_and_known_accounts_and_pages() {
    let inputs = side_inputs(42);
    let column = |text: &str, name: &str| -> HashSet<String> {
        let rows = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| row[name].as_str().unwrap().to_owned())
            .collect()
    };
    let accounts = column(&inputs.accounts, "account_id");
    let pages = column(&inputs.pages, "source_path");
    let mut actions = std::collections::BTreeMap::<String, u32>::new();
    for (key, value) in made(&clean(), 20_000).0 {
        let event: Value = serde_json::from_str(&value).unwrap();
        assert_eq!(event.as_object().unwrap().len(), 9, "{value}");
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        assert!(accounts.contains(&text("account_id")), "{value}");
        assert!(pages.contains(&text("source_path")), "{value}");
        assert_eq!(key, Some(text("session_token")));
        chrono::DateTime::parse_from_rfc3339(&text("timestamp_utc")).unwrap();
        let latitude = event["location"]["latitude"].as_f64().unwrap();
        let longitude = event["location"]["longitude"].as_f64().unwrap();
        assert!(
            latitude.abs() <= 90.0 && longitude.abs() <= 180.0,
            "{value}"
        );
        let action = text("action_name");
        let priced = matches!(action.as_str(), "purchase" | "add_to_cart");
        assert_eq!(
            event["monetary_value"]
                .as_f64()
                .is_some_and(|value| value > 0.0),
            priced,
            "{value}"
        );
        *actions.entry(action).or_default() += 1;
    }
    assert_eq!(actions.len(), 5, "{actions:?}");
    assert!(
        actions["page_view"] > 10_000 && actions["purchase"] > 300,
        "{actions:?}"
    );
}

#[test]
fn shares_of_faults_are_as_asked_for_and_as_counted() {
    let config = Config {
        late: 0.1,
        late_by: Duration::from_secs(600),
        out_of_order: 0.2,
        out_of_order_by: Duration::from_secs(3),
        duplicate: 0.05,
        malformed: 0.04,
        ..Config::default()
    };
    let (records, tally) = made(&config, 50_000);
    assert_eq!(tally.records, 50_000);
    assert_eq!(
        tally.valid + tally.duplicates + tally.malformed,
        tally.records
    );
    for (count, expected) in [
        (tally.malformed, 50_000.0 * 0.95 * 0.04),
        (tally.duplicates, tally.valid as f64 * 0.05),
        (tally.late, tally.valid as f64 * 0.1),
        (tally.out_of_order, tally.valid as f64 * 0.9 * 0.2),
    ] {
        assert!((count as f64 / expected - 1.0).abs() < 0.12, "{tally:?}");
    }
    let distinct: HashSet<&String> = records.iter().map(|(_, value)| value).collect();
    assert_eq!(distinct.len() as u64, tally.records - tally.duplicates);
    let is_valid = |value: &str| {
        let Ok(event) = serde_json::from_str::<Value>(value) else {
            return false;
        };
        let known = ["page_view", "add_to_cart", "purchase", "login", "logout"];
        event["event_identifier"].is_string()
            && event["account_id"].is_string()
            && event["action_name"]
                .as_str()
                .is_some_and(|action| known.contains(&action))
            && event["timestamp_utc"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z'))
    };
    let valid = distinct.iter().filter(|value| is_valid(value)).count();
    assert_eq!(valid as u64, tally.valid);
}

#[test]
fn web_logs_are_combined_log_lines() {
    let config = Config {
        profile: Profile::Weblog,
        ..clean()
    };
    let (_, line) = &made(&config, 1).0[0];
    expect![[r#"59.50.191.42 - abc809d7 [18/Nov/2026:11:06:40 +0000] "POST /login?s=s-ffb87b99073f26ed08eed6 HTTP/1.1" 200 25202 "https://shop.example/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36""#]].assert_eq(line);
}

#[test]
fn nexmark_has_its_proportions_and_fields() {
    let config = Config {
        profile: Profile::Nexmark,
        ..clean()
    };
    let (records, _) = made(&config, 5000);
    let mut counts = [0; 3];
    let mut bytes = 0;
    for (key, value) in &records {
        assert_eq!(*key, None);
        let event: Value = serde_json::from_str(value).unwrap();
        let kind = event["event_type"].as_u64().unwrap() as usize;
        counts[kind] += 1;
        let (member, fields) = [("person", 8), ("auction", 10), ("bid", 7)][kind];
        assert_eq!(event[member].as_object().unwrap().len(), fields, "{value}");
        if kind == 2 {
            bytes += value.len();
        }
    }
    assert_eq!(counts, [100, 300, 4600]);
    let mean = bytes / 4600;
    assert!((220..320).contains(&mean), "{mean} bytes a bid");
}
