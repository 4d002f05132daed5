"""Stand-ins for four sites, which answer a round loop as sites do, or as they must not."""

from __future__ import annotations

import numpy as np
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

from privacy import wire
from privacy.fingerprint import code_fingerprint
from privacy.release import Hello, Release, ReleaseHeader, Tally
from tasks.study import Study

NAMES = ("ash", "birch", "cedar", "dogwood")
DECLARED = {"ash": 100, "birch": 300, "cedar": 100, "dogwood": 500}
ENCODER = "e" * 64


class Sites:
    """Stands in for four sites: each sends weights filled with a number of its own."""

    def __init__(
        self, study: Study, *, noise: dict[str, float] | None = None, **wrong: object
    ) -> None:
        self.study = study
        self.noise = noise or {}
        self.wrong = wrong
        self.asked: list[tuple[str, str, int]] = []
        self.app = ClientApp()
        self.app.query("hello")(self.welcome)
        self.app.train()(lambda message, context: self.release(message, context, trains=True))
        self.app.evaluate()(lambda message, context: self.release(message, context, trains=False))

    def welcome(self, message, context):
        """Answers hello; looked up at each call, so that a test can put another in its place."""
        return self.hello(message, context)

    def hello(self, message, context):
        name = NAMES[context.node_config["partition-id"]]
        said = {
            "site": name,
            "code": code_fingerprint(),
            "encoder": ENCODER,
            "declared_patients": DECLARED[name],
        }
        change = self.wrong.get(f"{name}_hello", {})
        if isinstance(change, Exception):
            return Message(wire.pack_refusal(change), reply_to=message)
        return Message(wire.pack_hello(Hello(**(said | change))), reply_to=message)

    def release(self, message, context, *, trains):
        name = NAMES[context.node_config["partition-id"]]
        request = wire.unpack_request(message.content)
        number = request.header.round
        self.asked.append((name, "train" if trains else "evaluate", number))
        spend = self.study.spend(max(number, 1))
        charge = {
            "receipt": number,
            "attempt": 1,
            "noise_multiplier": spend.noise_multiplier,
            "sample_rate": spend.sample_rate,
            "steps": spend.steps,
        }
        header = {
            "study": self.study.digest,
            "round": number,
            "site": name,
            "code": code_fingerprint(),
            "encoder": ENCODER,
            "declared_patients": DECLARED[name],
            **(charge if trains else {}),
        }
        update = {
            key: np.full(shape, NAMES.index(name) + number, np.float32)
            for key, shape in self.study.contract().parameters.items()
        }
        content = self.pack(header, update if trains else {})
        change = self.wrong.get(name)
        if trains and change is not None and number == self.wrong.get("round", number):
            content = change(content)
        return Message(content, reply_to=message)

    def pack(self, header, update):
        noise = self.noise.get(header["site"], 0.0)
        contract = self.study.contract()
        found = [
            Tally(key, np.zeros(shape, kind), 0 if noise else 7)
            for key, (shape, kind) in contract.tallies.items()
            if (key in contract.noised) is bool(noise)
        ]
        header = ReleaseHeader(
            **header,
            patients={tally.name: tally.patients for tally in found},
            tally_receipt=2,
            tally_noise=noise,
        )
        release = Release(header=header, update=update, tallies=tuple(found))
        wire.check_release(release, self.study.contract())
        return RecordDict(
            {
                "header": wire._header(header),
                "update": wire._arrays(update),
                "tallies": wire._arrays({tally.name: tally.sums for tally in found}),
            }
        )
