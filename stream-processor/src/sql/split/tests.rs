//! Scripts are cut where Flink's client cuts them.

use proptest::prelude::*;

use super::split;

fn texts(script: &str) -> Vec<String> {
    split(script)
        .unwrap()
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

#[test]
fn strings_comments_and_sets_keep_their_semicolons() {
    assert_eq!(
        texts(
            "SET 'a' = ';'; -- no; no\n/* ; */ SELECT 1;;\nEXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT CASE WHEN b THEN 1 END; INSERT INTO c SELECT 2; END; SELECT 3"
        ),
        [
            "SET 'a' = ';'",
            "SELECT 1",
            "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT CASE WHEN b THEN 1 END; INSERT INTO c SELECT 2; END",
            "SELECT 3"
        ]
    );
}

#[test]
fn positions_are_those_of_the_script() {
    let statements = split("SELECT 1;\n  SELECT 2;").unwrap();
    assert_eq!(statements[1].position.to_string(), "line 2, column 3");
}

proptest! {
    #[test]
    fn any_script_is_split_or_refused(script in "[a-z;'/*\\- \nENDBEGIN]{0,60}") {
        let _ = split(&script);
    }
}
