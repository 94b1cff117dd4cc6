//! The exchanges, with the test vector of RFC 7677 for SCRAM-SHA-256.

use super::*;

fn users() -> Users {
    Users::new(&BTreeMap::from([("user".to_owned(), "pencil".to_owned())]))
}

fn exchange(mechanism: &str) -> Exchange {
    let mut exchange = Exchange::default();
    exchange.choose(mechanism).unwrap();
    exchange
}

#[test]
fn plain_takes_the_right_password_only() {
    let users = users();
    let mut good = exchange("PLAIN");
    assert_eq!(good.step(&users, b"\0user\0pencil"), Ok(Vec::new()));
    assert_eq!(good, Exchange::Authenticated);
    for (message, denied) in [
        (&b"\0user\0pen"[..], Denied::Credentials),
        (b"\0nobody\0pencil", Denied::Credentials),
        (b"user\0pencil", Denied::Message),
        (b"\xff", Denied::Message),
    ] {
        let mut bad = exchange("PLAIN");
        assert_eq!(bad.step(&users, message), Err(denied));
        assert_ne!(bad, Exchange::Authenticated);
    }
}

#[test]
fn the_example_of_rfc_7677_is_answered_as_written_there() {
    let mut users = users();
    let salt: [u8; 16] = STANDARD
        .decode("W22ZaJ0SNY7soEsUEjb6gQ==")
        .unwrap()
        .try_into()
        .unwrap();
    users.by_name.get_mut("user").unwrap().sha256 = Keys::with_salt(Hash::Sha256, "pencil", salt);
    let (proving, answer) = begin_scram(
        &users,
        Hash::Sha256,
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    )
    .unwrap();
    assert_eq!(
        answer,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = |proof: &str| {
        format!("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p={proof}")
    };
    let good = end_scram(
        &users,
        &proving,
        &last("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
    );
    assert_eq!(
        good.unwrap(),
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
    let bad = end_scram(
        &users,
        &proving,
        &last("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVR="),
    );
    assert!(bad.is_err());
    assert_eq!(
        end_scram(&users, &proving, "c=biws,r=other,p=AAAA"),
        Err(Denied::Message)
    );
}

#[test]
fn messages_out_of_turn_are_denied() {
    let users = users();
    assert_eq!(
        Exchange::default().step(&users, b"n,,n=user,r=x"),
        Err(Denied::Message)
    );
    assert_eq!(Exchange::default().choose("GSSAPI"), Err(Denied::Mechanism));
    for message in ["n,,n=user", "p=tls,,n=user,r=x", "n,,n=user,r=", "", ",,,"] {
        assert!(
            exchange("SCRAM-SHA-512")
                .step(&users, message.as_bytes())
                .is_err(),
            "{message}"
        );
    }
}
