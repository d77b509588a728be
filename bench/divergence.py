"""How far one set of logits is from another."""

import numpy

# Logits further below a row's largest count as that far below it: what llama-perplexity keeps.
RANGE = 16.0


def log_probabilities(logits: numpy.ndarray) -> numpy.ndarray:
    x = logits.astype("f8")
    x = numpy.maximum(x - x.max(axis=-1, keepdims=True), -RANGE)
    return x - numpy.log(numpy.exp(x).sum(axis=-1, keepdims=True))


class Comparison:
    """Sums over the scored rows of one engine against one reference."""

    def __init__(self):
        self.rows = self.same_best = 0
        self.error = self.norm = 0.0
        self.divergences = []  # summed over the rows of each call of add()

    def add(self, reference: numpy.ndarray, logits: numpy.ndarray) -> None:
        p, q = log_probabilities(reference), log_probabilities(logits)
        self.rows += len(p)
        self.same_best += int((p.argmax(axis=-1) == q.argmax(axis=-1)).sum())
        self.divergences.append(float((numpy.exp(p) * (p - q)).sum()))
        # A constant added to a row's logits means nothing.
        p, q = p - p.mean(axis=-1, keepdims=True), q - q.mean(axis=-1, keepdims=True)
        self.error += float(((p - q) ** 2).sum())
        self.norm += float((p ** 2).sum())

    def result(self) -> dict:
        return {"rows": self.rows, "divergence": sum(self.divergences) / self.rows,
                "top1_agreement": self.same_best / self.rows,
                "relative_error": (self.error / self.norm) ** 0.5}


def divergence_ratio(one: Comparison, other: Comparison, resamples: int = 2000) -> dict:
    """How many times as far `one` is as `other`, over the same chunks, and between what bounds 95 %
    of bootstrap samples of the chunks put it."""
    a, b = numpy.array(one.divergences), numpy.array(other.divergences)
    chosen = numpy.random.default_rng(0).integers(len(a), size=(resamples, len(a)))
    low, high = numpy.percentile(a[chosen].sum(axis=1) / b[chosen].sum(axis=1), [2.5, 97.5])
    return {"ratio": float(a.sum() / b.sum()), "low": float(low), "high": float(high)}
