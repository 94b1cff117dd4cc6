"""boto3 on uploads in parts: transfers, part copies, checksums, conditions, listings, aborts."""
import hashlib, io, os
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"])
B = "lakehouse"
MIB = 1024 * 1024

def fails(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        got = error.response["Error"]["Code"]
        assert got == code, (got, code, error)
        return
    raise AssertionError(f"{call} did not fail with {code}")

# A transfer in parallel parts, there and back.
data = os.urandom(17 * MIB + 123)
config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
s3.upload_fileobj(io.BytesIO(data), B, "large", Config=config, ExtraArgs={"Metadata": {"a": "b"}, "ContentType": "x/y"})
back = io.BytesIO()
s3.download_fileobj(B, "large", back, Config=config)
assert back.getvalue() == data
head = s3.head_object(Bucket=B, Key="large")
md5s = b"".join(hashlib.md5(data[at:at + 5 * MIB]).digest() for at in range(0, len(data), 5 * MIB))
assert head["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-4"', head["ETag"]
assert head["Metadata"] == {"a": "b"} and head["ContentType"] == "x/y" and head["ContentLength"] == len(data)
part = s3.get_object(Bucket=B, Key="large", PartNumber=2)
assert part["Body"].read() == data[5 * MIB:10 * MIB] and part["PartsCount"] == 4
across = s3.get_object(Bucket=B, Key="large", Range=f"bytes={5 * MIB - 10}-{5 * MIB + 9}")
assert across["Body"].read() == data[5 * MIB - 10:5 * MIB + 10]
attributes = s3.get_object_attributes(Bucket=B, Key="large", ObjectAttributes=["ObjectParts"], MaxParts=3)["ObjectParts"]
assert attributes["TotalPartsCount"] == 4 and len(attributes["Parts"]) == 3 and attributes["IsTruncated"]

# A part copied from an object, by range.
upload = s3.create_multipart_upload(Bucket=B, Key="made")["UploadId"]
one = s3.upload_part_copy(Bucket=B, Key="made", UploadId=upload, PartNumber=1, CopySource=f"{B}/large", CopySourceRange=f"bytes=100-{100 + 5 * MIB - 1}")
two = s3.upload_part(Bucket=B, Key="made", UploadId=upload, PartNumber=2, Body=b"tail")
fails("InvalidRange", s3.upload_part_copy, Bucket=B, Key="made", UploadId=upload, PartNumber=3, CopySource=f"{B}/large", CopySourceRange="bytes=0-99999999999")
parts = [{"PartNumber": 1, "ETag": one["CopyPartResult"]["ETag"]}, {"PartNumber": 2, "ETag": two["ETag"]}]
listed = s3.list_parts(Bucket=B, Key="made", UploadId=upload, MaxParts=1)
assert [p["Size"] for p in listed["Parts"]] == [5 * MIB] and listed["IsTruncated"] and listed["NextPartNumberMarker"] == 1
listed = s3.list_parts(Bucket=B, Key="made", UploadId=upload, PartNumberMarker=1)
assert [(p["PartNumber"], p["Size"], p["ETag"]) for p in listed["Parts"]] == [(2, 4, two["ETag"])]
fails("NoSuchKey", s3.get_object, Bucket=B, Key="made")
fails("InvalidPart", s3.complete_multipart_upload, Bucket=B, Key="made", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"no"'}]})
fails("InvalidPartOrder", s3.complete_multipart_upload, Bucket=B, Key="made", UploadId=upload, MultipartUpload={"Parts": parts[::-1]})
fails("EntityTooSmall", s3.complete_multipart_upload, Bucket=B, Key="made", UploadId=upload, MultipartUpload={"Parts": [
    parts[0], parts[1], {"PartNumber": 3, "ETag": s3.upload_part(Bucket=B, Key="made", UploadId=upload, PartNumber=3, Body=b"x")["ETag"]}]})
done = s3.complete_multipart_upload(Bucket=B, Key="made", UploadId=upload, MultipartUpload={"Parts": parts})
assert s3.get_object(Bucket=B, Key="made")["Body"].read() == data[100:100 + 5 * MIB] + b"tail"
again = s3.complete_multipart_upload(Bucket=B, Key="made", UploadId=upload, MultipartUpload={"Parts": parts})
assert again["ETag"] == done["ETag"]
fails("NoSuchUpload", s3.upload_part, Bucket=B, Key="made", UploadId=upload, PartNumber=1, Body=b"x")
fails("NoSuchUpload", s3.abort_multipart_upload, Bucket=B, Key="made", UploadId="nonsense")

# Composite and full-object checksums.
upload = s3.create_multipart_upload(Bucket=B, Key="sum", ChecksumAlgorithm="SHA256")["UploadId"]
part = s3.upload_part(Bucket=B, Key="sum", UploadId=upload, PartNumber=1, Body=b"abc", ChecksumAlgorithm="SHA256")
done = s3.complete_multipart_upload(Bucket=B, Key="sum", UploadId=upload, MultipartUpload={"Parts": [
    {"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": part["ChecksumSHA256"]}]})
import base64, zlib
composite = base64.b64encode(hashlib.sha256(hashlib.sha256(b"abc").digest()).digest()).decode() + "-1"
assert done["ChecksumSHA256"] == composite and done["ChecksumType"] == "COMPOSITE", done
upload = s3.create_multipart_upload(Bucket=B, Key="full", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
etags = [s3.upload_part(Bucket=B, Key="full", UploadId=upload, PartNumber=n + 1, Body=body)["ETag"] for n, body in enumerate([data[:5 * MIB], b"end"])]
full = base64.b64encode(zlib.crc32(data[:5 * MIB] + b"end").to_bytes(4, "big")).decode()
whole = {"Parts": [{"PartNumber": n + 1, "ETag": etag} for n, etag in enumerate(etags)]}
fails("BadDigest", s3.complete_multipart_upload, Bucket=B, Key="full", UploadId=upload, MultipartUpload=whole, ChecksumCRC32="AAAAAA==")
done = s3.complete_multipart_upload(Bucket=B, Key="full", UploadId=upload, MultipartUpload=whole, ChecksumCRC32=full)
assert done["ChecksumCRC32"] == full and done["ChecksumType"] == "FULL_OBJECT", done

# Conditions on the whole.
upload = s3.create_multipart_upload(Bucket=B, Key="full")["UploadId"]
part = s3.upload_part(Bucket=B, Key="full", UploadId=upload, PartNumber=1, Body=b"new")
one = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
fails("PreconditionFailed", s3.complete_multipart_upload, Bucket=B, Key="full", UploadId=upload, MultipartUpload=one, IfNoneMatch="*")

# Unfinished uploads, listed and aborted.
ids = {upload: "full"}
for key in ["a/1", "a/2", "b"]:
    ids[s3.create_multipart_upload(Bucket=B, Key=key)["UploadId"]] = key
listed = s3.list_multipart_uploads(Bucket=B)["Uploads"]
assert [u["Key"] for u in listed] == ["a/1", "a/2", "b", "full"] and {u["UploadId"] for u in listed} == set(ids)
grouped = s3.list_multipart_uploads(Bucket=B, Delimiter="/")
assert [p["Prefix"] for p in grouped["CommonPrefixes"]] == ["a/"] and [u["Key"] for u in grouped["Uploads"]] == ["b", "full"]
first = s3.list_multipart_uploads(Bucket=B, MaxUploads=2)
assert first["IsTruncated"] and [u["Key"] for u in first["Uploads"]] == ["a/1", "a/2"]
rest = s3.list_multipart_uploads(Bucket=B, KeyMarker=first["NextKeyMarker"], UploadIdMarker=first["NextUploadIdMarker"])
assert [u["Key"] for u in rest["Uploads"]] == ["b", "full"] and not rest["IsTruncated"]
for upload, key in ids.items():
    s3.abort_multipart_upload(Bucket=B, Key=key, UploadId=upload)
assert "Uploads" not in s3.list_multipart_uploads(Bucket=B)
print("all facts hold")
