"""The ClientApp's guard: nothing but a SiteError's own text gets out."""

from __future__ import annotations

import logging

import pytest
from flwr.app import Context, Message, RecordDict

from client.app import app, sealed
from experiments.simulate.in_process import InProcessGrid
from privacy import wire
from privacy.errors import SiteError, StudyRefused
from server.exchange import exchange

CANARY = "Zebulon Quagmire, record 4711"


def ask(content: RecordDict, kind: str = "query.hello", **config: object):
    grid = InProcessGrid(app, nodes=1, run_config={}, run_id=1)
    for context in grid._contexts.values():
        context.node_config = dict(config)
    nodes = dict.fromkeys(grid.get_node_ids(), content)
    from experiments.simulate.in_process import _identity

    with _identity(run_id=1, node_id=1):
        (reply,) = exchange(grid, nodes, message_type=kind, round=0, timeout=10)
    return reply


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError(CANARY), "ValueError: failed; the site's own log says where"),
        (KeyError(CANARY), "KeyError: failed; the site's own log says where"),
        (StudyRefused("policy.tasks allows none"), "StudyRefused: policy.tasks allows none"),
    ],
)
def test_an_error_leaves_as_its_name_or_as_what_its_author_wrote(error, said, caplog, monkeypatch):
    def broken(_message: Message, _context: Context) -> Message:
        raise error

    sent = {}
    nobody = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    monkeypatch.setattr(
        "client.app.Message", lambda content, reply_to: sent.update(content=content) or content
    )
    with caplog.at_level(logging.DEBUG):
        sealed(None, nobody, broken)
    with pytest.raises(SiteError) as back:
        wire.unpack_hello(sent["content"])
    assert str(back.value) == said
    assert CANARY not in caplog.text
    assert type(error).__name__ in caplog.text


def test_a_node_without_a_site_says_what_to_do():
    content = wire.pack_refusal(SiteError("not a request"))
    reply = ask(content)
    with pytest.raises(SiteError, match="ReleaseBlocked: a message must hold exactly"):
        wire.unpack_hello(reply.content)


def test_a_site_file_with_a_mistake_does_not_get_out(tmp_path, study):
    path = tmp_path / "site.toml"
    path.write_text(f'name = "{CANARY}"')
    from privacy.fingerprint import code_fingerprint
    from privacy.release import Request, RequestHeader

    request = Request(RequestHeader(study=study.canonical(), code=code_fingerprint()))
    reply = ask(wire.pack_request(request), site=str(path))
    with pytest.raises(SiteError) as error:
        wire.unpack_hello(reply.content)
    assert str(error.value) == "ValueError: failed; the site's own log says where"


def test_a_real_site_with_a_test_seed_takes_no_part(make_site, study):
    site = make_site("ash")
    reply = ask(wire.pack_refusal(SiteError("x")), site=str(site.folder / "site.toml"))
    with pytest.raises(SiteError, match="ReleaseBlocked"):
        wire.unpack_hello(reply.content)
    from privacy.fingerprint import code_fingerprint
    from privacy.release import Request, RequestHeader

    request = Request(RequestHeader(study=study.canonical(), code=code_fingerprint()))
    reply = ask(wire.pack_request(request), site=str(site.folder / "site.toml"))
    with pytest.raises(SiteError, match="test_seed is set"):
        wire.unpack_hello(reply.content)
