#!/usr/bin/env python3
"""Makes the test vectors of image signatures and of certificate chains, by hands that are not Ambrotype's:
Python's cryptography and the openssl command.

    scripts/signature-vectors.py        writes Tests/Vectors/signatures/ and Tests/Vectors/chains/

Needs cryptography (pip) and openssl 3. Keys are made anew, so each run writes other bytes: the files that are
checked in are the vectors, and this tells how they came to be and adds to them.
"""
import base64
import datetime
import subprocess
import tempfile
from pathlib import Path

import cryptography
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID

VECTORS = Path(__file__).resolve().parent.parent / "Tests" / "Vectors"
HASHES = {"SHA-224": hashes.SHA224(), "SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(),
          "SHA-512": hashes.SHA512()}
EC_TYPES = ("SECP384R1", "SECP521R1", "SECT409K1", "SECT409R1", "SECT571K1", "SECT571R1")
UTC = datetime.timezone.utc
DER = serialization.Encoding.DER
PEM = serialization.Encoding.PEM


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True).stdout


def write(path: str, about: str, records: list[dict]) -> None:
    version = openssl("version").decode().split()[1]
    lines = [f"# {line}".rstrip() for line in about.strip().splitlines()]
    lines.append(f"# Made by scripts/signature-vectors.py with cryptography {cryptography.__version__} and OpenSSL "
                 f"{version}.")
    for record in records:
        lines += ["", *(f"{name} = {value}".rstrip() for name, value in record.items())]
    file = VECTORS / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def element(der: bytes, start: int) -> tuple[int, int]:
    """Where the content of the DER element at `start` begins and ends."""
    first = der[start + 1]
    if first < 0x80:
        return start + 2, start + 2 + first
    size = first & 0x7f
    begin = start + 2 + size
    return begin, begin + int.from_bytes(der[start + 2:begin], "big")


def public_key_bits(private_key_pem: bytes) -> bytes:
    """The content of subjectPublicKey (RFC 5280 section 4.1)."""
    spki = openssl("pkey", "-pubout", "-outform", "DER", data=private_key_pem)
    _, algorithm_end = element(spki, element(spki, 0)[0])
    begin, end = element(spki, algorithm_end)
    return spki[begin + 1:end]


# Signatures

def pem_of_key(key) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def self_signed(key_pem: bytes, subject: str, folder: Path) -> bytes:
    """A certificate as `openssl req -x509` makes it, in DER."""
    (folder / "key.pem").write_bytes(key_pem)
    return openssl("req", "-x509", "-new", "-key", folder / "key.pem", "-sha256", "-days", "36500", "-utf8", "-subj",
                   subject, "-outform", "DER")


def certificate_record(name: str, der: bytes, key_pem: bytes) -> dict:
    read = openssl("x509", "-inform", "DER", "-noout", "-subject", "-issuer", "-serial", "-fingerprint", "-sha256",
                   "-nameopt", "RFC2253", data=der).decode()
    said = dict(line.split("=", 1) for line in read.strip().splitlines())
    parsed = x509.load_der_x509_certificate(der)
    return {
        "NAME": name, "SUBJECT": said["subject"], "ISSUER": said["issuer"], "SERIAL": said["serial"].lower(),
        "FINGERPRINT": said["sha256 Fingerprint"].replace(":", "").lower(),
        "NOT_BEFORE": int(parsed.not_valid_before_utc.timestamp()),
        "NOT_AFTER": int(parsed.not_valid_after_utc.timestamp()),
        "PUBLIC_KEY": text(public_key_bits(key_pem)), "CERTIFICATE": text(der)}


def made_by_cryptography(key, kind: str, hash_name: str, salt, data: bytes) -> bytes:
    method = HASHES[hash_name]
    if kind == "RSA-PSS":
        return key.sign(data, padding.PSS(padding.MGF1(method), padding.PSS.MAX_LENGTH if salt == "max" else salt),
                        method)
    return key.sign(data, method) if kind == "DSA" else key.sign(data, ec.ECDSA(method))


def made_by_openssl(key_pem: bytes, kind: str, hash_name: str, salt, data: bytes, folder: Path) -> bytes:
    (folder / "key.pem").write_bytes(key_pem)
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", f"rsa_pss_saltlen:{salt}"] if kind == "RSA-PSS" else []
    return openssl("dgst", "-" + hash_name.replace("-", "").lower(), "-sign", folder / "key.pem", *pss, data=data)


