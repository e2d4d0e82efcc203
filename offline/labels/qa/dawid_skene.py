"""What the class is when annotators with habits of their own disagree: Dawid and Skene's model.

Annotator a says class l of an object that is truly k with probability `confusion[a, k, l]`; given
the truth, annotators err independently. EM finds the truths' posterior and all confusions
together, with Dirichlet priors on both (so maximum a posteriori), in log space. One of the classes
may be "no object", which is then said by who drew nothing.

Convergence: EM never lowers the log posterior; it has converged when a round raises it by less
than `tolerance` times the number of items. It starts from the majority, so the classes keep their
names. (Dawid and Skene 1979; Dempster, Laird and Rubin 1977.)

What breaks it: annotators who copy from each other, and fewer than three per item with weak
priors, when who is right cannot be known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from contracts.errors import InputError
from contracts.geometry import Int64s
from contracts.samples import Float64s

NO_ANSWER = -1


@dataclass(frozen=True, slots=True)
class Prior:
    """Dirichlet pseudo-counts: of each row of a confusion, `right` on its diagonal and `wrong`
    shared by all other classes; `classes` of each class's share. All over 0, counted above the
    flat prior.

    The defaults take an annotator for right in nine cases out of ten, as strongly as ten answers
    for each class would show.
    """

    right: float = 9.0
    wrong: float = 1.0
    classes: float = 1.0

    def __post_init__(self) -> None:
        if not min(self.right, self.wrong, self.classes) > 0:
            raise InputError("pseudo-counts lie over 0", "prior")


@dataclass(frozen=True, slots=True)
class Truths:
    """`posterior` float64 [items, classes]; `confusion` [annotators, true, said]; `shares`
    [classes]; the log posterior after each round, rising; whether it converged.
    """

    posterior: Float64s
    confusion: Float64s
    shares: Float64s
    log_posterior: tuple[float, ...]
    converged: bool

    def classes(self) -> Int64s:
        """The likeliest class of each item, the first of equals: int64 [items]."""
        return np.asarray(self.posterior.argmax(axis=1))


def dawid_skene(
    said: Int64s, classes: int, prior: Prior | None = None, *,
    rounds: int = 200, tolerance: float = 1e-7,
) -> Truths:  # fmt: skip
    """Truths and confusions of answers.

    Args:
        said: class that each annotator gave each item, int64 [items, annotators], `NO_ANSWER`
            where not asked.
        classes: how many there are.
        prior: pseudo-counts; the defaults where None.
        rounds: at most.
        tolerance: see above.

    Raises:
        InputError: a class out of range, or an item that nobody answered.
    """
    if said.ndim != 2 or not said.size or said.min() < NO_ANSWER or said.max() >= classes:
        raise InputError(f"answers are [items, annotators] in {NO_ANSWER}..{classes - 1}", "said")
    answered = said != NO_ANSWER
    if not answered.any(axis=1).all():
        raise InputError("an item has no answer", f"item {int(answered.any(axis=1).argmin())}")
    prior = prior or Prior()
    extra = np.full((classes, classes), prior.wrong / max(1, classes - 1))
    np.fill_diagonal(extra, prior.right)
    one_hot = (said[..., None] == np.arange(classes)).astype(np.float64)
    votes = one_hot.sum(axis=1)
    posterior: Float64s = votes / votes.sum(axis=1, keepdims=True)
    log_posterior: list[float] = []
    converged = False
    while not converged and len(log_posterior) < rounds:
        confusion = np.einsum("ik,ial->akl", posterior, one_hot) + extra
        confusion /= confusion.sum(axis=2, keepdims=True)
        shares = posterior.sum(axis=0) + prior.classes
        shares /= shares.sum()
        joint = _joint(said, confusion, shares)
        posterior = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        log_posterior.append(
            float(logsumexp(joint, axis=1).sum())
            + float((extra * np.log(confusion)).sum())
            + prior.classes * float(np.log(shares).sum())
        )
        if len(log_posterior) > 1:
            converged = log_posterior[-1] - log_posterior[-2] < tolerance * len(said)
    return Truths(posterior, confusion, shares, tuple(log_posterior), converged)


def class_posterior(said: Int64s, confusion: Float64s, shares: Float64s) -> Float64s:
    """Posterior [items, classes] for annotators who are known, such as from gold.

    Args:
        said: as in `dawid_skene`.
        confusion: float64 [annotators, true, said], rows over 0 and adding up to 1.
        shares: float64 [classes], over 0.
    """
    if (confusion <= 0).any() or (shares <= 0).any():
        raise InputError("no answer may be impossible: smooth the counts first", "confusion")
    joint = _joint(said, confusion, shares)
    return np.asarray(np.exp(joint - logsumexp(joint, axis=1, keepdims=True)))


def _joint(said: Int64s, confusion: Float64s, shares: Float64s) -> Float64s:
    """Log probability of each item's class together with its answers, float64 [items, classes]."""
    joint = np.tile(np.log(shares), (len(said), 1))
    for annotator, table in enumerate(np.log(confusion)):
        asked = said[:, annotator] != NO_ANSWER
        joint[asked] += table[:, said[asked, annotator]].T
    return joint
