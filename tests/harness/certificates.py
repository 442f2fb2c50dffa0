"""Certificates of devices, as an operator would make them: self-signed, or by a CA of one's own."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness import scratch

VALID_DAYS = 30


class Certificate:
    """A certificate with its key, in PEM files."""

    def __init__(self, certificate, key, chain=()):
        self.x509 = certificate
        self.key = key
        folder = scratch.directory("farshore-cert-")
        self.path = folder / "certificate.pem"
        self.key_path = folder / "key.pem"
        self.path.write_text("".join(pem(part) for part in [certificate, *chain]))
        self.key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    @property
    def pem(self):
        """The leaf alone."""
        return pem(self.x509)

    @property
    def sha1(self):
        return self.x509.fingerprint(hashes.SHA1()).hex().upper()

    @property
    def sha256(self):
        return self.x509.fingerprint(hashes.SHA256()).hex().upper()


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def self_signed(common_name):
    key = ec.generate_private_key(ec.SECP256R1())
    return Certificate(_build(common_name, key, common_name, key), key)


class Authority:
    """A CA, or one below another."""

    def __init__(self, common_name, parent=None, days=VALID_DAYS):
        self.common_name = common_name
        self.parent = parent
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = parent or self
        self.certificate = Certificate(
            _build(common_name, key, issuer.common_name, parent.key if parent else key, ca=True, days=days), key
        )

    @property
    def key(self):
        return self.certificate.key

    @property
    def pem(self):
        return self.certificate.pem

    def issue(self, common_name, **options):
        """A leaf, with the CAs between it and the root in its file."""
        key = ec.generate_private_key(ec.SECP256R1())
        chain, authority = [], self
        while authority.parent:
            chain.append(authority.certificate.x509)
            authority = authority.parent
        return Certificate(_build(common_name, key, self.common_name, self.key, **options), key, chain)


def _build(subject, key, issuer, issuer_key, ca=False, days=VALID_DAYS):
    now = datetime.datetime.now(datetime.UTC)
    usage = {
        name: False
        for name in (
            "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
            "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
        )  # fmt: skip
    }
    usage["key_cert_sign" if ca else "digital_signature"] = True
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not ca:
        client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(client, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
