"""The order of names."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.reports.collation import name_key


def test_names_are_in_the_order_of_the_turkish_alphabet() -> None:
    ordered = [
        "#1 Yazılım", "2 Kardeş", "10 Kardeş", "Acar", "Âdem", "Bal", "Cam", "Çam", "Dal", "Gül", "Ğ", "Hat",
        "Ilgaz", "ışık", "İlk", "inci", "Jale", "Oya", "Öz", "Pak", "Sel", "Şen", "Tan", "Uz", "Ün", "Van", "Yurt",
        "Zan", "Ωmega",
    ]  # fmt: skip
    assert sorted(sorted(ordered), key=name_key) == ordered


def test_upper_and_lower_case_are_alike() -> None:
    assert name_key("IŞIK İNŞAAT") == name_key("ışık inşaat")


@given(st.lists(st.text()))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    done = sorted(names, key=name_key)
    assert all(name_key(one) <= name_key(other) for one, other in pairwise(done))
