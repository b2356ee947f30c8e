"""What AttnGAN, AttnDCGAN and MirrorGAN share: discriminators, losses, sizes and the names of released tensors.

Xu et al., "AttnGAN", CVPR 2018, in the form of the released code (taoxugit/AttnGAN, 2018): cross-entropy without
smoothing, sums over the stages, and mismatched pairs for the conditional answer only.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from t2icli.batch import Batch, Fake, Text
from t2icli.errors import DataError, RecipeError
from t2icli.losses.adversarial import answered
from t2icli.nn.initialisation import orthogonal
from t2icli.nn.stage_discriminators import ConditionalDiscriminator, StageDiscriminator
from t2icli.nn.stages import PaddedWords, StagedGenerator
from t2icli.recipe import Section, Width, weight
from t2icli.released import (
    Imported,
    Part,
    Released,
    Rules,
    State,
    check_fit,
    generator_kinds,
    parts_of,
    renamed,
    said_of,
    the_one,
)
from t2icli.setting import Setting
from t2icli.systems._base import Losses, System

SMALLEST = 8  # pixels a side of the first stage


class StagedConfig(Section):
    """The [model] table."""

    generator_channels: Width = Field(32, description="width of every stage of the generator (GF_DIM)")
    discriminator_channels: Width = Field(64, description="first width of every discriminator (DF_DIM)")
    residual_blocks: int = Field(2, ge=0, le=1 << 8, description="in every stage after the first (R_NUM)")
    stages: int = Field(3, ge=1, le=3, description="images drawn, each twice as large as the one before")
    noise_dim: Width = Field(100, description="of the picture; conditioning augmentation has its own")
    condition_dim: Width = Field(100, description="numbers that a sentence is condensed to")
    adversarial: float = weight("of the generator's answers at every stage; AttnGAN's code has 1, VLMGAN's paper 0.5")
    kl_weight: float = weight("of the divergence of conditions from a standard normal")
    padded_words: PaddedWords = Field(
        "masked", description="whether attention is kept from padded words, or from the words that the code's slip hits"
    )


class StagedSystem(System):
    """A generator in stages and a discriminator for each image that it draws."""

    generator: StagedGenerator
    discriminator: nn.ModuleList
    judge: ClassVar[type[ConditionalDiscriminator]] = StageDiscriminator  # of each image

    def __init__(self, config: StagedConfig, setting: Setting) -> None:
        super().__init__()
        self.config = config
        every = sizes(config, setting)
        self.sizes = every[-self.images(config) :]  # of the images that are drawn
        self.noise_dim = config.noise_dim + config.condition_dim
        self.generator = StagedGenerator(
            lambda: self.make_stage(config, setting.word_dim),
            config.stages,
            images=len(self.sizes),
            doublings=every[0].bit_length() - 3,
            channels=config.generator_channels,
            noise_dim=config.noise_dim,
            condition_dim=config.condition_dim,
            sentence_dim=setting.word_dim,
        )
        self.discriminator = nn.ModuleList(
            self.judge(size, config.discriminator_channels, setting.word_dim) for size in self.sizes
        )
        orthogonal(self)

    def images(self, config: StagedConfig) -> int:
        """How many stages draw an image, the last one among them: all."""
        return config.stages

    @abstractmethod
    def make_stage(self, config: StagedConfig, word_dim: int) -> nn.Module:
        """A stage after the first, for word vectors of so many numbers; what the systems differ in."""

    def generate(self, text: Text, noise: Tensor) -> Fake:
        """An image a stage; ``extras`` hold mu, logvar and the attention maps."""
        images, extras = self.generator(noise, text.sentence, text.words, text.mask)
        return Fake(tuple(image.float() for image in images), extras)

    def d_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Real images and pairs against generated ones, and against real images of the sentence that follows."""
        losses, sentence = {}, batch.text.sentence
        for size, judge, generated in zip(self.sizes, self.judges(), fake.images, strict=True):
            real, fake_features = judge(at_size(batch.image, size)), judge(generated.detach())
            fits = answered(judge.fits(real, sentence), True)
            fake_fits = answered(judge.fits(fake_features, sentence), False)
            wrong_fits = answered(judge.fits(real[:-1], sentence[1:]), False)
            is_real, fake_is_real = answered(judge.real(real), True), answered(judge.real(fake_features), False)
            losses[f"stage{size}"] = (is_real + fits) / 2 + (fake_is_real + fake_fits + wrong_fits) / 3
        return losses

    def g_losses(self, batch: Batch, fake: Fake) -> Losses:
        """Every stage's image should pass, alone and beside its sentence; conditions should stay near normal."""
        losses = {}
        for size, judge, generated in zip(self.sizes, self.judges(), fake.images, strict=True):
            features = judge(generated)
            fits = answered(judge.fits(features, batch.text.sentence), True)
            losses[f"stage{size}"] = self.config.adversarial * (answered(judge.real(features), True) + fits)
        if self.config.kl_weight:
            losses["kl"] = self.config.kl_weight * divergence(fake.extras["mu"], fake.extras["logvar"])
        return losses

    def judges(self) -> list[StageDiscriminator]:
        """The discriminators, coarse to fine."""
        return [cast(StageDiscriminator, judge) for judge in self.discriminator]


def divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Mean over batch and dimensions of the KL divergence from a standard normal; the sum would be usual."""
    mu, logvar = mu.float(), logvar.float()
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).mean()


def at_size(images: Tensor, size: int) -> Tensor:
    """Images made smaller as PIL does it: bilinearly, antialiased."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def sizes(config: StagedConfig, setting: Setting) -> list[int]:
    """Pixels a side of every stage's image."""
    found = [setting.image_size >> later for later in range(config.stages - 1, -1, -1)]
    if found[0] < SMALLEST:
        raise RecipeError(
            f"model.stages: {config.stages} stages up to {setting.image_size} px begin at {found[0]} px; "
            f"the first needs {SMALLEST}: take fewer stages or a larger data.image_size"
        )
    return found


# ---------------------------------------------------------------------------- released checkpoints

GENERATOR_NAMES: Rules = (
    (r"^ca_net\.fc\.", "augmentation.project."),
    (r"^h_net1\.fc\.0\.", "first.project."),
    (r"^h_net1\.fc\.1\.", "first.norm."),
    (r"^h_net1\.upsample(\d)\.", lambda name: f"first.up.{int(name[1]) - 1}."),
    (r"^h_net(\d)\.", lambda name: f"later.{int(name[1]) - 2}."),
    (r"\.att\.conv_context\.", ".attention.project."),
    (r"^(later\.\d)\.upsample\.", r"\1.up."),
    (r"^img_net(\d)\.img\.", lambda name: f"to_images.{int(name[1]) - 1}."),
    (r"^img_net\.img\.", "to_images.0."),
)
DISCRIMINATOR_NAMES: Rules = (
    (r"^img_code_s16\.0\.", "trunk.0.0."),
    (r"^img_code_s16\.([258])\.", lambda name: f"trunk.{(int(name[1]) + 1) // 3}.0."),
    (r"^img_code_s16\.([369])\.", lambda name: f"trunk.{int(name[1]) // 3}.1."),
    (r"^img_code_s32\.", "trunk.4."),
    (r"^img_code_s32_1\.", "trunk.5."),
    (r"^img_code_s64\.", "trunk.5."),
    (r"^img_code_s64_1\.", "trunk.6."),
    (r"^img_code_s64_2\.", "trunk.7."),
    (r"^UNCOND_DNET\.outlogits\.0\.", "unconditional."),
    (r"^COND_DNET\.jointConv\.", "joint."),
    (r"^COND_DNET\.outlogits\.0\.", "conditional."),
)
JUDGE = ("img_code_s16.0.weight", "COND_DNET.jointConv.0.weight")


