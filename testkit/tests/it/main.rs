//! House rules that a reviewer should not have to check by hand, and the Python environment.

mod tidy;

#[test]
fn the_environment_has_the_clients() {
    let printed = testkit::python(
        "import confluent_kafka, trino, duckdb; print(duckdb.__version__)",
        &[],
    );
    assert_eq!(printed, "1.5.5\n");
}

#[tokio::test]
async fn waiting_ends_when_the_probe_answers() {
    let mut asked = 0;
    let answer = testkit::wait_until(
        "three questions",
        std::time::Duration::from_secs(5),
        async || {
            asked += 1;
            (asked == 3).then_some("yes")
        },
    );
    assert_eq!(answer.await, "yes");
}
