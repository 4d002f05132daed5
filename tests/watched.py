"""A real site with rounds behind it, and what its daemon's monitor says of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import tomli_w
from builders import deployed_site_table, policy_table
from canaries import with_canaries
from federation import free_port
from prometheus_client.parser import text_string_to_metric_families
from site_app import ask

from client import cohort
from client.setup import make_node_key
from client.site import Site
from privacy import wire
from privacy.errors import SiteError
from privacy.fingerprint import code_fingerprint
from privacy.keys import make_key
from privacy.release import Request, RequestHeader
from server.deployment.certificates import make_ca
from tasks.study import Study

PATIENTS = 60
SPLIT = {"tune": 0.1, "heldout": 0.1}


def real_site(folder: Path, **changes: Any) -> Site:
    """A site with its keys, and a coordinator that is not there; each patient has one note."""
    folder.mkdir(parents=True)
    (folder / "coordinator-ca.crt").write_bytes(make_ca("a CA").certificate_pem())
    (folder / "node.key").write_bytes(make_node_key("ash")[0])
    (folder / "node.key").chmod(0o600)
    lines = [json.dumps(with_canaries(number)) + "\n" for number in range(PATIENTS)]
    (folder / "notes.jsonl").write_text("".join(lines))
    ports = {"port": int(free_port()), "monitor": int(free_port())}
    coordinator = {"superlink": f"127.0.0.1:{free_port()}", **ports}
    policy = policy_table(lifetime={"epsilon": 20.0}, metrics="noised")
    table = deployed_site_table("ash", coordinator=coordinator, policy=policy, split=SPLIT)
    (folder / "site.toml").write_text(tomli_w.dumps(table | changes))
    site = Site.read(folder / "site.toml")
    make_key(site.at(site.secret), hashlib.sha256(b"ash").digest())  # the same split each time
    return site


@dataclass
class Asking:
    """Asks a site as its coordinator would, through the ClientApp."""

    site: Site
    study: Study

    def hello(self, *, prepared: bool = True) -> RequestHeader:
        """Introduces the study, whose notes are embedded before; the header of its rounds."""
        if prepared:
            cohort.prepare(self.site, self.study)
        header = RequestHeader(study=self.study.canonical(), code=code_fingerprint())
        said = wire.unpack_hello(self._ask(Request(header), "query.hello"))
        return header.model_copy(update={"encoder": said.encoder})

    def train(self, header: RequestHeader, round: int) -> None:
        """Asks for a round."""
        header = header.model_copy(update={"round": round})
        self._ask(Request(header, self.study.initial()), "train")

    def nonsense(self, kind: str = "train") -> None:
        """Asks for something that is refused."""
        ask(wire.pack_refusal(SiteError("no request")), kind, site=self._toml)

    def rounds(self) -> None:
        """Two rounds, the second asked for twice, and a refusal."""
        header = self.hello()
        for number in (1, 2, 2):
            self.train(header, number)
        self.nonsense()

    @property
    def _toml(self) -> str:
        return str(self.site.folder / "site.toml")

    def _ask(self, request: Request, kind: str) -> Any:
        return ask(wire.pack_request(request), kind, site=self._toml).content


def get(site: Site, path: str, *, method: str = "GET", **headers: str) -> httpx.Response:
    """An answer of the site's monitor."""
    url = f"http://127.0.0.1:{site.coordinator.monitor}{path}"
    with httpx.Client(trust_env=False, timeout=20) as client:
        return client.request(method, url, headers=headers)


def metrics(site: Site) -> dict[str, float]:
    """Every sample of /metrics, by name and labels."""
    answer = get(site, "/metrics")
    assert answer.status_code == 200, answer.text
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