def import_staged(
    name: str,
    kind: str,
    system: Callable[[StagedConfig, Setting], StagedSystem],
    files: Sequence[Released],
    rules: Rules,
) -> Imported:
    """``netG*.pth`` and, if given, all of ``netD*.pth``, told apart by the tensors in them.

    ``kind`` is what ``released.KINDS`` calls the system's generators.
    """
    generators = {file.path: parts_of(file, "ca_net.fc.weight") for file in files}
    judges = {file.path: parts_of(file, *JUDGE) for file in files}
    for file in files:
        found = generator_kinds(file)
        if found and found[0] != kind:
            raise DataError(f"{file.path}: is {found[0]}; wanted for {name} is {kind}")
        if not generators[file.path] and not judges[file.path]:
            raise DataError(f"{file.path}: is neither a generator nor a discriminator of {name}, but {said_of(file)}")
    part, notes = the_one([part for parts in generators.values() for part in parts], f"{name}: generator (netG*.pth)")
    every = [judge for parts in judges.values() for judge in parts]
    config, setting = measured(part.state, part)
    if every:
        first_widths = {int(judge.state[JUDGE[0]].shape[0]) for judge in every}
        config = config.model_copy(update={"discriminator_channels": max(first_widths)})
    with torch.device("meta"):  # names and shapes are all that is compared
        built = system(config, setting)
    networks = {"generator": renamed(part.state, rules)}
    check_fit(built.generator.state_dict(), networks["generator"], str(part))
    if every:
        networks["discriminator"] = all_judges(every, built)
    else:
        notes.append("no discriminator was given; drawing and scoring need none")
    model = config.model_dump(mode="json", exclude={"adversarial", "kl_weight", "padded_words"})
    return Imported(model, networks, setting.image_size, setting.word_dim, notes)


def measured(state: State, part: Part) -> tuple[StagedConfig, Setting]:
    """Sizes that a generator's tensors tell."""
    last = "img_net.img.0.weight" if "img_net.img.0.weight" in state else "img_net1.img.0.weight"
    try:
        condition_dim = state["ca_net.fc.weight"].shape[0] // 4
        config = StagedConfig(
            generator_channels=state[last].shape[1],
            residual_blocks=len({name.split(".")[2] for name in state if name.startswith("h_net2.residual.")}),
            stages=sum(any(name.startswith(f"h_net{number}.") for name in state) for number in (1, 2, 3)),
            noise_dim=state["h_net1.fc.0.weight"].shape[1] - condition_dim,
            condition_dim=condition_dim,
        )
        word_dim = int(state["ca_net.fc.weight"].shape[1])
    except KeyError as lacking:
        raise DataError(f"{part}: is no generator in stages: it lacks {lacking}") from None
    except (IndexError, ValidationError):  # a tensor of too few dimensions, or sizes that no network can have
        raise DataError(f"{part}: is no generator in stages: its tensors have no sizes that fit together") from None
    doublings = len({name.split(".")[1] for name in state if name.startswith("h_net1.upsample")})
    return config, Setting(4 << doublings + config.stages - 1, word_dim)


def all_judges(judges: Sequence[Part], built: StagedSystem) -> State:
    """The discriminators of all sizes as one state; their size is told by how often they halve."""
    joined: State = {}
    owners: dict[int, Part] = {}
    for judge in judges:
        halvings = 4 + ("img_code_s32.0.weight" in judge.state) + ("img_code_s64.0.weight" in judge.state)
        size = 4 << halvings
        if size not in built.sizes:
            raise DataError(f"{judge}: judges images of {size} px, and the generator draws {built.sizes}")
        number = built.sizes.index(size)
        if number in owners:
            raise DataError(f"{judge}: judges images of {size} px, and so does {owners[number]}")
        owners[number] = judge
        ours = renamed(judge.state, DISCRIMINATOR_NAMES)
        check_fit(built.discriminator[number].state_dict(), ours, str(judge))
        joined |= {f"{number}.{name}": value for name, value in ours.items()}
    if len(judges) != len(built.sizes):
        raise DataError(f"discriminators: {len(built.sizes)} are needed (netD0, netD1, ...); given: {len(judges)}")
    return joined
