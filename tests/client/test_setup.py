"""What `init` makes: keys of the site's own, and a site.toml that says what is the default."""

from __future__ import annotations

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from client.policy import Policy
from client.setup import NewSite, make_site
from client.site import Coordinator, Encoders, Site
from client.split import Split
from privacy.keys import read_key
from server.deployment.certificates import fingerprint, make_ca


@pytest.fixture
def new(tmp_path):
    (tmp_path / "ca.crt").write_bytes(make_ca("a CA").certificate_pem())
    source = {"kind": "synthetic", "hospital": "ash", "patient_count": 60}
    return NewSite("ash", "fed.example.org:9443", tmp_path / "ca.crt", source, 40, 8.0)


def test_a_site_is_read_back_as_it_was_asked_for(tmp_path, new):
    made = make_site(tmp_path / "ash", new)
    site = Site.read(tmp_path / "ash" / "site.toml")
    assert (
        site
        == made.site
        == Site.parse_table(new.table(), where="").model_copy(update={"folder": tmp_path / "ash"})
    )
    assert site.policy == Policy(lifetime={"epsilon": 8.0})
    assert site.coordinator == Coordinator(superlink="fed.example.org:9443")
    assert made.ca_fingerprint == fingerprint(new.ca)


def test_keys_are_made_here_and_only_the_public_one_is_shown(tmp_path, new):
    made = make_site(tmp_path / "ash", new)
    folder = tmp_path / "ash"
    private = load_ssh_private_key((folder / "node.key").read_bytes(), None)
    assert isinstance(private.curve, ec.SECP384R1)
    assert made.public_key.startswith("ecdsa-sha2-nistp384 ")
    assert made.public_key.endswith(" ash")
    assert "\n" not in made.public_key
    assert load_ssh_public_key(made.public_key.encode()) == private.public_key()
    assert (folder / "node.key.pub").read_text() == made.public_key + "\n"
    assert read_key(folder / "site.key") != read_key(folder / "store.key")
    assert (folder / "coordinator-ca.crt").read_bytes() == new.ca.read_bytes()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    other = make_site(tmp_path / "other", new)
    assert other.public_key != made.public_key


UNLIMITED = {"quota_gb", "rounds_per_day"}
"""Have no default that TOML could write; the comment says so."""


def test_every_key_stands_there_with_its_default(tmp_path, new):
    make_site(tmp_path / "ash", new)
    path = tmp_path / "ash" / "site.toml"
    before = Site.read(path)
    lines = path.read_text().splitlines()
    bare = [line.removeprefix("# ") if is_setting(line) else line for line in lines]
    instead = ("file = ", "before = ", "by = ")  # of each other, so not all at once
    path.write_text("\n".join(line for line in bare if not line.startswith(instead)))
    keys = {line.split(" = ")[0] for line in bare if " = " in line and not line.startswith("#")}
    kinds = (Site, Coordinator, Encoders, Split, Policy)
    fields = {name for kind in kinds for name in kind.model_fields}
    tables = {"source", "coordinator", "policy", "split"}
    assert fields - keys == tables | {"test_seed", "folder"}
    changed = Site.read(path)
    assert changed.quota_gb == 50
    assert changed.policy.rounds_per_day == 50
    policy = changed.policy.model_copy(update={"rounds_per_day": None})
    assert changed.model_copy(update={"quota_gb": None, "policy": policy}) == before
    assert max(map(len, lines)) <= 100


def is_setting(line: str) -> bool:
    return line.startswith("# ") and line[2:].split(" = ", maxsplit=1)[0].replace("_", "").isalpha()


@pytest.mark.parametrize("kept", ["site.toml", "node.key", "ledger.sqlite", "audit.jsonl"])
def test_nothing_of_a_site_is_overwritten(tmp_path, new, kept):
    (tmp_path / "ash").mkdir()
    (tmp_path / "ash" / kept).write_text("mine")
    with pytest.raises(ValueError, match=f"has {kept} already; nothing is overwritten"):
        make_site(tmp_path / "ash", new)
    assert [path.name for path in (tmp_path / "ash").iterdir()] == [kept]
    assert (tmp_path / "ash" / kept).read_text() == "mine"


def test_a_site_may_be_made_beside_its_notes(tmp_path, new):
    (tmp_path / "ash").mkdir()
    (tmp_path / "ash" / "notes.jsonl").write_text("")
    assert make_site(tmp_path / "ash", new).site.name == "ash"


def test_a_site_that_cannot_be_made_whole_is_not_made(tmp_path, new, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("client.setup.make_key", full)
    with pytest.raises(OSError, match="No space"):
        make_site(tmp_path / "ash", new)
    assert list((tmp_path / "ash").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"", "no certificate in PEM"), ("key", "holds a private key")],
)
def test_a_file_that_is_no_ca_is_refused(tmp_path, new, content, said):
    if content is None:
        new.ca.unlink()
    elif content == "key":
        ca = make_ca("a CA")
        new.ca.write_bytes(ca.certificate_pem() + ca.key_pem())
    else:
        new.ca.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        make_site(tmp_path / "ash", new)
    assert not (tmp_path / "ash").exists()
