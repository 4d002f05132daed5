"""`fedward site ...`: what a site's operator and its data-protection officer run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.said import LogFormat, printer
from experiments.site.check import check
from experiments.site.embed import embed
from experiments.site.init import init
from experiments.site.personalise_command import personalise
from experiments.site.status_command import status
from experiments.verbs import JsonFile, SiteFile, fail, opened_site, write_json

app = typer.Typer(
    no_args_is_help=True, help="For a site: what was spent, what is asked, what may be claimed."
)

app.command()(init)
app.command()(check)
app.command()(status)
app.command()(embed)
app.command()(personalise)


DIGITS_WITHOUT_ASKING = 12
"""Of a digest, where nobody looks at the page before the decision: a few can be hit on purpose."""


@app.command()
def run(
    site: SiteFile = Path("site.toml"),
    log_format: Annotated[
        LogFormat, typer.Option(help="Events as sentences, or as JSON for a journal.")
    ] = LogFormat.text,
) -> None:
    """Run this site's node until Ctrl-C or SIGTERM; it connects to one address, outbound only.

    Beside it, notes of studies are embedded (`coordinator.embed` in site.toml).
    """
    from experiments.site.daemon import run_site

    with opened_site(site) as opened:
        run_site(opened, site, printer(log_format))


@app.command()
def ledger(
    site: SiteFile = Path("site.toml"),
    last: Annotated[
        int, typer.Option(min=1, help="Show this many spends, the latest; --json gets all.")
    ] = 30,
    new_mark: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--new-mark", help="Begin the high-water marks that were lost.")
    ] = False,
    json: JsonFile = None,
) -> None:
    """Show every spend, what all of them cost together and what is left."""
    from client.statement import account
    from experiments.site.pages import print_account

    with opened_site(site) as opened:
        if new_mark:
            for name, length in opened.new_marks().items():
                typer.echo(f"a new high-water mark of the {name} stands at {length}")
        print_account(account(opened, last=last), where=opened.at(opened.ledger))
        if json is not None:
            write_json(json, account(opened), private=True)


@app.command()
def approve(  # noqa: PLR0917 - typer passes them by name
    digest: Annotated[
        str, typer.Argument(help="Of the study, or its first letters; none lists what waits.")
    ] = "",
    site: SiteFile = Path("site.toml"),
    study: Annotated[
        Path | None, typer.Option(help="A study file, where the study has not come here yet.")
    ] = None,
    yes: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--yes", help="Do not ask; wants 12 digits of the digest or more.")
    ] = False,
    revoke: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--revoke", help="Take an approval back.")
    ] = False,
    json: JsonFile = None,
) -> None:
    """Show what a study asks for, against the last one approved, and let it in or not."""
    from client import approval
    from experiments.site.pages import print_page, print_waiting
    from tasks.study import Study

    with opened_site(site) as opened:
        if not digest:
            print_waiting(approval.waiting(opened), opened.name)
            return
        if yes and len(digest) < DIGITS_WITHOUT_ASKING:
            fail(f"--yes needs at least {DIGITS_WITHOUT_ASKING} digits of the digest")
        found = Study.read(study) if study is not None else approval.find(opened, digest)
        if not found.digest.startswith(digest):
            fail(f"{study} is study {found.digest}, not {digest}")
        page = approval.page(opened, found)
        print_page(page)
        write_json(json, page, private=True)
        if page.broken and not revoke:
            fail("the study breaks this site's policy; change site.toml first, if you must")
        word = "Revoke" if revoke else "Approve"
        if not yes:
            if not sys.stdin.isatty():
                fail("nothing was decided: nobody is here to ask; add --yes")
            if not typer.confirm(f"{word} study {found.name} ({found.digest[:12]})?"):
                fail("nothing was decided")
        approval.decide(opened, found, approve=not revoke)
        typer.echo(f"{'revoked' if revoke else 'approved'}: {found.name} {found.digest}")


@app.command()
def statement(site: SiteFile = Path("site.toml"), json: JsonFile = None) -> None:
    """Print exactly what may be claimed of this site's patients, from the ledger."""
    from client.statement import said
    from client.statement import statement as make

    with opened_site(site) as opened:
        made = make(opened)
        typer.echo(said(made))
        write_json(json, made, private=True)
        if not made.holds and made.rounds:
            raise typer.Exit(1)


@app.command()
def log(
    site: SiteFile = Path("site.toml"),
    last: Annotated[int, typer.Option(min=1, help="Show this many lines, the latest.")] = 20,
    json: JsonFile = None,
) -> None:
    """Check the audit log's hash chain, and show its last lines."""
    from experiments.site.pages import print_log

    with opened_site(site) as opened:
        lines = opened.open_log().lines()
        print_log(lines, last=last, where=opened.at(opened.audit_log))
        write_json(json, lines, private=True)


@app.command()
def purge(  # noqa: PLR0917 - typer passes them by name
    site: SiteFile = Path("site.toml"),
    study: Annotated[str, typer.Option(help="Digest of a study, or its first letters.")] = "",
    patient: Annotated[
        str, typer.Option(help="A patient's id as the source has it; - reads it from stdin.")
    ] = "",
    everything: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--everything", help="Destroy the store's key, then all it sealed.")
    ] = False,
    yes: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--yes", help="Do not ask.")
    ] = False,
    json: JsonFile = None,
) -> None:
    """Take a study's, a patient's or all vectors off this site's disk, with a proof."""
    from client import purge as purging
    from experiments.site.pages import print_proof

    if [bool(study), bool(patient), everything].count(True) != 1:
        typer.echo("give one of --study, --patient and --everything", err=True)
        raise typer.Exit(2)
    with opened_site(site) as opened:
        what = "everything" if everything else "one patient" if patient else f"study {study}"
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Purge {what}?")):
            fail("nothing was purged; add --yes where nobody is there to ask")
        if everything:
            proof = purging.purge_everything(opened)
        elif patient:
            name = sys.stdin.readline().strip() if patient == "-" else patient
            proof = purging.purge_patient(opened, name)
        else:
            proof = purging.purge_study(opened, purging.find_study(opened, study))
        said = proof.model_dump(mode="json")
        kept = (
            "what",
            "study",
            "patient",
            "records",
            "heads",
            "kept",
            "key_destroyed",
            "remaining",
        )
        opened.open_log().write("purged", **{key: said[key] for key in kept})
        print_proof(proof)
        write_json(json, proof, private=True)
