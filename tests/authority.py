"""An authority of the tests' own, and a certificate that it gives to every process of a cluster."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

FILES = {"ca": "ca.pem", "cert": "node.pem", "key": "node-key.pem"}
"""What `write_certificates` leaves, by the names that `lab.cluster` gives them."""


def write_certificates(folder: Path, hosts: Sequence[str] = ("127.0.0.1",)) -> dict[str, Path]:
    """An authority, and a certificate for `hosts` with its key: the paths of `FILES` in the folder."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)

    def certificate(name: str, issuer: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
        builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)) for host in hosts])
        return builder.add_extension(alternative, critical=False).sign(by, hashes.SHA256())

    root, node = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    paths, pem = {name: folder / file for name, file in FILES.items()}, serialization.Encoding.PEM
    paths["ca"].write_bytes(certificate("root", "root", root, root).public_bytes(pem))
    paths["cert"].write_bytes(certificate("node", "root", node, root).public_bytes(pem))
    plain = serialization.NoEncryption()
    paths["key"].write_bytes(node.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths


def as_flags(paths: dict[str, Path]) -> list[str]:
    """The same files, as the flags of `dask scheduler` and `dask worker`."""
    flags = {"ca": "--tls-ca-file", "cert": "--tls-cert", "key": "--tls-key"}
    return [text for name, flag in flags.items() for text in (flag, str(paths[name]))]
