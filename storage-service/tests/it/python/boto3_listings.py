"""boto3 listings: both versions, prefixes, delimiters, pages, odd names."""
import os
from concurrent.futures import ThreadPoolExecutor
import boto3

s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"])
B = "lakehouse"
keys = sorted([f"t/p={n % 7}/f{n:04}" for n in range(1200)] + ["t/", "top", "ü/ö", "sp ace/plus+", "z&<>\"'"], key=lambda k: k.encode())
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda key: s3.put_object(Bucket=B, Key=key, Body=b"x"), keys))

for api in ["list_objects_v2", "list_objects"]:
    def listed(**arguments):
        found, prefixes, pages = [], [], 0
        for page in s3.get_paginator(api).paginate(Bucket=B, **arguments):
            pages += 1
            found += [o["Key"] for o in page.get("Contents", [])]
            prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        return found, prefixes, pages
    assert listed() == (keys, [], 2), api
    assert listed(PaginationConfig={"PageSize": 100})[0] == keys
    assert listed(Delimiter="/") == ([k for k in keys if "/" not in k], ["sp ace/", "t/", "ü/"], 1), listed(Delimiter="/")
    assert listed(Delimiter="/", PaginationConfig={"PageSize": 1})[1] == ["sp ace/", "t/", "ü/"]
    assert listed(Prefix="t/", Delimiter="/")[:2] == (["t/"], [f"t/p={n}/" for n in range(7)])
    assert listed(Prefix="t/p=3/")[0] == [k for k in keys if k.startswith("t/p=3/")]
    assert listed(Prefix="none") == ([], [], 1)
after = s3.list_objects_v2(Bucket=B, StartAfter="t/p=6/f1196")
assert [o["Key"] for o in after["Contents"]] == [k for k in keys if k.encode() > b"t/p=6/f1196"]
page = s3.list_objects_v2(Bucket=B, MaxKeys=3, FetchOwner=True)
assert page["KeyCount"] == 3 and page["IsTruncated"] and page["Contents"][0]["Owner"]["ID"] == "streamforge"
item = page["Contents"][0]
assert item["Size"] == 1 and item["ETag"] == '"9dd4e461268c8034f5c8564e155c67a6"' and item["StorageClass"] == "STANDARD"
none = s3.list_objects_v2(Bucket=B, MaxKeys=0)
assert none["KeyCount"] == 0 and not none["IsTruncated"]
versions = s3.list_object_versions(Bucket=B, Prefix="top")["Versions"]
assert [(v["Key"], v["VersionId"], v["IsLatest"]) for v in versions] == [("top", "null", True)]
assert s3.get_object(Bucket=B, Key="top", VersionId="null")["Body"].read() == b"x"
try:
    s3.list_objects_v2(Bucket=B, ContinuationToken="***")
    raise AssertionError("a foreign token was taken")
except s3.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "InvalidArgument"
for at in range(0, len(keys), 1000):
    gone = s3.delete_objects(Bucket=B, Delete={"Quiet": True, "Objects": [{"Key": k} for k in keys[at:at + 1000]]})
    assert "Errors" not in gone and "Deleted" not in gone
assert s3.list_objects_v2(Bucket=B)["KeyCount"] == 0
print("all facts hold")
