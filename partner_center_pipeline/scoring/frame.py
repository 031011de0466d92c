"""Scoring many companies at once, as a DataFrame: different cases are few, so each is scored once for all its rows.

Not here: any rule; a case is scored by `evaluate.score_domain`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any, Final

from partner_center_pipeline.scoring.evaluate import DEFAULT_POLICY, EVIDENCE, score_domain
from partner_center_pipeline.scoring.model import Score, ScoreInput, ScorePolicy
from partner_center_pipeline.scoring.rules import Rules, load_rules

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    _Objects = npt.NDArray[np.object_]
    _CaseNumbers = npt.NDArray[np.integer]

_FLAGS: Final = ("domain_valid", "no_mx", "signals_complete", "spf_present", "spf_multiple", "open_cosell")
_OPTIONAL: Final = ("dkim_present", "dmarc_policy", "tenant", "tenant_source")
_LATER_FLAGS: Final = ("spf_allows_all", "dmarc_testing")
_LATER_TEXTS: Final = ("gateway", "unanswered", "spf_error", "spf_ignored")
_LATER: Final = (*_LATER_FLAGS, *_LATER_TEXTS, "local_host")
"""The facts of LATER_FACTS, which a frame may lack: of the texts, only whether there is one decides a case."""
_FACTS: Final = (*_FLAGS, "provider", "spf_includes", *_OPTIONAL)
_INPUTS: Final = tuple(field.name for field in fields(ScoreInput))


def inputs_frame(stored: Sequence[Mapping[str, Any]]) -> "pd.DataFrame":
    """Make a frame to score from inputs as table `company_scores` keeps them: mappings with the fields of ScoreInput.

    What a mapping lacks is None (evidence that an older version did not store); other keys are ignored. The index is
    0, 1, 2, ...
    """
    import pandas as pd

    return pd.DataFrame([[inputs.get(name) for name in _INPUTS] for inputs in stored], columns=list(_INPUTS))


def score_frame(
    frame: "pd.DataFrame", rules: Rules | None = None, policy: ScorePolicy = DEFAULT_POLICY
) -> "pd.DataFrame":
    """Score many companies: each row of the result is `score_domain` of that row, under the same index.

    `frame` has a column for every field of ScoreInput; those of its evidence and of LATER_FACTS may be left out.
    Missing values (None, NaN, NA) are allowed where ScoreInput allows None. The result has a column for every field of
    Score, all of dtype object and holding exactly the values Score holds (None for none), except `reasons`: the JSON
    text of `Score.reasons_plain`, because a million lists of dictionaries would not fit in memory.

    Raises ValueError for a column that is missing, has a missing value where a fact is needed, or a value that
    ScoreInput or `Provider.named` refuses.
    """
    import numpy as np
    import pandas as pd

    rules = rules or load_rules()
    _check(frame)
    frame = frame.assign(**{name: None for name in _LATER if name not in frame.columns})
    frame = frame.assign(**{name: frame[name].astype(object).eq(True) for name in _LATER_FLAGS})
    frame = frame.assign(spf_includes=frame["spf_includes"].astype("int64"))
    case_of_row = _case_of_row(frame, rules)
    first_row_of_case = np.unique(case_of_row, return_index=True)[1]
    scores = [score_domain(inputs, rules, policy) for inputs in _inputs(frame.iloc[first_row_of_case])]

    columns: dict[str, _Objects] = {}
    for field in fields(Score):
        if field.name == "reasons":
            columns[field.name] = _reasons_json(frame, case_of_row, scores)
        else:
            of_case = np.empty(len(scores), dtype=object)
            of_case[:] = [getattr(score, field.name) for score in scores]
            columns[field.name] = of_case[case_of_row]
    return pd.DataFrame(columns, index=frame.index, dtype=object)


def _check(frame: "pd.DataFrame") -> None:
    absent = [name for name in ("domain", *_FACTS) if name not in frame.columns]
    if absent:
        raise ValueError(f"no column {', '.join(absent)}; a frame to score has every fact of ScoreInput")
    for name in ("domain", *_FACTS):
        if name not in _OPTIONAL and (unknown := int(frame[name].isna().sum())):
            raise ValueError(
                f"{name} is missing in {unknown} of {len(frame)} rows; "
                "a company whose facts are not known has signals_complete = False"
            )
    for name in (*_FLAGS, "dkim_present"):
        strange = [value for value in frame[name].dropna().unique() if value not in (True, False)]
        if strange:
            raise ValueError(f"{name} is {strange[0]!r} in some row; it is true or false")
    if (frame["spf_includes"] < 0).any():
        raise ValueError("spf_includes is negative in some row; it is a count")


def _case_of_row(frame: "pd.DataFrame", rules: Rules) -> "_CaseNumbers":
    """Return the number of each row's case: rows of one case differ in nothing that a rule looks at."""
    cases = frame[list(_FACTS)].copy()
    cases["spf_includes"] = cases["spf_includes"] > rules.readiness.spf_includes_max
    cases["tenant"] = _given(cases["tenant"])
    cases["local_host"] = frame["local_host"]
    for name in _LATER_FLAGS:
        cases[name] = frame[name]
    for name in _LATER_TEXTS:
        cases[name] = _given(frame[name])
    cases["domain"] = _given(frame["domain"])
    return cases.groupby(list(cases.columns), sort=False, dropna=False).ngroup().to_numpy(dtype="int64")


