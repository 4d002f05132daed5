"""`fedward server ...` as a coordinator types it."""

from __future__ import annotations

import stat

import pytest
from typer.testing import CliRunner

from experiments.command import app
from server.deployment.certificates import check_acceptance, make_ca, make_server_certificate
from server.deployment.config import ServerConfig

RUN = CliRunner(env={"COLUMNS": "300"})


def init(folder, *words: str):
    return RUN.invoke(app, ["server", "init", str(folder), *words])


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_a_whole_folder_and_says_what_sites_need(tmp_path):
    folder = tmp_path / "deep" / "coordinator"
    shown = init(folder, "--host", "fed.example.org", "--host", "10.0.0.7", "--port", "443")
    assert shown.exit_code == 0, shown.stderr
    assert f"the file   {folder / 'ca.crt'}\n" in shown.stdout
    assert "the address fed.example.org:443\n" in shown.stdout
    config = ServerConfig.read(folder / "server.toml")
    assert (config.reached_at, config.fleet) == ("fed.example.org:443", "0.0.0.0:443")
    assert config.control == "127.0.0.1:9093"
    hosts = ["fed.example.org", "10.0.0.7", "localhost"]
    files = [config.at(path) for path in (config.ca, config.certificate, config.key)]
    check_acceptance(*files, hosts=hosts)
    control = (config.control_ca, config.control_certificate, config.control_key)
    check_acceptance(*map(config.at, control), hosts=["127.0.0.1"])
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir()} == {0o600}
    assert len(config.at(config.superexec_secret).read_bytes()) >= 32
    assert [path.name for path in folder.parent.iterdir()] == ["coordinator"]


def test_the_commented_defaults_are_the_defaults(tmp_path):
    init(tmp_path / "c")
    text = (tmp_path / "c" / "server.toml").read_text()
    plain = ServerConfig.read(tmp_path / "c" / "server.toml")
    lines = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    (tmp_path / "c" / "server.toml").write_text("\n".join(lines))
    assert ServerConfig.read(tmp_path / "c" / "server.toml") == plain
    fields = set(ServerConfig.model_fields) - {"folder"}
    assert all(f"\n{field} = " in "\n".join(lines) for field in fields)


def test_a_trial_binds_nothing_but_this_machine(tmp_path):
    assert init(tmp_path / "c").exit_code == 0
    assert ServerConfig.read(tmp_path / "c" / "server.toml").fleet == "127.0.0.1:9443"


@pytest.mark.parametrize("kept", ["server.toml", "notes.txt"])
def test_init_overwrites_nothing(tmp_path, kept):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / kept).write_text("mine")
    shown = init(tmp_path / "c")
    assert shown.exit_code == 1
    assert "is there already and is not empty" in shown.stderr
    assert [path.name for path in (tmp_path / "c").iterdir()] == [kept]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    (tmp_path / "file").write_text("mine")
    assert init(tmp_path / "file").exit_code == 1


def test_given_certificates_are_checked_and_taken_over(tmp_path):
    ca = make_ca("a hospital's")
    issued = make_server_certificate(ca, ["fed.example.org"])
    files = {"ca": ca.certificate_pem(), "cert": issued.certificate_pem(), "key": issued.key_pem()}
    words = ["--host", "fed.example.org"]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        words += [f"--{name}", str(tmp_path / name)]
    shown = init(tmp_path / "c", *words)
    assert shown.exit_code == 0, shown.stderr
    config = ServerConfig.read(tmp_path / "c" / "server.toml")
    assert config.at(config.key).read_bytes() == files["key"]
    assert not (tmp_path / "c" / "ca.key").exists()
    # The port on 127.0.0.1 does not depend on what the given one names.
    control = (config.control_ca, config.control_certificate, config.control_key)
    check_acceptance(*map(config.at, control), hosts=["127.0.0.1"])
    other = init(tmp_path / "d", *words, "--host", "other.example.org")
    assert other.exit_code == 1
    assert "as other.example.org: Hostname mismatch" in other.stderr
    assert not (tmp_path / "d").exists()
    assert init(tmp_path / "e", *words[:-2]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "https://fed.example.org"], "is neither an IP address nor a host name"),
        (["--port", "9093"], "are both 9093"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, words, said):
    shown = init(tmp_path / "c", *words)
    assert shown.exit_code == 1
    assert said in shown.stderr
    assert shown.stderr.count("\n") == 1
