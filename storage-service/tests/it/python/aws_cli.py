"""aws-cli: cp, ls, sync, mv, rm, and an upload large enough to go in parts."""
import os, subprocess, sys

work = os.environ["WORK"]
def aws(*arguments, ok=True):
    ran = subprocess.run([sys.executable, os.environ["AWS"], *arguments], capture_output=True, text=True)
    assert (ran.returncode == 0) == ok, (arguments, ran.stdout, ran.stderr)
    return ran.stdout + ran.stderr

data = os.urandom(9 * 1024 * 1024)
open(f"{work}/large", "wb").write(data)
os.makedirs(f"{work}/tree/deep")
for n in range(5):
    open(f"{work}/tree/deep/{n}.txt", "w").write(str(n) * 100)
aws("s3", "mb", "s3://made")
aws("s3", "cp", f"{work}/large", "s3://made/x/large")
aws("s3", "cp", "s3://made/x/large", f"{work}/back")
assert open(f"{work}/back", "rb").read() == data
aws("s3", "sync", f"{work}/tree", "s3://made/tree")
assert aws("s3", "sync", f"{work}/tree", "s3://made/tree") == "", "nothing is sent twice"
lines = [line.split()[2:] for line in aws("s3", "ls", "--recursive", "s3://made/tree/").splitlines()]
assert lines == [["100", f"tree/deep/{n}.txt"] for n in range(5)], lines
assert "PRE tree/" in aws("s3", "ls", "s3://made")
aws("s3", "mv", "s3://made/tree/deep/0.txt", "s3://lakehouse/moved")
assert "NoSuchKey" in aws("s3api", "get-object", "--bucket", "made", "--key", "tree/deep/0.txt", f"{work}/none", ok=False)
# By default this client presigns with Signature Version 2, which the store refuses.
import urllib.error, urllib.request
try:
    urllib.request.urlopen(aws("s3", "presign", "s3://lakehouse/moved").strip())
    raise AssertionError("a signature of version 2 was accepted")
except urllib.error.HTTPError as error:
    assert error.code == 400 and b"AWS4-HMAC-SHA256" in error.read()
os.environ["AWS_CONFIG_FILE"] = f"{work}/config"
aws("configure", "set", "default.s3.signature_version", "s3v4")
url = aws("s3", "presign", "s3://lakehouse/moved").strip()
assert urllib.request.urlopen(url).read() == b"0" * 100
aws("s3", "rm", "--recursive", "s3://made")
aws("s3", "rb", "s3://made")
assert [line.split()[-1] for line in aws("s3", "ls").splitlines()] == ["lakehouse"]
print("all facts hold")
