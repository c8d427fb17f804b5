"""What words alone tell of labels: a logistic regression on TF-IDF, as scikit-learn has both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nlpipe_classification.examples import Labelled

ROWS, WORDS = 20_000, 20_000
"""The most training rows (spread evenly over all) and different words (the commonest) that it learns from."""

# A word, or one character of a script without spaces between words.
_WORD = re.compile(r"[぀-ヿ㐀-鿿豈-﫿฀-๿]|[^\W぀-ヿ㐀-鿿豈-﫿฀-๿]+")


def by_words(
    train: Sequence[Labelled], examples: Sequence[Labelled], labels: Sequence[str], *, multi: bool
) -> list[dict[str, float]] | None:
    """Each label's probability for each example, learnt from `train`; None where no text has a word.

    A regression over all labels, or with `multi` one for each. It draws nothing by chance.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    chosen = [train[at] for at in np.linspace(0, len(train) - 1, min(len(train), ROWS)).astype(int)]
    if not examples or not any(map(words, chosen)):
        return None
    counted = TfidfVectorizer(analyzer=words, max_features=WORDS, sublinear_tf=True)
    known, asked = counted.fit_transform(chosen), counted.transform(examples)
    golds = [row.names for row in chosen]
    if not multi:
        return _named(*_probabilities(known, [names[0] for names in golds], asked), labels)
    columns = [_probabilities(known, [name in names for names in golds], asked) for name in labels]
    chances = np.stack([_held(*column) for column in columns], axis=1)
    return _named(chances, labels, labels)


def words(row: Labelled) -> list[str]:
    """The lower-case words of a row's texts."""
    return _WORD.findall(f"{row.text} {row.text_pair or ''}".lower())


def _probabilities(known: Any, golds: Sequence[Any], asked: Any) -> tuple[NDArray[np.float64], Sequence[Any]]:
    """[rows, classes], and the classes; what has one class only is always that."""
    from sklearn.linear_model import LogisticRegression

    classes = sorted(set(golds))
    if len(classes) == 1:
        return np.ones((asked.shape[0], 1)), classes
    found = LogisticRegression(max_iter=100, tol=1e-3).fit(known, golds)
    return found.predict_proba(asked), list(found.classes_)


def _held(chances: NDArray[np.float64], classes: Sequence[bool]) -> NDArray[np.float64]:
    """How probable it is that a label holds, [rows]."""
    return chances[:, classes.index(True)] if True in classes else np.zeros(len(chances))


def _named(chances: NDArray[np.float64], classes: Sequence[str], labels: Sequence[str]) -> list[dict[str, float]]:
    place = {str(name): at for at, name in enumerate(classes)}
    return [{name: float(row[place[name]]) if name in place else 0.0 for name in labels} for row in chances]
