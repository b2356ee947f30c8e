"""What many tests need: one thread a process, a minute BERT, a few prepared scenes."""

from pathlib import Path

import pytest
import torch
import torchvision

from t2icli import registry
from t2icli.data.prepare import Options, prepare
from t2icli.data.shard_folder import ShardFolder
from t2icli.encoders._files import WEIGHTS, save_encoder
from t2icli.recipe_files import load_data_recipe, load_encoder_recipe
from t2icli.training.pretraining import build_encoder
from t2icli.weights import Weights

torch.set_num_threads(1)  # tests run in parallel; more threads a process would fight over the cores

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real data beside the checkout, where it is."""
    if not SHARED.is_dir():
        pytest.skip("no shared/ folder with real data beside this checkout")
    return SHARED


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """``prepare`` in a test's own process sets the number of threads, on which the last bits of later sums depend."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What networks see in a test is of no use to another, nor to the user's own evaluations."""
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "own-cache"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BertModel with random weights and a small vocabulary, saved as users save theirs."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["a", "red", "blue", "bus", "dog", "on", "the", "street", "sea", "grass", "of", "in"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *words, *letters, *(f"##{c}" for c in letters)]
    vocabulary = list(dict.fromkeys(vocabulary))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """Shards of 24 training and 12 validation scenes, 32 px, word vectors of 12 numbers."""
    folder = tmp_path_factory.mktemp("shards")
    recipe = load_data_recipe(
        "scenes",
        [
            f"text.model={tiny_bert}",
            "text.max_tokens=16",
            "text.pad_sum=true",
            "reader.size=32",
            "reader.train=24",
            "reader.val=12",
            "images.size=32",
            "images_per_shard=10",
        ],
    )
    prepare(recipe, folder / "raw", folder / "shards", Options(workers=1))
    return folder / "shards"


@pytest.fixture(scope="session")
def tiny_encoders(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> dict[str, Path]:
    """An untrained encoder of every kind that can be trained, by its name, for the captions of tiny_shards."""
    found = {}
    for name in registry.available("t2icli.encoders"):
        if name != "words":
            recipe = load_encoder_recipe(f"tiny/{name}", [f"data.shards={tiny_shards}"])
            encoder = build_encoder(recipe, ShardFolder(tiny_shards, "train"), Weights()).eval()
            found[name] = tmp_path_factory.mktemp(name)
            save_encoder(found[name] / WEIGHTS, name, encoder)
    return found


@pytest.fixture(scope="session")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-50 with random weights, saved as torchvision saves its own."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), path)
    return path
