"""What MX records alone say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.mail import Provider, classify_provider
from partner_center_pipeline.mail.mx import read_mx
from partner_center_pipeline.mail.providers import owner_of

M365 = "contoso-com.mail.protection.outlook.com"
GOOGLE = "aspmx.l.google.com"
GATEWAY = "mx1-eu1.ppe-hosted.com"


@pytest.mark.parametrize(
    ("mx", "provider"),
    [
        (None, Provider.Unknown),
        ("", Provider.Unknown),
        ([], Provider.Unknown),
        (M365, Provider.M365),
        ([M365], Provider.M365),
        ([(20, GOOGLE), (10, M365)], Provider.M365),
        ([(10, GOOGLE), (20, M365)], Provider.Google),
        ([(10, GATEWAY), (20, M365)], Provider.Unknown),
        ("outlook.com.evil.example", Provider.Local),
        ("mail.firma.com.tr", Provider.Local),
        ("firma.com.tr", Provider.Local),
        ("203.0.113.7", Provider.Local),
        (GATEWAY, Provider.Unknown),
        ("hotmail-com.olc.protection.outlook.com", Provider.Unknown),
        ([(0, ".")], Provider.Unknown),
        ([(0, "")], Provider.Unknown),
        ("localhost", Provider.Unknown),
        ("localhost.localdomain.", Provider.Unknown),
        ("127.0.0.1", Provider.Unknown),
        ("mail.sedoparking.com", Provider.Unknown),
    ],
)
def test_the_lowest_preference_decides_and_only_a_mailbox_is_a_provider(
    mx: str | list[str] | list[tuple[int, str]] | None, provider: Provider
) -> None:
    assert classify_provider(mx) is provider


def test_an_iterator_of_hosts_is_read_like_a_list() -> None:
    assert classify_provider(iter([M365])) is Provider.M365


def test_at_equal_preference_a_known_mailbox_goes_before_a_gateway_before_an_unknown_host() -> None:
    mixed = read_mx([(10, "mail.firma.com"), (10, GATEWAY), (10, GOOGLE)])
    assert (mixed.provider, mixed.gateway, mixed.tie) == (Provider.Google, "Proofpoint Essentials", True)
    assert read_mx([(10, "mail.firma.com"), (10, GATEWAY)]).gateway == "Proofpoint Essentials"


def test_of_mailboxes_at_equal_preference_the_heavier_one_decides() -> None:
    mx = [(10, GOOGLE), (10, M365)]
    assert read_mx(mx).provider is Provider.Google
    microsoft = owner_of(M365)
    assert microsoft is not None
    heavier = read_mx(mx, weights={microsoft: 50})
    assert (heavier.provider, heavier.host, heavier.tie) == (Provider.M365, M365, True)
    assert read_mx([(5, GOOGLE), (10, M365)], weights={microsoft: 50}).provider is Provider.Google


def test_a_provider_at_another_preference_is_recorded_as_mixed() -> None:
    assert read_mx([(10, GOOGLE), (20, M365)]).mixed
    assert not read_mx([(10, GOOGLE), (20, "alt1.aspmx.l.google.com")]).mixed


@pytest.mark.parametrize(
    ("mx", "reason"),
    [([(0, ".")], "null_mx"), ([(10, "localhost.")], "localhost"), ([(10, "mx.bodis.com")], "parking")],
)
def test_records_that_name_no_mail_host_say_why(mx: list[tuple[int, str]], reason: str) -> None:
    assert read_mx(mx).no_mail == reason


def test_a_null_mx_beside_a_real_host_is_passed_over() -> None:
    reading = read_mx([(0, "."), (10, GOOGLE)])
    assert (reading.no_mail, reading.provider) == (None, Provider.Google)


def test_a_host_that_is_a_cname_is_recognised_by_its_target() -> None:
    reading = read_mx([(10, "mail.firma.com.tr")], {"mail.firma.com.tr": ("x.example", "mail.natrohost.com")})
    assert (reading.provider, reading.host, reading.name) == (
        Provider.Hosting,
        "mail.firma.com.tr",
        "mail.natrohost.com",
    )


@given(st.lists(st.tuples(st.integers(0, 65535), st.sampled_from([M365, GOOGLE, GATEWAY, "mail.a.com", "."]))))
def test_the_order_of_the_records_does_not_matter(mx: list[tuple[int, str]]) -> None:
    assert read_mx(mx) == read_mx(reversed(mx))


@given(st.one_of(st.none(), st.text(), st.lists(st.text()), st.lists(st.tuples(st.integers(), st.text()))))
def test_nothing_makes_it_raise(mx: str | list[str] | list[tuple[int, str]] | None) -> None:
    classify_provider(mx)
