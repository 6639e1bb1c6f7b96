"""Packages between us and the tools that others use: GNU ar, tar, gzip, xz, sha256sum, openssl."""

import hashlib
import subprocess
from pathlib import Path

import pytest

import vib_samples as samples
from chronovisor.errors import Denied
from chronovisor.image import vib
from chronovisor.image.vib import Outcome, Policy, recipe, signature, trust
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.signature import SigningKey
from chronovisor.image.vib.trust import Trust
from vib_samples import identity

# what the build scripts of the community do, in their order and with their tools
SCRIPT = r"""
set -eu
export LC_ALL=C
mkdir -p payloads/payload1/opt/trx/bin payloads/payload1/usr/lib/vmware/trx
printf '#!/bin/sh\necho trx\n' > payloads/payload1/opt/trx/bin/trx
chmod +x payloads/payload1/opt/trx/bin/trx
head -c 300000 /dev/zero > payloads/payload1/usr/lib/vmware/trx/data
ln -s trx payloads/payload1/opt/trx/bin/alias
tar --format="$FORMAT" -cf payload1.tar -C payloads/payload1 opt usr
case "$PACK" in
  gzip) gzip -n < payload1.tar > payload1 ;;
  gzip-9) gzip -n9 < payload1.tar > payload1 ;;
  tar-z) tar --format="$FORMAT" -czf payload1 -C payloads/payload1 opt usr ;;
  xz) xz < payload1.tar > payload1 ;;
esac
case "$PACK" in xz) unpack=xzcat ;; *) unpack=zcat ;; esac
FILES=$(tar tf payload1.tar | grep -v -E '/$' | sed -e 's/^/    <file>/' -e 's/$/<\/file>/')
cat > descriptor.xml <<EOF
<vib version="5.0">
  <type>bootbank</type>
  <name>trx</name>
  <version>1.2.3-0.0.4</version>
  <vendor>Somebody</vendor>
  <summary>Made by a script</summary>
  <description>Made by a script</description>
  <release-date>$(date -u -d @1700000000 '+%Y-%m-%dT%H:%M:%S')</release-date>
  <urls><url key="trx">https://example.org/trx</url></urls>
  <relationships>
    <depends/>
    <conflicts/>
    <replaces/>
    <provides/>
    <compatibleWith/>
  </relationships>
  <software-tags/>
  <system-requires>
    <maintenance-mode>false</maintenance-mode>
  </system-requires>
  <file-list>
${FILES}
  </file-list>
  <acceptance-level>community</acceptance-level>
  <live-install-allowed>true</live-install-allowed>
  <live-remove-allowed>true</live-remove-allowed>
  <cimom-restart>false</cimom-restart>
  <stateless-ready>true</stateless-ready>
  <overlay>false</overlay>
  <payloads>
    <payload name="payload1" type="$TYPE" size="$(stat -c %s payload1)">
        <checksum checksum-type="sha-256">$(sha256sum payload1 | cut -d' ' -f1)</checksum>
        <checksum checksum-type="sha-256" verify-process="gunzip">$($unpack < payload1 | sha256sum | cut -d' ' -f1)</checksum>
        <checksum checksum-type="sha-1" verify-process="gunzip">$($unpack < payload1 | sha1sum | cut -d' ' -f1)</checksum>
    </payload>
  </payloads>
</vib>
EOF
: > sig.pkcs7
ar $AR trx.vib descriptor.xml sig.pkcs7 payload1
"""  # noqa: E501  the script's own lines


