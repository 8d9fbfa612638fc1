"""Every claim, by topic, in the order of the table."""

from gradflow.acceptance import cifar, normalised, plain, residual, sizes, training
from gradflow.acceptance.claim import Claim
from gradflow.errors import GradflowError

TOPICS: dict[str, tuple[Claim, ...]] = {
    "sizes": sizes.CLAIMS,
    "plain": plain.CLAIMS,
    "residual": residual.CLAIMS,
    "normalised": normalised.CLAIMS,
    "cifar": cifar.CLAIMS,
    "training": training.CLAIMS,
}


def claims_matching(text: str) -> list[Claim]:
    """The claims whose topic or name contains `text`; all of them where it is empty.

    Raises:
        GradflowError: there is none.
    """
    found = [c for topic, claims in TOPICS.items() for c in claims if text in topic + "\n" + c.name]
    if not found:
        raise GradflowError(f"match={text}: in no claim; topics: {', '.join(TOPICS)}")
    return found
