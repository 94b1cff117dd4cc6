# Set before: MODE "close", "results" or "compare", TABLES (names of tables).
import datetime
import json
import os

import trino
from confluent_kafka import Producer

TOPIC = "clickstream"
# Says when a row was processed, which no two runs have in common.
VOLATILE = {"ingest_time"}


def close(partitions, start):
    """Two records to each partition, at fixed times: one that is part of the results, and one that closes its windows."""
    with open(f"{os.environ['INPUTS']}/accounts/part-0.json") as file:
        account = json.loads(file.readline())["account_id"]
    producer = Producer({"bootstrap.servers": os.environ["KAFKA"], "acks": "all", "enable.idempotence": True})
    for action, minutes in (("purchase", 40), ("page_view", 70)):
        for partition in range(partitions):
            millis = start + minutes * 60_000
            time = datetime.datetime.fromtimestamp(millis / 1000, datetime.timezone.utc)
            event = {"event_identifier": f"closing-{action}-{partition}", "account_id": account,
                     "action_name": action, "source_path": "/", "session_token": f"closing-{action}-{partition}",
                     "platform_type": "desktop", "timestamp_utc": time.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                     "location": {"latitude": 1.5, "longitude": 2.5},
                     "monetary_value": 60.25 if action == "purchase" else None}
            producer.produce(TOPIC, key=account, value=json.dumps(event), partition=partition, timestamp=millis)
    assert producer.flush(60) == 0
    print(datetime.datetime.fromtimestamp(start / 1000 + 40 * 60, datetime.timezone.utc).replace(tzinfo=None))


def plain(value):
    # The order of addition may differ, and with it the last digits.
    return round(value, 6) if isinstance(value, float) else value if isinstance(value, (int, type(None))) else str(value)


def results():
    host, port = os.environ["TRINO_PORT"].split(":")
    cursor = trino.dbapi.connect(host=host, port=int(port), user="test", catalog="iceberg").cursor()
    tables = {}
    for table in TABLES:
        cursor.execute(f"SELECT * FROM {table}")
        rows = cursor.fetchall()
        kept = [at for at, column in enumerate(cursor.description) if column[0] not in VOLATILE]
        header = [cursor.description[at][:2] for at in kept]
        tables[table] = [header, sorted(([plain(row[at]) for at in kept] for row in rows), key=json.dumps)]
    with open(os.environ["FILE"], "w") as file:
        json.dump(tables, file)


def compare():
    with open(os.environ["OURS"]) as ours, open(os.environ["THEIRS"]) as theirs:
        ours, theirs = json.load(ours), json.load(theirs)
    for table in TABLES:
        (our_header, our_rows), (their_header, their_rows) = ours[table], theirs[table]
        assert our_header == their_header, f"{table}: {our_header} and {their_header}"
        different = [pair for pair in zip(our_rows, their_rows) if pair[0] != pair[1]]
        assert not different and len(our_rows) == len(their_rows), \
            f"{table}: {len(our_rows)} and {len(their_rows)} rows, for example {different[:2]}"
        print(table, len(our_rows))


if MODE == "close":
    close(int(os.environ["PARTITIONS"]), int(os.environ["START"]))
elif MODE == "results":
    results()
else:
    compare()
