"""SPF, DMARC and DKIM records as they are met in the wild (mail_signals.md, "Parsing")."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from partner_center_pipeline.mail.dkim import has_key, is_revoked, key_of, tenant_of
from partner_center_pipeline.mail.dmarc import Dmarc, choose, inherited, parse_dmarc, select_dmarc, tree_walk
from partner_center_pipeline.mail.spf import parse_spf


def test_spf_is_read_as_written() -> None:
    spf = parse_spf(
        ["MS=ms1", "v=spf1 ip4:192.0.2.0/24 include:_spf.Google.com. ?include:a.example mx redirect=b.example ~all"]
    )
    assert spf.present
    assert spf.includes == ("_spf.google.com", "a.example")
    assert (spf.redirect, spf.all) == ("b.example", "~")


def test_an_include_written_twice_counts_twice_and_is_followed_once() -> None:
    spf = parse_spf(["v=spf1 include:a.example include:a.example -all"])
    assert (spf.include_count, spf.targets) == (2, ("a.example",))


def test_two_spf_records_are_an_error_and_count_as_none() -> None:
    spf = parse_spf(["v=spf1 include:a.example -all", "V=SPF1 mx"])
    assert (spf.present, spf.multiple, spf.include_count) == (False, True, 0)


@pytest.mark.parametrize("text", ["v=spf10 -all", "v=spf2.0/pra -all", " v=spf1 -all", '"v=spf1 -all"', "spf1", ""])
def test_what_does_not_begin_with_the_version_is_no_spf(text: str) -> None:
    spf = parse_spf([text])
    assert (spf.present, spf.multiple) == (False, False)


@pytest.mark.parametrize(
    ("text", "qualifier"),
    [("v=spf1 all", "+"), ("v=spf1 +all", "+"), ("v=spf1 -ALL", "-"), ("v=spf1 ?all", "?"), ("v=spf1", None)],
)
def test_the_qualifier_of_all_is_kept(text: str, qualifier: str | None) -> None:
    assert parse_spf([text]).all == qualifier


def test_a_target_with_a_macro_or_with_other_letters_is_counted_and_not_followed() -> None:
    spf = parse_spf(["v=spf1 include:%{i}._spf.example include:şirket.com.tr include:\\xfc.firma.com.tr -all"])
    assert (spf.include_count, spf.targets) == (3, ())


@pytest.mark.parametrize(
    ("record", "targets", "followed"),
    [
        ("v=spf1 include:a.example ~include:b.example -include:c.example", "a", "a b c"),
        ("v=spf1 +include:a.example -all include:b.example", "a", "a"),
        ("v=spf1 redirect=a.example include:b.example", "b a", "b a"),
        ("v=spf1 redirect=a.example -all", "", ""),
    ],
)
def test_a_term_counts_only_where_it_lets_a_sender_pass(record: str, targets: str, followed: str) -> None:
    spf = parse_spf([record])
    assert spf.targets == tuple(f"{name}.example" for name in targets.split())
    assert spf.followed == tuple(f"{name}.example" for name in followed.split())


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ("a mx ptr a:b.example mx:b.example/24 a/24//64 a//64 ptr:b.example exists:%{i}.b.example", None),
        ("ip4:192.0.2.1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ?all", None),
        ("redirect=a.example exp=b.example other.modifier=%{d}", None),
        ("ipv4:192.0.2.1 -all", "ipv4:192.0.2.1"),
        ("ip4:192.0.2.300", "ip4:192.0.2.300"),
        ("ip4:2001:db8::1", "ip4:2001:db8::1"),
        ("ip6:192.0.2.1", "ip6:192.0.2.1"),
        ("include:", "include:"),
        ("include", "include"),
        ("include=a.example", None),
        ("a/33", "a/33"),
        ("a:", "a:"),
        ("all:x", "all:x"),
        ("mx -all 192.0.2.1", "192.0.2.1"),
        ("redirect=a.example redirect=b.example", "redirect=b.example"),
        ("redirect=a.example redirect=a.example", "redirect=a.example"),
        ("redirect=", "redirect="),
        ("-redirect=a.example", "-redirect=a.example"),
        ("exp=a.example exp=b.example", "exp=b.example"),
    ],
)
def test_a_term_that_receivers_refuse_is_told(terms: str, error: str | None) -> None:
    assert parse_spf([f"v=spf1 {terms}"]).error == error


def test_of_two_redirects_the_first_is_shown_and_the_record_is_an_error() -> None:
    spf = parse_spf(["v=spf1 redirect=a.example redirect=b.example"])
    assert (spf.redirect, spf.targets, spf.error) == ("a.example", ("a.example",), "redirect=b.example")


@pytest.mark.parametrize(
    ("record", "lookups"),
    [
        ("v=spf1 a mx ptr exists:x.example include:y.example ip4:192.0.2.1 -all", 5),
        ("v=spf1 redirect=x.example", 1),
        ("v=spf1 -all a mx include:y.example", 0),
        ("v=spf1 redirect=x.example -all", 0),
    ],
)
def test_the_terms_that_need_a_look_up_are_counted(record: str, lookups: int) -> None:
    assert parse_spf([record]).lookups == lookups


@pytest.mark.parametrize(
    ("record", "allows_all", "ignored"),
    [
        ("v=spf1 +all", True, None),
        ("v=spf1 all -all", True, "-all"),
        ("v=spf1 ?all mx", False, "mx"),
        ("v=spf1 mx -all", False, None),
        ("v=spf1 -all redirect=x.example", False, None),
    ],
)
def test_what_receivers_ignore_behind_all_and_who_is_let_pass_is_told(
    record: str, allows_all: bool, ignored: str | None
) -> None:
    spf = parse_spf([record])
    assert (spf.allows_all, spf.ignored) == (allows_all, ignored)


@pytest.mark.parametrize(
    ("tags", "exists", "policy"),
    [
        ("p=reject; sp=none; np=quarantine; psd=y", True, "none"),
        ("p=reject; sp=none; np=quarantine; psd=y", False, "quarantine"),
        ("p=reject; sp=none; psd=y", False, "none"),
        ("p=reject; psd=y", True, "reject"),
        ("p=reject; sp=odd; psd=y", True, "reject"),
        ("p=reject; sp=none; np=none", True, "reject"),
    ],
)
def test_a_domain_inherits_the_subdomain_policy_of_a_public_suffix(tags: str, exists: bool, policy: str) -> None:
    record = parse_dmarc(f"v=DMARC1; {tags}", "com.example")
    assert record is not None
    assert inherited(record, exists=exists).policy == policy


@pytest.mark.parametrize(
    ("record", "policy", "note"),
    [
        ("v=DMARC1; p=reject", "reject", None),
        ("v=DMARC1;p=quarantine;", "quarantine", None),
        ("v=DMARC1; rua=mailto:a@b.example; sp=none; P = Reject", "reject", None),
        ("v=DMARC1; p=reject; sp=none", "reject", None),
        ("v=DMARC1; sp=reject", "none", "dmarc_policy_missing"),
        ("v=DMARC1", "none", "dmarc_policy_missing"),
        ("v=DMARC1; p=block", "none", "dmarc_policy_invalid"),
        ("v=DMARC1; p=none; p=reject", "none", None),
        ("v = DMARC1 ; p=none", "none", None),
        ("v=DMARC1; ;;p=reject; nonsense", "reject", None),
    ],
)
def test_the_policy_is_p_and_nothing_else(record: str, policy: str, note: str | None) -> None:
    found = parse_dmarc(record, "firma.com.tr")
    assert found is not None
    assert (found.policy, found.policy_note) == (policy, note)


def test_the_other_policies_and_the_legacy_percentage_are_kept_apart() -> None:
    found = parse_dmarc("v=DMARC1; p=reject; sp=none; np=quarantine; t=y; psd=n; pct=50", "firma.com.tr")
    assert found is not None
    assert (found.sp, found.np, found.t, found.psd, found.pct) == ("none", "quarantine", "y", "n", "50")


@pytest.mark.parametrize("text", ["v=DMARC2; p=none", "v=dmarc1; p=none", "p=none; v=DMARC1", "v=DMARC1 p=none", ""])
def test_what_does_not_begin_with_the_version_is_no_dmarc(text: str) -> None:
    assert parse_dmarc(text, "firma.com.tr") is None


def test_two_dmarc_records_at_one_name_count_as_none() -> None:
    assert select_dmarc(["v=DMARC1; p=none", "v=DMARC1; p=reject"], "firma.com.tr") is None
    assert select_dmarc(["v=DMARC1; p=none", "other"], "firma.com.tr") is not None


@pytest.mark.parametrize(
    ("domain", "walk"),
    [
        ("tr", ("tr",)),
        ("firma.com.tr", ("firma.com.tr", "com.tr", "tr")),
        (
            "a.b.c.d.e.f.g.h",
            ("a.b.c.d.e.f.g.h", "b.c.d.e.f.g.h", "c.d.e.f.g.h", "d.e.f.g.h", "e.f.g.h", "f.g.h", "g.h", "h"),
        ),
        (
            "x.y.a.b.c.d.e.f.g.h",
            ("x.y.a.b.c.d.e.f.g.h", "b.c.d.e.f.g.h", "c.d.e.f.g.h", "d.e.f.g.h", "e.f.g.h", "f.g.h", "g.h", "h"),
        ),
    ],
)
def test_the_tree_walk_goes_up_label_by_label_in_at_most_eight_queries(domain: str, walk: tuple[str, ...]) -> None:
    assert tree_walk(domain) == walk
    assert len(walk) <= 8


def test_the_record_of_the_highest_domain_below_a_public_suffix_holds() -> None:
    def record(at: str, psd: str | None = None) -> Dmarc:
        return Dmarc("", "none", at, psd=psd)

    assert choose([]) is None
    assert choose([record("a.firma.com.tr"), record("firma.com.tr")]) == record("firma.com.tr")
    assert choose([record("firma.com.tr"), record("com.tr", "y")]) == record("firma.com.tr")
    assert choose([record("com.tr", "y")]) == record("com.tr", "y")
    # The organisational domain is firma.com.tr, which has no record.
    assert choose([record("a.firma.com.tr"), record("com.tr", "y")]) == record("com.tr", "y")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("v=DKIM1; k=rsa; p=MIGf", "MIGf"),
        ("k=rsa; p=MI Gf", "MIGf"),
        ("p=MIGf", "MIGf"),
        ("v=DKIM1; p=", ""),
        ("v=DKIM1; k=rsa", None),
        ("v=DKIM2; p=MIGf", None),
        ("p=MIGf; v=DKIM1", None),
        ("v=spf1 -all", None),
        ("", None),
    ],
)
def test_a_dkim_key_is_the_tag_p(text: str, key: str | None) -> None:
    assert key_of(text) == key


def test_an_empty_p_is_a_revoked_key_and_no_key() -> None:
    assert not has_key(["v=DKIM1; p="])
    assert is_revoked(["v=DKIM1; p="])
    assert not is_revoked(["v=DKIM1; p=", "v=DKIM1; p=MIGf"])
    assert not is_revoked(["something else"])


@pytest.mark.parametrize(
    ("target", "tenant"),
    [
        ("selector1-firma-com-tr._domainkey.firmaas.onmicrosoft.com", "firmaas"),
        ("selector2-firma-com-tr._domainkey.FirmaAS.onmicrosoft.com.", "firmaas"),
        ("selector1-firma-com-tr._domainkey.firmaas.n-v1.dkim.mail.microsoft", "firmaas"),
        ("selector1-firma-de._domainkey.firma.onmicrosoft.de", "firma"),
        ("selector1-firma-cn._domainkey.firma.partner.onmschina.cn", "firma"),
        ("firmaas.onmicrosoft.com", None),
        ("selector1._domainkey.firma.com.tr", None),
        ("selector1-x._domainkey.firma.onmicrosoft.com.evil.example", None),
        ("selector1-x._domainkey.firma.n-v1.dkim.mail.microsoft.evil.example", None),
        ("selector1-x._domainkey.dkim.mail.microsoft", None),
        ("s1.domainkey.u1.wl.sendgrid.net", None),
    ],
)
def test_the_tenant_is_named_in_microsofts_dkim_targets_old_and_new(target: str, tenant: str | None) -> None:
    assert tenant_of(target) == tenant


@given(st.lists(st.text()))
@example(["v=spf1 " + "include:" * 3])
@example(["v=DMARC1;=;p=;p"])
def test_no_text_makes_a_parser_raise(texts: list[str]) -> None:
    parse_spf(texts)
    select_dmarc(texts, "firma.com.tr")
    has_key(texts)
    is_revoked(texts)
    for text in texts:
        tenant_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1; p=x" + " " * 65_000 + "x",
        "v=DMARC1;" + "p" * 65_000,
        "v=DMARC1;" + " " * 65_000,
        "v=DKIM1; p=" + "A " * 32_000,
        "v=spf1 " + "include:a " * 6_500,
        "v=spf1 " + "redirect=" * 7_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_record_as_long_as_dns_allows_is_read_in_no_time(text: str) -> None:
    began = time.process_time()
    parse_spf([text])
    select_dmarc([text], "firma.com.tr")
    has_key([text])
    assert time.process_time() - began < 0.5


WORDS = st.text(st.characters(codec="utf-8", exclude_characters=" "), max_size=20)


@given(st.lists(WORDS))
def test_no_terms_make_the_spf_parser_raise_and_includes_are_counted(words: list[str]) -> None:
    spf = parse_spf([" ".join(["v=spf1", *words, "include:counted.example"])])
    assert "counted.example" in spf.includes


@given(st.lists(st.tuples(WORDS, WORDS)), st.sampled_from(["none", "quarantine", "reject"]))
def test_tags_may_stand_in_any_order(tags: list[tuple[str, str]], policy: str) -> None:
    others = [
        f"{name.replace(';', '')}={value.replace(';', '')}" for name, value in tags if name.strip().lower() != "p"
    ]
    for at in range(len(others) + 1):
        record = "; ".join(["v=DMARC1", *others[:at], f"p={policy}", *others[at:]])
        found = parse_dmarc(record, "firma.com.tr")
        assert found is not None
        assert found.policy == policy
