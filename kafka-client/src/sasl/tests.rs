//! The examples of the RFCs.

use super::Scram;
use crate::config::SaslMechanism;

#[test]
fn scram_sha_256_gives_the_messages_of_rfc_7677() {
    let scram = Scram::new(
        SaslMechanism::ScramSha256,
        "user",
        "pencil",
        "rOprNGfwEbeRWgbNEkqO".to_owned(),
    );
    assert_eq!(scram.client_first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let server_first =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let (client_final, server_final) = scram.client_final(server_first).unwrap();
    assert_eq!(
        client_final,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert_eq!(
        server_final,
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
}

#[test]
fn a_broker_may_not_change_the_nonce_or_ask_for_endless_rounds() {
    let scram = Scram::new(SaslMechanism::ScramSha512, "u,=", "p", "abc".to_owned());
    assert_eq!(scram.client_first(), "n,,n=u=2C=3D,r=abc");
    for server_first in [
        "r=xyz,s=AAAA,i=4096",
        "r=abc,s=AAAA,i=4096",
        "r=abcd,s=AAAA,i=99999999",
    ] {
        assert!(scram.client_final(server_first).is_err(), "{server_first}");
    }
    assert!(scram.client_final("r=abcd,s=AAAA,i=4096").is_ok());
}