def _given(column: "pd.Series[Any]") -> "pd.Series[bool]":
    return column.notna() & (column != "")


def _inputs(frame: "pd.DataFrame") -> Iterator[ScoreInput]:
    names = [name for name in _INPUTS if name in frame.columns]
    plain = frame[names].astype(object)
    plain = plain.where(plain.notna(), None)
    for values in plain.itertuples(index=False, name=None):
        row = dict(zip(names, values, strict=True))
        for flag in (*_FLAGS, *_LATER_FLAGS):
            row[flag] = bool(row[flag])
        if row["dkim_present"] is not None:
            row["dkim_present"] = bool(row["dkim_present"])
        row["spf_includes"] = int(row["spf_includes"])
        yield ScoreInput(**row)


def _reasons_json(frame: "pd.DataFrame", case_of_row: "_CaseNumbers", scores: list[Score]) -> "_Objects":
    """Return each row's reasons as JSON: the text of its case, with the row's own evidence."""
    import numpy as np

    evidence = {name: _json_texts(frame, name) for name in set(EVIDENCE.values())}
    texts = np.empty(len(frame), dtype=object)
    rows_by_case = np.argsort(case_of_row, kind="stable")
    ends = np.cumsum(np.bincount(case_of_row, minlength=len(scores)))
    for score, (start, end) in zip(scores, pairwise((0, *ends)), strict=True):
        rows = rows_by_case[start:end]
        pieces: list[Iterable[str]] = []
        literal = "["
        for reason in score.reasons:
            literal += f'{{"code":"{reason.code}","points":{reason.points},"evidence":'
            field = EVIDENCE.get(reason.code)
            if field:
                pieces += [repeat(literal), evidence[field][rows].tolist()]
                literal = "},"
            else:
                literal += "null},"
        literal = literal.removesuffix(",") + "]"
        texts[rows] = list(map("".join, zip(*pieces, repeat(literal)))) if pieces else literal
    return texts


def _json_texts(frame: "pd.DataFrame", name: str) -> "_Objects":
    """Return a column of evidence as JSON strings: `null` where there is none."""
    import numpy as np
    import orjson

    if name not in frame.columns:
        return np.full(len(frame), "null", dtype=object)
    codes, values = frame[name].factorize()
    texts = np.empty(len(values) + 1, dtype=object)
    texts[:-1] = [orjson.dumps(str(value)).decode() if value != "" else "null" for value in values.tolist()]
    texts[-1] = "null"  # a missing value has the code -1
    of_row: _Objects = texts[codes]
    return of_row