def generate(*arguments: str) -> bytes:
    return openssl("genpkey", "-quiet", *arguments)


def openssl_keys() -> dict[str, tuple[str, bytes]]:
    parameters = openssl("genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", "dsa_paramgen_bits:2048")
    with tempfile.NamedTemporaryFile() as file:
        file.write(parameters)
        file.flush()
        of_dsa = generate("-paramfile", file.name)
    keys = {"openssl-rsa": ("RSA-PSS", generate("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")),
            "openssl-dsa": ("DSA", of_dsa)}
    for curve in EC_TYPES:
        keys["openssl-" + curve.lower()] = (
            "ECC_" + curve, generate("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + curve.lower()))
    return keys


def signatures(folder: Path) -> None:
    certificates, records = [], []

    def record(maker, kind, hash_name, salt, name, data, signature):
        made = {"MAKER": maker, "TYPE": kind, "HASH": hash_name, "CERTIFICATE": name}
        if kind == "RSA-PSS":
            made["SALT"] = salt
        records.append(made | {"DATA": data.hex(), "SIGNATURE": text(signature)})

    def data_of(*words) -> bytes:
        return (" ".join(map(str, words)) + "\n").encode()

    ours = {"cryptography-rsa": ("RSA-PSS", rsa.generate_private_key(65537, 2048)),
            "cryptography-dsa": ("DSA", dsa.generate_private_key(2048)),
            "cryptography-secp384r1": ("ECC_SECP384R1", ec.generate_private_key(ec.SECP384R1())),
            "cryptography-secp521r1": ("ECC_SECP521R1", ec.generate_private_key(ec.SECP521R1()))}
    for name, (kind, key) in ours.items():
        pem = pem_of_key(key)
        der = self_signed(pem, f"/O=Zoë \\+ Söhne, Ltd./CN={name}", folder)
        certificates.append(certificate_record(name, der, pem))
        for hash_name, method in HASHES.items():
            for salt in ["max", method.digest_size, 0, 17] if kind == "RSA-PSS" else [None]:
                data = data_of("cryptography", kind, hash_name, salt)
                record("cryptography", kind, hash_name, salt, name, data,
                       made_by_cryptography(key, kind, hash_name, salt, data))
    keys = openssl_keys()
    for name, (kind, pem) in keys.items():
        certificates.append(certificate_record(name, self_signed(pem, f"/C=DE/CN={name}", folder), pem))
        for hash_name in HASHES:
            for salt in ["max", "digest", 9] if kind == "RSA-PSS" else [None]:
                data = data_of("openssl", kind, hash_name, salt)
                record("openssl", kind, hash_name, salt, name, data,
                       made_by_openssl(pem, kind, hash_name, salt, data, folder))
    # The curve that a key type names is not compared with the key's.
    pem = generate("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    certificates.append(certificate_record("openssl-prime256v1", self_signed(pem, "/CN=prime256v1", folder), pem))
    for kind in ("ECC_SECP384R1", "ECC_SECT571K1"):
        data = data_of("openssl", "prime256v1", kind)
        record("openssl", kind, "SHA-256", None, "openssl-prime256v1", data,
               made_by_openssl(pem, kind, "SHA-256", None, data, folder))
    # Keys that are for PSS alone (RFC 4055): for any hash and salt, and for one.
    for name, options in {"openssl-rsa-pss": [], "openssl-rsa-pss-sha256": [
            "-pkeyopt", "rsa_pss_keygen_md:sha256", "-pkeyopt", "rsa_pss_keygen_mgf1_md:sha256", "-pkeyopt",
            "rsa_pss_keygen_saltlen:32"]}.items():
        pem = generate("-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", *options)
        certificates.append(certificate_record(name, self_signed(pem, f"/CN={name}", folder), pem))
        for salt in ("max", "digest"):
            data = data_of("openssl", name, salt)
            record("openssl", "RSA-PSS", "SHA-256", salt, name, data,
                   made_by_openssl(pem, "RSA-PSS", "SHA-256", salt, data, folder))
    write("signatures/certificates.txt", """
Certificates of the keys that signed signatures.txt; all signed by themselves. CERTIFICATE is DER in base64,
PUBLIC_KEY the content of its subjectPublicKey. Names, serial and fingerprint are as openssl prints them.""",
          certificates)
    write("signatures/signatures.txt", """
Image signatures. DATA is hexadecimal, SIGNATURE what img_signature would be, SALT the length of the salt of PSS in
bytes (max: the longest there is room for; digest: that of the hash). All are valid.""", records)
    write_keys(keys, folder)


def write_keys(keys: dict[str, tuple[str, bytes]], folder: Path) -> None:
    def form(pem: bytes, *arguments: str) -> bytes:
        return openssl("pkey", *arguments, data=pem)

    records = [{"NAME": name, "TYPE": kind, "PEM": text(pem)} for name, (kind, pem) in keys.items()]
    _, of_rsa = keys["openssl-rsa"]
    _, of_ec = keys["openssl-secp384r1"]
    curve = openssl("ecparam", "-name", "secp384r1")
    for name, kind, pem in (
            ("traditional-rsa", "RSA-PSS", form(of_rsa, "-traditional")),
            ("traditional-dsa", "DSA", form(keys["openssl-dsa"][1], "-traditional")),
            ("traditional-ec", "ECC_SECP384R1", form(of_ec, "-traditional")),
            ("ec-with-parameters-before-it", "ECC_SECP384R1", curve + form(of_ec, "-traditional"))):
        records.append({"NAME": name, "TYPE": kind, "PEM": text(pem)})
    for name, arguments in {"encrypted": [], "traditional-encrypted": ["-traditional"]}.items():
        pem = form(of_ec, "-aes-256-cbc", "-passout", "pass:correct horse", *arguments)
        records.append({"NAME": name, "TYPE": "ECC_SECP384R1", "PASSPHRASE": "correct horse", "PEM": text(pem)})
    write("signatures/keys.txt", """
Private keys in the forms that openssl writes, for tests alone. PEM is the whole text in base64; TYPE is what a
signature of the key is called. Those with the name of a certificate in certificates.txt are of that certificate.""",
          records)


# Chains

START, END = datetime.datetime(2020, 1, 1, tzinfo=UTC), datetime.datetime(2050, 1, 1, tzinfo=UTC)
NOW = datetime.datetime(2030, 6, 1, 12, tzinfo=UTC)
EARLY, LATE = datetime.datetime(2025, 1, 1, tzinfo=UTC), datetime.datetime(2035, 1, 1, tzinfo=UTC)


class Authority:
    """A name and a key; `certificate` makes certificates of them."""

    def __init__(self, name: str, key=None):
        self.name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
                               x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = key or ec.generate_private_key(ec.SECP256R1())


class Chains:
    def __init__(self):
        self.certificates: dict[str, bytes] = {}
        self.cases: list[dict] = []

    def add(self, label: str, subject: Authority, issuer: Authority | None = None, *, start=START, end=END, ca=True,
            path_length=None, usage=True, constraints=True, extra=(), method=hashes.SHA256(), pss=False) -> str:
        """`usage`: keyCertSign or not; None leaves the extension out. Without an issuer it signs itself."""
        issuer = issuer or subject
        builder = (x509.CertificateBuilder().subject_name(subject.name).issuer_name(issuer.name)
                   .public_key(subject.key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(start).not_valid_after(end))
        if constraints:
            builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
        if usage is not None:
            builder = builder.add_extension(x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=usage, crl_sign=usage, encipher_only=False, decipher_only=False),
                critical=True)
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical)
        made = builder.sign(issuer.key, method, rsa_padding=padding.PSS(
            padding.MGF1(method), padding.PSS.DIGEST_LENGTH) if pss else None)
        self.certificates[label] = made.public_bytes(DER)
        return label

    def signer(self, label: str, issuer: Authority, **options) -> str:
        options = {"ca": False, "usage": False} | options
        return self.add(label, Authority(label), issuer, **options)

    def case(self, name: str, signer: str, trusted: list[str], result="ok", chain=(), at=NOW) -> None:
        record = {"CASE": name, "SIGNER": signer, "TRUSTED": " ".join(trusted), "AT": int(at.timestamp()),
                  "RESULT": result}
        if result == "ok":
            record["CHAIN"] = " ".join([signer, *(chain or trusted)])
        self.cases.append(record)


def chains(folder: Path) -> None:
    made = Chains()
    root, middle = Authority("Root"), Authority("Intermediate")
    made.add("root", root)
    made.add("intermediate", middle, root)
    made.signer("signer", middle)
    made.signer("signer-of-root", root)
    made.case("three links", "signer", ["intermediate", "root"])
    made.case("the order of the list does not matter", "signer", ["root", "intermediate"],
              chain=["intermediate", "root"])
    made.case("two links", "signer-of-root", ["root"])
    made.case("the root is missing", "signer", ["intermediate"], "issuer_not_found")
    made.case("the intermediate is missing", "signer", ["root"], "issuer_not_found")
    made.case("nothing is trusted", "signer", [], "issuer_not_found")
    dates(made, root, middle)
    authorities(made, root, middle)
    path_lengths(made)
    self_signed_signers(made)
    ambiguous_names(made, root)
    extensions(made, root)
    kinds_of_keys(made, folder)
    limits(made)
    write("chains/certificates.txt", "Certificates that cases.txt names, as DER in base64.",
          [{"NAME": name, "CERTIFICATE": text(der)} for name, der in made.certificates.items()])
    write("chains/cases.txt", """
Chains of certificates.txt: SIGNER signs images, TRUSTED is the list of trusted certificates, AT the time in seconds
since 1970. RESULT is ok, and CHAIN what is found; or the code of the error.""", made.cases)


def dates(made: Chains, root: Authority, middle: Authority) -> None:
    second = datetime.timedelta(seconds=1)
    made.signer("short", root, start=EARLY, end=LATE)
    made.case("at the first moment", "short", ["root"], at=EARLY)
    made.case("at the last moment", "short", ["root"], at=LATE)
    made.case("before the first moment", "short", ["root"], "signer_not_yet_valid", at=EARLY - second)
    made.case("after the last moment", "short", ["root"], "signer_expired", at=LATE + second)
    for name, authority, start, end, result in (
            ("expired", "intermediate", START, EARLY, "issuer_expired"),
            ("future", "intermediate", LATE, END, "issuer_not_yet_valid"),
            ("expired", "root", START, EARLY, "issuer_expired"),
            ("future", "root", LATE, END, "issuer_not_yet_valid")):
        label = f"{name}-{authority}"
        if authority == "root":
            made.add(label, root, start=start, end=end)
        else:
            made.add(label, middle, root, start=start, end=end)
        trusted = [label, "root"] if authority == "intermediate" else ["intermediate", label]
        made.case(f"{name} {authority}", "signer", trusted, result)


def authorities(made: Chains, root: Authority, middle: Authority) -> None:
    other = Authority("Other")
    made.add("other", other)
    made.case("another authority", "signer", ["other"], "issuer_not_found")
    made.add("intermediate-of-other-key", Authority("Intermediate"), root)
    made.case("an authority of that name with another key", "signer", ["intermediate-of-other-key", "root"],
              "issuer_did_not_sign")
    made.add("root-of-other-key", Authority("Root"))
    made.case("a root of that name with another key", "signer", ["intermediate", "root-of-other-key"],
              "issuer_did_not_sign")
    for name, options, result in (
            ("no authority", {"ca": False}, "issuer_not_authority"),
            ("no basic constraints", {"constraints": False}, "issuer_not_authority"),
            ("no keyCertSign", {"usage": False}, "issuer_lacks_key_cert_sign"),
            ("no key usage", {"usage": None}, "issuer_lacks_key_cert_sign")):
        label = name.replace(" ", "-")
        made.add(label + "-intermediate", middle, root, **options)
        made.case(name + ": intermediate", "signer", [label + "-intermediate", "root"], result)
        made.add(label + "-root", root, **options)
        made.case(name + ": root", "signer", ["intermediate", label + "-root"], result)


def path_lengths(made: Chains) -> None:
    for length, result in ((0, "path_length_exceeded"), (1, "path_length_exceeded"), (2, "ok"), (None, "ok")):
        word = "any" if length is None else length
        top, upper, lower = (Authority(f"{kind} {word}") for kind in ("Top", "Upper", "Lower"))
        made.add(f"top-{word}", top, path_length=length)
        made.add(f"upper-{word}", upper, top)
        made.add(f"lower-{word}", lower, upper, path_length=0)
        made.signer(f"signer-{word}", lower)
        made.case(f"two intermediates, {word} allowed", f"signer-{word}",
                  [f"lower-{word}", f"upper-{word}", f"top-{word}"], result)
        if length == 0:
            made.signer("signer-below-top-0", top)
            made.case("no intermediate, none allowed", "signer-below-top-0", ["top-0"])
    top, upper, lower = (Authority(f"{kind} x") for kind in ("Top", "Upper", "Lower"))
    made.add("top-x", top)
    made.add("upper-x", upper, top, path_length=0)
    made.add("lower-x", lower, upper)
    made.signer("signer-x", lower)
    made.case("one intermediate below another that allows none", "signer-x", ["lower-x", "upper-x", "top-x"],
              "path_length_exceeded")


def self_signed_signers(made: Chains) -> None:
    alone = Authority("Alone")
    made.add("alone", alone)
    made.case("a trusted authority that signs images itself", "alone", ["alone"], chain=[])
    made.cases[-1]["CHAIN"] = "alone"
    made.case("signed by itself and not trusted", "alone", ["root"], "self_signed_not_trusted")
    made.add("alone-renewed", alone)
    made.case("signed by itself; another certificate of its key is trusted", "alone-renewed", ["alone"],
              "self_signed_not_trusted")
    made.add("alone-no-authority", Authority("Plain"), ca=False, usage=False)
    made.case("signed by itself, trusted, no authority", "alone-no-authority", ["alone-no-authority"],
              "issuer_not_authority")
    made.add("alone-no-usage", Authority("Plain too"), usage=False)
    made.case("signed by itself, trusted, no keyCertSign", "alone-no-usage", ["alone-no-usage"],
              "issuer_lacks_key_cert_sign")
    made.add("alone-expired", Authority("Late"), end=EARLY)
    made.case("signed by itself, trusted, expired", "alone-expired", ["alone-expired"], "signer_expired")


def ambiguous_names(made: Chains, root: Authority) -> None:
    old, new = Authority("Renewed"), Authority("Renewed")
    made.add("renewed-old", old)
    made.add("renewed-new", new)
    made.signer("signer-of-new", new)
    made.case("two keys of one name", "signer-of-new", ["renewed-old", "renewed-new"], chain=["renewed-new"])
    made.add("renewed-expired", new, end=EARLY)
    made.case("the expired certificate of a key, then the valid one", "signer-of-new",
              ["renewed-expired", "renewed-old", "renewed-new"], chain=["renewed-new"])
    made.case("what fails late is told, not what fails early", "signer-of-new", ["renewed-old", "renewed-expired"],
              "issuer_expired")
    cross = Authority("Cross")
    made.add("cross-signed-by-unknown", cross, Authority("Unknown"))
    made.add("cross-signed", cross, root)
    made.add("cross-root", cross)
    made.signer("signer-of-cross", cross)
    made.case("a dead end, then a way", "signer-of-cross", ["cross-signed-by-unknown", "cross-signed", "root"],
              chain=["cross-signed", "root"])
    made.case("a root that was cross-signed", "signer-of-cross", ["cross-signed-by-unknown", "cross-root"],
              chain=["cross-root"])
    made.case("two dead ends", "signer-of-cross", ["cross-signed-by-unknown", "cross-signed"], "issuer_not_found")
    # A new key signed by the old one of the same authority: issuer and subject are the same name.
    made.add("rollover", new, old)
    made.case("a new key that the old one signed", "signer-of-new", ["rollover", "renewed-old"])


def extensions(made: Chains, root: Authority) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    for critical, result in ((True, "unknown_extension"), (False, "ok")):
        word = "critical" if critical else "plain"
        authority = Authority(f"Extended {word}")
        made.add(f"extended-{word}", authority, extra=[(unknown, critical)])
        made.signer(f"signer-of-extended-{word}", authority)
        made.case(f"{word} unknown extension: authority", f"signer-of-extended-{word}", [f"extended-{word}"], result)
        made.signer(f"extended-signer-{word}", root, extra=[(unknown, critical)])
        made.case(f"{word} unknown extension: signer", f"extended-signer-{word}", ["root"], result)
    allowed = x509.NameConstraints([x509.DirectoryName(x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test")]))], None)
    forbidden = x509.NameConstraints(None, allowed.permitted_subtrees)
    for word, constraint, result in (("allow", allowed, "ok"), ("forbid", forbidden, "name_forbidden")):
        authority = Authority(f"Names {word}")
        made.add(f"names-{word}", authority, extra=[(constraint, True)])
        made.signer(f"signer-of-names-{word}", authority)
        made.case(f"name constraints that {word}", f"signer-of-names-{word}", [f"names-{word}"], result)


def kinds_of_keys(made: Chains, folder: Path) -> None:
    keys = {"rsa": rsa.generate_private_key(65537, 2048), "dsa": dsa.generate_private_key(2048),
            "p521": ec.generate_private_key(ec.SECP521R1())}
    for word, key in keys.items():
        authority = Authority(f"Kind {word}", key)
        made.add(f"kind-{word}", authority)
        made.add(f"signer-of-{word}", Authority(f"Signer of {word}", key), authority, ca=False, usage=False)
        made.case(f"keys of {word}", f"signer-of-{word}", [f"kind-{word}"])
    authority = Authority("Kind pss", keys["rsa"])
    made.add("kind-pss", authority, pss=True)
    made.signer("signer-of-pss", authority, pss=True)
    made.case("certificates signed by PSS", "signer-of-pss", ["kind-pss"])

    # By openssl: keys that cryptography has no curve for, and a hash that it does not sign with.
    def issue(label: str, key: bytes, authority: str, *options: str) -> None:
        (folder / "key.pem").write_bytes(key)
        (folder / "ca.der").write_bytes(made.certificates[authority])
        request = openssl("req", "-new", "-key", folder / "key.pem", "-subj", f"/O=Test/CN={label}")
        openssl("x509", "-inform", "DER", "-in", folder / "ca.der", "-out", folder / "ca.pem")
        made.certificates[label] = openssl(
            "x509", "-req", "-CA", folder / "ca.pem", "-CAkey", folder / "ca-key.pem", "-days", "36500", "-outform",
            "DER", *options, data=request)

    sect = generate("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:sect571k1")
    (folder / "ca-key.pem").write_bytes(sect)
    made.certificates["kind-sect"] = openssl(
        "req", "-x509", "-new", "-key", folder / "ca-key.pem", "-subj", "/O=Test/CN=Kind sect", "-days", "36500",
        "-addext", "keyUsage=critical,keyCertSign", "-outform", "DER")
    issue("signer-of-sect", generate("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:sect409r1"), "kind-sect",
          "-sha512")
    made.case("keys on SECT curves", "signer-of-sect", ["kind-sect"])
    (folder / "ca-key.pem").write_bytes(pem_of_key(keys["rsa"]))
    for word in ("sha1", "md5"):
        issue(f"signer-by-{word}", generate("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp384r1"), "kind-rsa",
              "-" + word)
        made.case(f"signed by way of {word}", f"signer-by-{word}", ["kind-rsa"], "weak_signature")


def limits(made: Chains) -> None:
    for count, result in ((15, "ok"), (16, "too_long")):
        authorities_ = [Authority(f"Link {count} {index}") for index in range(count)]
        labels = []
        for index, authority in enumerate(authorities_):
            above = authorities_[index - 1] if index else None
            labels.insert(0, made.add(f"link-{count}-{index}", authority, above))
        made.signer(f"signer-below-{count}", authorities_[-1])
        made.case(f"{count} certificates above the signer", f"signer-below-{count}", labels, result)
    one, two = Authority("One"), Authority("Two")
    made.add("one-by-two", one, two)
    made.add("two-by-one", two, one)
    made.signer("signer-of-loop", one)
    made.case("two that vouch for each other", "signer-of-loop", ["one-by-two", "two-by-one"], "loop")
    many = [made.add(f"{name}-{index}", subject, issuer) for index in range(6)
            for name, subject, issuer in (("one", one, two), ("two", two, one))]
    made.case("many that vouch for each other", "signer-of-loop", many, "too_many_attempts")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        signatures(Path(folder))
        chains(Path(folder))


if __name__ == "__main__":
    main()
