"""Whose weights t2i can use: names, files, addresses and hashes. ``weights`` finds them."""

from dataclasses import dataclass

TORCHVISION = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class Published:
    """One file as its authors publish it; ``sha256`` is the whole hash, or the leading digits that are known."""

    file: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Model:
    """A model of the Hugging Face hub: a folder with config.json, weights, and what tokenizer and processor want."""

    repository: str
    revision: str | None = None  # a branch, where the main one is of no use
    sha256: frozenset[str] = frozenset()  # of its weights in either format, as far as they are known here


@dataclass(frozen=True)
class Known:
    """Weights that t2i can use, under the name users give them; any of the files will do, the first is downloaded.

    Where ``model`` is set they are a folder; where neither is, nobody publishes them and users make their own.
    """

    name: str
    what: str
    files: tuple[Published, ...] = ()
    model: Model | None = None


INCEPTION_TF = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

KNOWN = (
    Known(
        "inception-tf",
        "Inception v3 of TensorFlow's 2015-12-05 graph, as torch-fidelity and pytorch-fid converted it: FID and IS",
        (
            Published(
                "weights-inception-2015-12-05-6726825d.pth",
                "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                "weights-inception-2015-12-05-6726825d.pth",
                INCEPTION_TF,
            ),
            Published(
                "pt_inception-2015-12-05-6726825d.pth",
                "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
                "pt_inception-2015-12-05-6726825d.pth",
                INCEPTION_TF,
            ),
        ),
    ),
    Known(
        "inception-torchvision",
        "torchvision's Inception v3, ImageNet",
        (
            Published(
                "inception_v3_google-0cc3c7bd.pth", f"{TORCHVISION}/inception_v3_google-0cc3c7bd.pth", "0cc3c7bd"
            ),
            # The file of torchvision 1.0's time, which the AttnGAN family used.
            Published(
                "inception_v3_google-1a9a5a14.pth", f"{TORCHVISION}/inception_v3_google-1a9a5a14.pth", "1a9a5a14"
            ),
        ),
    ),
    Known(
        # IMAGENET1K_V1, not V2: the contrastive loss of XMC-GAN compares logits of a ResNet-50 trained in the plain
        # way; V2's label smoothing, mixup and averaging flatten logits, so its similarities mean something else.
        "resnet50",
        "torchvision's ResNet-50, ImageNet (IMAGENET1K_V1)",
        (
            Published(
                "resnet50-0676ba61.pth",
                f"{TORCHVISION}/resnet50-0676ba61.pth",
                "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
            ),
        ),
    ),
    Known(
        # IMAGENET1K_V1: MirrorGAN's captioner is older than V2.
        "resnet152",
        "torchvision's ResNet-152, ImageNet (IMAGENET1K_V1)",
        (Published("resnet152-394f9c45.pth", f"{TORCHVISION}/resnet152-394f9c45.pth", "394f9c45"),),
    ),
    Known(
        "vgg19",
        "torchvision's VGG-19 without batch normalisation, ImageNet",
        (Published("vgg19-dcbb9e9d.pth", f"{TORCHVISION}/vgg19-dcbb9e9d.pth", "dcbb9e9d"),),
    ),
    Known(
        "vgg16",
        "torchvision's VGG-16, ImageNet: precision and recall",
        (Published("vgg16-397923af.pth", f"{TORCHVISION}/vgg16-397923af.pth", "397923af"),),
    ),
    Known("inception-keras", "Inception v3 of Keras, ImageNet, converted by tools/convert_keras_inception.py"),
    Known("inception-birds", "StackGAN's Inception v3 of 50 kinds of birds, converted: the Inception Score on CUB"),
    Known(
        "yolov3",
        "YOLOv3 as its authors trained it: SOA as published",
        (
            Published(
                "yolov3.weights",
                "https://pjreddie.com/media/files/yolov3.weights",
                "523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
            ),
        ),
    ),
    Known("darknet", "any detector of COCO's 80 kinds in Darknet's format, its .cfg beside it: SOA"),
    Known("rtdetr-v2-r50", "RT-DETRv2 with ResNet-50: SOA", model=Model("PekingU/rtdetr_v2_r50vd")),
    Known("detr-r50", "DETR with ResNet-50: SOA", model=Model("facebook/detr-resnet-50", revision="no_timm")),
    Known("yolos-tiny", "YOLOS, its smallest: SOA", model=Model("hustvl/yolos-tiny")),
    Known(
        "clip-vit-b-32",
        "CLIP ViT-B/32 of OpenAI: R-precision and FID-CLIP",
        model=Model(
            "openai/clip-vit-base-patch32",
            sha256=frozenset({"a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f"}),
        ),
    ),
    Known(
        "clip-vit-l-14-336",
        "CLIP ViT-L/14 at 336 pixels of OpenAI: CMMD",
        model=Model("openai/clip-vit-large-patch14-336"),
    ),
    Known("damsm", "a DAMSM that you trained (t2i pretrain-encoders) or imported (t2i import): rp-damsm"),
    Known("vlm", "a VLM that you trained (t2i pretrain-encoders): rp-vlm and VLMS"),
)
