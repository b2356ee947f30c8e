"""Neighbourhoods in feature space: density and coverage (Naeem et al.), improved precision and recall (Kynkäänniemi).

Both give a precision and a recall, which are not the same: networks, k and the edge of the balls differ.
"""

from collections.abc import Sequence

from t2icli.evaluation.features import Features
from t2icli.evaluation.measures import manifold
from t2icli.evaluation.metric import Metric, Score


def density_coverage(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """Coverage first, then density, precision and recall; Inception features, k = 5, open balls."""
    assert real is not None
    truth = real.of("inception_tf", "2048")
    scores = []
    for side in generated:
        found = manifold.overlap(side.of("inception_tf", "2048"), truth, k=5, closed=False)
        values = {
            "coverage": found.coverage,
            "density": found.density,
            "precision": found.precision,
            "recall": found.recall,
        }
        scores.append(Score(values, {"k": 5, "balls": "open", "generated": side.count, "real": real.count}))
    return scores


def precision_recall(generated: Sequence[Features], real: Features | None) -> list[Score]:
    """Precision first, then recall; VGG-16 features, k = 3, closed balls, as torch-fidelity has it."""
    assert real is not None
    truth = real.of("vgg16", "fc2_relu")
    scores = []
    for side in generated:
        found = manifold.overlap(side.of("vgg16", "fc2_relu"), truth, k=3, closed=True)
        details = {"k": 3, "balls": "closed", "generated": side.count, "real": real.count}
        scores.append(Score({"precision": found.precision, "recall": found.recall}, details))
    return scores


METRICS = (
    Metric("prdc", "inception_tf", "higher", density_coverage, needs_real=True, fewest=6),
    Metric("precision-recall", "vgg16", "higher", precision_recall, needs_real=True, fewest=4),
)