def run(*command: str, cwd: Path, **environment: str) -> bytes:
    done = subprocess.run(
        command, cwd=cwd, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def scripted(directory: Path, **words: str) -> Path:
    chosen = {"FORMAT": "gnu", "PACK": "gzip", "TYPE": "tgz", "AR": "r", **words}
    run("/bin/sh", "-c", SCRIPT, cwd=directory, **chosen)
    return directory / "trx.vib"


@pytest.mark.parametrize("form", ["gnu", "ustar", "pax", "v7", "oldgnu"])
@pytest.mark.parametrize("pack", ["gzip", "gzip-9", "tar-z", "xz"])
@pytest.mark.parametrize("ar", ["r", "qcD", "rD", "qS"])
def test_scripts_packages_are_read(tmp_path: Path, form: str, pack: str, ar: str) -> None:
    kind = "vgz" if pack == "xz" else "tgz"
    path = scripted(tmp_path, FORMAT=form, PACK=pack, TYPE=kind, AR=ar)
    with vib.opened(path) as package:
        report = vib.verify(package, Policy())
        vib.extract(package, tmp_path / "out")
    assert {check.outcome for check in report.checks} == {Outcome.OK}
    run("diff", "-r", "payloads", "out/payloads", cwd=tmp_path)
    assert (tmp_path / "out/payloads/payload1/opt/trx/bin/trx").stat().st_mode & 0o111


def test_our_packages_are_what_the_tools_would_write(tmp_path: Path) -> None:
    path = scripted(tmp_path)
    built = vib.build(recipe.load(tmp_path), tmp_path / "ours.vib", epoch_s=1_700_000_000)
    names = run("ar", "t", "ours.vib", cwd=tmp_path).decode().split()
    assert names == ["descriptor.xml", "sig.pkcs7", "payload1"]
    (tmp_path / "x").mkdir()
    run("ar", "x", str(built.path), cwd=tmp_path / "x")
    run("ar", "qcD", "../theirs.vib", *names, cwd=tmp_path / "x")
    assert (tmp_path / "theirs.vib").read_bytes() == built.path.read_bytes()
    ours = run("gzip", "-dc", "x/payload1", cwd=tmp_path)
    theirs = run(
        *("tar", "--sort=name", "--format=ustar", "--owner=root:0", "--group=root:0"),
        *("--mtime=@1700000000", "-cf", "-", "-C", "payloads/payload1", "opt", "usr"),
        cwd=tmp_path,
    )
    assert ours == theirs, "byte for byte what GNU tar writes"
    packed = run("sh", "-c", "gzip -n < payload1.tar | head -c 10", cwd=tmp_path)
    assert (tmp_path / "x" / "payload1").read_bytes()[:10] == packed
    payload = built.descriptor.payloads[0]
    sums = run("sha256sum", "x/payload1", cwd=tmp_path).decode().split()[0]
    assert payload.digest("sha-256") == sums
    assert payload.digest("sha-256", "gunzip") == hashlib.sha256(theirs).hexdigest()
    assert payload.digest("sha-1", "gunzip") == hashlib.sha1(theirs).hexdigest()
    assert path.exists()


def test_names_that_do_not_fit_are_read_by_gnu_tar(tmp_path: Path) -> None:
    long = "opt/" + "d" * 120 + "/" + "f" * 120
    file = tmp_path / "payloads" / "payload1" / long
    file.parent.mkdir(parents=True)
    file.write_text("x")
    given = {"name": "n", "version": "1", "vendor": "v"}
    vib.build(recipe.load(tmp_path, given), tmp_path / "ours.vib")
    listed = run("sh", "-c", "ar p ours.vib payload1 | tar tz", cwd=tmp_path).decode().split()
    assert long in listed


ROOT = identity("root", authority=True)
MIDDLE = identity("middle", ROOT, key=samples.rsa_key(2), authority=True)
SIGNER = identity("signer", MIDDLE)
LEVEL = AcceptanceLevel.PARTNER
TRUSTED = Trust({LEVEL: (ROOT.certificate,)})


def keys(directory: Path) -> None:
    (directory / "key.pem").write_bytes(SIGNER.key_pem())
    (directory / "cert.pem").write_bytes(identity("signer", MIDDLE).pem())
    (directory / "middle.pem").write_bytes(MIDDLE.pem())
    (directory / "root.pem").write_bytes(ROOT.pem())
    (directory / "descriptor.xml").write_bytes(samples.descriptor([]))


SIGNING = {
    "cms": ["cms", "-sign", "-outform", "DER"],
    "cms pem": ["cms", "-sign", "-outform", "PEM"],
    "cms attached": ["cms", "-sign", "-outform", "DER", "-nodetach"],
    "cms stream": ["cms", "-sign", "-outform", "DER", "-nodetach", "-stream"],
    "cms key id": ["cms", "-sign", "-outform", "DER", "-keyid"],
    "cms sha-384": ["cms", "-sign", "-outform", "DER", "-md", "sha384"],
    "cms bare": ["cms", "-sign", "-outform", "DER", "-noattr"],
    "smime": ["smime", "-sign", "-outform", "DER"],
    "smime pem": ["smime", "-sign", "-outform", "PEM"],
}


@pytest.mark.parametrize("form", SIGNING)
def test_openssl_s_signatures_hold(tmp_path: Path, form: str) -> None:
    keys(tmp_path)
    words = ["-binary", "-in", "descriptor.xml", "-signer", "cert.pem", "-inkey", "key.pem"]
    words += ["-certfile", "middle.pem", "-out", "sig"]
    run("openssl", *SIGNING[form], *words, cwd=tmp_path)
    raw, text = (tmp_path / "sig").read_bytes(), (tmp_path / "descriptor.xml").read_bytes()
    assert signature.verify(text, raw, TRUSTED, LEVEL, samples.NOW).subject == "CN=signer"
    with pytest.raises(Denied):
        signature.verify(text + b"\n", raw, TRUSTED, LEVEL, samples.NOW)


@pytest.mark.parametrize("program", ["cms", "smime"])
def test_our_signatures_hold_for_openssl(tmp_path: Path, program: str) -> None:
    keys(tmp_path)
    text = (tmp_path / "descriptor.xml").read_bytes()
    key = SigningKey(SIGNER.key, SIGNER.certificate, SIGNER.chain)
    (tmp_path / "sig").write_bytes(signature.sign(text, key))
    moment = str(int(samples.NOW.timestamp()))
    words = ["-verify", "-binary", "-inform", "DER", "-in", "sig", "-content", "descriptor.xml"]
    words += ["-CAfile", "root.pem", "-purpose", "any", "-attime", moment]
    assert run("openssl", program, *words, cwd=tmp_path) == text


def test_keys_made_by_openssl_are_taken(tmp_path: Path) -> None:
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=own", "-passout", "pass:secret"),
        cwd=tmp_path,
    )
    key = signature.load_key(tmp_path / "key.pem", tmp_path / "cert.pem", b"secret")
    (root,) = trust.certificates(tmp_path / "cert.pem")
    by = signature.verify(b"x", signature.sign(b"x", key), Trust({LEVEL: (root,)}), LEVEL)
    assert by.subject == "CN=own", "a certificate that vouches for itself is enough at home"
