"""The environment's own certificate authority: what users trust, and what Ingress-NGINX shows them."""

from __future__ import annotations

import base64
from pathlib import Path

from filelock import FileLock

from harness.env import Env
from harness.kube import Manifest


def ca_file(env: Env) -> Path:
    """The CA's certificate; made on first use together with its key (mode 0600)."""
    import trustme

    certificate, key = env.state_dir / "ca.pem", env.state_dir / "ca.key"
    with FileLock(env.state_dir / "ca.lock", timeout=30):
        if not certificate.exists() or not key.exists():
            authority = trustme.CA(organization_name="Resilience harness")
            key.touch(mode=0o600)
            key.write_bytes(authority.private_key_pem.bytes())
            certificate.write_bytes(authority.cert_pem.bytes())
    return certificate


def issue(env: Env, host: str, namespace: str, name: str) -> Manifest:
    """A TLS secret for `host`, signed by the environment's CA."""
    import trustme

    authority = trustme.CA.from_pem(ca_file(env).read_bytes(), (env.state_dir / "ca.key").read_bytes())
    leaf = authority.issue_cert(host)
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "data": {
            "tls.crt": base64.b64encode(chain).decode(),
            "tls.key": base64.b64encode(leaf.private_key_pem.bytes()).decode(),
        },
    }
