"""Every claim, by topic, in the order of the table."""

from gradflow.acceptance import (
    cifar,
    linear_norm,
    normalized,
    plain,
    reparametrized,
    residual,
    shaped,
    sharpness,
    shattering,
    sizes,
    spectrum,
    streams,
    theorem,
    training,
    update_size,
)
from gradflow.acceptance.claim import Claim
from gradflow.core.errors import GradflowError

TOPICS: dict[str, tuple[Claim, ...]] = {
    "sizes": sizes.CLAIMS,
    "plain": plain.CLAIMS,
    "residual": residual.CLAIMS,
    "theorem": theorem.CLAIMS,
    "normalized": normalized.CLAIMS,
    "shattering": shattering.CLAIMS,
    "spectrum": spectrum.CLAIMS,
    "shaped": shaped.CLAIMS,
    "linear_norm": linear_norm.CLAIMS,
    "reparametrized": reparametrized.CLAIMS,
    "update_size": update_size.CLAIMS,
    "sharpness": sharpness.CLAIMS,
    "streams": streams.CLAIMS,
    "cifar": cifar.CLAIMS,
    "training": training.CLAIMS,
}


def claims_matching(text: str) -> dict[str, list[Claim]]:
    """By topic, the claims whose topic or name contains `text`; all of them if it is empty.

    Raises:
        GradflowError: there is none.
    """
    found = {
        topic: [claim for claim in claims if text in topic or text in claim.name]
        for topic, claims in TOPICS.items()
    }
    if not any(found.values()):
        raise GradflowError(f"match={text}: in no claim; topics: {', '.join(TOPICS)}")
    return {topic: claims for topic, claims in found.items() if claims}
