"""Short texts: case, width, quotes, markdown and a leading article do not make another answer."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..task import Contract

SPAN = 2_000
_EDGE = " \t\r\n.,;:!?*_`\"'\u201c\u201d\u2018\u2019\u00ab\u00bb()[]{}<>$#|\\~\u3002\u2026-\u2013\u2014"
_ARTICLE = re.compile(r"(?:(?:an?|the)\s+)+(?=\S)")


def read(contract: Contract, span: str) -> tuple[str, str, str] | None:
    """The text of a span: answer, key and value."""
    answer = " ".join(span[:SPAN].split()).strip("*_` ")
    key = normal(answer)
    return (answer, key, answer) if key else None


def normal(text: str) -> str:
    """The form in which texts are compared. What is nothing but punctuation stays as it is."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    folded = " ".join(folded.split())
    bare = folded.strip(_EDGE)
    # A sign is not decoration: -5 and 5 differ.
    if bare[:1].isdigit() and re.search(r"[-\u2212]\s?[$]?$", folded[: folded.index(bare)]):
        bare = "-" + bare
    return _ARTICLE.sub("", bare, count=1) if _ARTICLE.match(bare) else bare or folded
