"""Distance between what people wrote about tasks: description, name, column names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from metafeatures.columns import FloatArray
from metafeatures.similarity.base import Similarity, TaskView

DIMENSIONS = 64
MAX_WORDS = 500
Embed = Callable[[list[str]], FloatArray]
"""Texts -> one vector each, ``(len(texts), any)``."""


class TextDistance(Similarity):
    """Cosine distance of embedded texts, 0 to 2, after Drori et al. (2019), arXiv:1910.03698.

    The default embedding is latent semantic analysis of the stored texts: TF-IDF of words, pairs of words and 3 to 5
    letters, reduced to `DIMENSIONS`. A language model can be passed instead.
    """

    name = "text"
    version = "1"

    def __init__(self, *, embed: Embed | None = None) -> None:
        """Use ``embed`` instead of the default embedding."""
        self.embed = embed

    def supports(self, view: TaskView) -> bool:
        """Whether there is a letter or digit."""
        return any(character.isalnum() for character in view.text)

    def _fit(self, tasks: Mapping[str, TaskView], errors: pd.DataFrame | None) -> None:
        texts = {name: tasks[name].text for name in sorted(tasks)}  # the order of the store does not matter
        self._embed = self.embed or latent_semantics(list(texts.values()))
        self._vectors = pd.DataFrame(_normalised(self._embed(list(texts.values()))), index=pd.Index(texts))

    def _distances(self, target: TaskView) -> pd.Series[float]:
        vector = _normalised(self._embed([target.text]))[0]
        return pd.Series(1 - self._vectors.to_numpy() @ vector, self._vectors.index)


def words_of(text: str) -> pd.Series[float]:
    """How often each word stands in a text: what a store keeps of it, the `MAX_WORDS` most frequent ones.

    >>> words_of("Heart disease, heart rate").to_dict()
    {'heart': 2.0, 'disease': 1.0, 'rate': 1.0}
    """
    counts = Counter(re.findall(r"\w+", text.lower())).most_common(MAX_WORDS)
    return pd.Series(dict(counts), dtype=float)


def text_of(words: pd.Series[float]) -> str:
    """The words, in alphabetical order."""
    return " ".join(sorted(words.dropna().index))


def latent_semantics(texts: list[str]) -> Embed:
    """An embedding fitted on ``texts``."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+")
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    vectorizer = FeatureUnion([("words", words), ("letters", letters)]).fit(texts)
    matrix = vectorizer.transform(texts)
    if min(matrix.shape) <= DIMENSIONS:  # few texts: nothing to reduce
        return lambda new: np.asarray(vectorizer.transform(new).toarray())
    svd = TruncatedSVD(DIMENSIONS, random_state=0).fit(matrix)
    return lambda new: np.asarray(svd.transform(vectorizer.transform(new)))


def _normalised(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0))
