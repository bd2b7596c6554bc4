"""The public schemas of editing data, each turned into an edit request.

Which schema a record follows is seen from its own fields, so that a file may mix them:

======================================  ============================================================
fields                                  schema
======================================  ============================================================
prompt, target                          sola-scale's own
requested_rewrite                       CounterFact as published with ROME and MEMIT
src, alt                                zsRE as published with MEND
prompt, target_new                      EasyEdit requests, KnowEdit, CounterFact after RECIPE, WISE
text, labels                            KnowEdit's WikiBio
======================================  ============================================================
"""

from collections.abc import Mapping
from typing import Any

from sola_scale.errors import RequestError
from sola_scale.requests.request import EditRequest

_PARAPHRASE_FIELDS = ("paraphrases", "rephrase_prompt", "rephrase_prompts", "paraphrase_prompts", "rephrase")

FIELDS = (
    *("prompt", "target", "target_new", "text", "labels", "src", "alt", "requested_rewrite"),
    *_PARAPHRASE_FIELDS,
    *("tags", "source", "case_id"),
)
"""Every field that some schema reads; a columnar reader need not load others."""


def request_from(record: object, *, line: int | None = None) -> EditRequest:
    """Turn one record of any known schema into a request.

    Args:
        record: a mapping as JSON, CSV or Parquet gives it.
        line: where it was found.

    Raises:
        RequestError: it is no mapping, follows no known schema, or its texts are not usable.
    """
    if not isinstance(record, Mapping):
        raise RequestError(f"a record must be an object with named fields, not {_kind(record)}")
    prompt, target = _prompt_and_target(record)
    return EditRequest(
        prompt,
        target,
        paraphrases=_paraphrases(record, prompt),
        tags=_strings(record, "tags"),
        source=_source(record),
        line=line,
    )


def knows(fields: set[str]) -> bool:
    """Tell whether records with these fields follow some known schema."""
    needed = (
        {"prompt", "target"},
        {"prompt", "target_new"},
        {"src", "alt"},
        {"text", "labels"},
        {"requested_rewrite"},
    )
    return any(names <= fields for names in needed)


def _prompt_and_target(record: Mapping[str, Any]) -> tuple[Any, Any]:
    if "requested_rewrite" in record:
        return _rewrite(record["requested_rewrite"])
    if "src" in record and "alt" in record:
        return record["src"], record["alt"]
    if "text" in record and "labels" in record and "prompt" not in record:
        return record["text"], record["labels"]
    if "prompt" not in record:
        raise RequestError(f"no field 'prompt'; the record has {_names(record)}")
    for name in ("target", "target_new"):
        if record.get(name) is not None:
            return record["prompt"], record[name]
    raise RequestError(f"no field 'target' (or 'target_new'); the record has {_names(record)}")


def _rewrite(rewrite: object) -> tuple[str, Any]:
    """CounterFact's own form: a template with ``{}`` for the subject, and targets wrapped in objects."""
    try:
        template, subject, target = rewrite["prompt"], rewrite["subject"], rewrite["target_new"]["str"]  # type: ignore[index]
        return template.replace("{}", subject), target
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise RequestError(
            "requested_rewrite must hold prompt, subject and target_new.str, as CounterFact's does"
        ) from error


def _paraphrases(record: Mapping[str, Any], prompt: object) -> tuple[str, ...]:
    found = (text for name in _PARAPHRASE_FIELDS for text in _strings(record, name))
    return tuple(text for text in dict.fromkeys(found) if text != prompt)


def _strings(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Texts of a field that may be absent, one text or a list of them; public data has blank ones, which say nothing."""
    value = record.get(name)
    values = [value] if isinstance(value, str) else value or []
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise RequestError(f"{name} must be a list of texts")
    return tuple(text for text in values if text.strip())


def _source(record: Mapping[str, Any]) -> Any:
    if record.get("source"):
        return record["source"]
    case = record.get("case_id")
    return f"case {case}" if isinstance(case, (int, str)) and str(case).strip() else None


def _names(record: Mapping[str, Any]) -> str:
    names = [str(name)[:40] for name in list(record)[:8]]
    return ", ".join(names) + (", …" if len(record) > len(names) else "") if names else "no fields at all"


def _kind(value: object) -> str:
    return {"list": "a list", "str": "a text", "NoneType": "null"}.get(
        type(value).__name__, type(value).__name__
    )
