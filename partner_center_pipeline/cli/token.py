"""`partner-center token`: the state of the stored sign-in, and a new key. Prints no secret and no personal name."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from partner_center_pipeline.cli.base import console, emit, report_errors
from partner_center_pipeline.cli.options import json_option
from partner_center_pipeline.partner_center import SignInStatus, SignInStore, connect_sign_in, sign_in_store
from partner_center_pipeline.partner_center.token_store import KEY_VARIABLE, KeyFit
from partner_center_pipeline.settings import Settings


@click.group()
def token() -> None:
    """Say how the stored sign-in stands, or change its key."""


@token.command()
@json_option("Print it as JSON.")
@report_errors
def status(as_json: bool) -> None:
    """Say where the sign-in is, since when, until when, and which key opens it. Asks Microsoft nothing."""
    from partner_center_pipeline.warehouse.tokens import shared_sign_in

    settings = Settings.load()
    with shared_sign_in(settings) as place:
        store = sign_in_store(settings, place)
        fit = store.key_fit()
        with connect_sign_in(settings, place) as sign_in:
            state = sign_in.status()
    if as_json:
        emit(
            {
                "store": settings.partner_center_token_store,
                "where": store.where,
                "signed_in": state.signed_in,
                "flow": state.flow,
                "signed_in_at": state.signed_in_at,
                "renewed_at": state.renewed_at,
                "days_since_renewal": None if state.age_days is None else round(state.age_days, 2),
                "days_left": None if state.days_left is None else round(state.days_left, 2),
                "warning": state.warning,
                "key": None if fit is None else {"source": fit.source, "known": fit.known, "fits": fit.fits},
            }
        )
        return
    for line in _lines(store, state, fit):
        console.print(line, markup=False)


def _lines(store: SignInStore, status: SignInStatus, fit: KeyFit | None) -> Iterator[str]:
    yield f"Kept        {store.where}"
    if status.signed_in_at is None or status.renewed_at is None or status.flow is None or fit is None:
        yield "Signed in   no; run `partner-center login`"
        return
    yield f"Signed in   {status.signed_in_at:%Y-%m-%d %H:%M} UTC, by {status.flow.value.replace('_', ' ')}"
    yield f"Renewed     {status.renewed_at:%Y-%m-%d %H:%M} UTC, {status.age_days:.0f} days ago"
    yield f"Ends        in {status.days_left:.0f} days unless renewed before"
    yield f"Key         {fit.fits} of {fit.known} in {fit.source}"
    if fit.fits > 1:
        yield "            another than the first: run `partner-center token rotate-key`"
    elif fit.known > 1 and fit.source == KEY_VARIABLE:
        yield f"            the others open nothing here any more: take them out of {KEY_VARIABLE}"
    if status.warning is not None:
        yield status.warning


@token.command("rotate-key")
@json_option("Print the outcome as JSON.")
@report_errors
def rotate_key(as_json: bool) -> None:
    """Encrypt the stored sign-in with a new key; the old one opens it no more.

    A key file is replaced by a new one. With HUNTER_PARTNER_CENTER_TOKEN_KEY, first set it to NEW,OLD on every machine
    that uses the sign-in; this encrypts with NEW, and then OLD can go. It is safe while the pipeline runs.
    """
    with _opened_store() as store:
        fit = store.rotate_key()
    if as_json:
        emit({"where": store.where, "key": {"source": fit.source, "known": fit.known, "fits": fit.fits}})
        return
    console.print(f"[green]Encrypted anew[/] with the {'first' if fit.known > 1 else 'new'} key of ", end="")
    console.print(f"{fit.source}.", markup=False)
    if fit.known > 1:
        console.print(f"Now take the others out of {KEY_VARIABLE} on every machine.", markup=False)


@contextmanager
def _opened_store() -> Iterator[SignInStore]:
    from partner_center_pipeline.warehouse.tokens import shared_sign_in

    settings = Settings.load()
    with shared_sign_in(settings) as place:
        yield sign_in_store(settings, place)
