"""A small network that names content and style of a clip; it judges generated clips as it judges real ones."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.quality.takes import Take
from kinestream.features import MOTION272
from kinestream.io.atomic import atomic_path

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes and training of the classifier; `version` is raised whenever the code would train another one.

    `width` of the hidden layers, `epochs` at most with `draws` clips each, `patience` epochs without a better
    validation loss end the training; `crop` is the smallest share of a clip that is shown; `noise` is in deviations.
    """

    version: int = 1
    width: int = 128
    epochs: int = 12
    draws: int = 2400
    batch_size: int = 48
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    dropout: float = 0.2
    smoothing: float = 0.05
    noise: float = 0.1
    crop: float = 0.8
    max_frames: int = 300
    patience: int = 4
    seed: int = 0


class Names(NamedTuple):
    """What a clip shows: index of its content and of its style; -1 for a label that the classifier does not know."""

    content: int
    style: int


class _Block(nn.Module):
    """x + conv(gelu(norm(x))) over time, masked outside the clip."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, W], mask [B, T, 1]."""
        hidden = functional.gelu(self.norm(x)) * mask
        out: Tensor = x + self.conv(hidden.transpose(1, 2)).transpose(1, 2)
        return out * mask


class ClassifierNet(nn.Module):
    """Two strided convolutions (to 7.5 Hz), four residual ones, mean, maximum and deviation over time, two heads."""

    def __init__(self, config: ClassifierConfig, contents: int, styles: int) -> None:
        super().__init__()
        width = config.width
        self.reduce = nn.Linear(MOTION272.width, width // 2)
        self.halve = nn.Conv1d(width // 2, width, 5, stride=2, padding=2)
        self.quarter = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in (1, 2, 4, 8))
        self.trunk = nn.Sequential(
            nn.LayerNorm(3 * width),
            nn.Dropout(config.dropout),
            nn.Linear(3 * width, 2 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.content = nn.Linear(2 * width, contents)
        self.style = nn.Linear(2 * width, styles)

    def forward(self, x: Float[Tensor, "b t 272"], lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of content [B, C] and style [B, S] of padded, normalised features."""
        hidden = self.reduce(x) * _mask(lengths, x.shape[1])
        hidden = functional.gelu(self.halve(hidden.transpose(1, 2)))
        lengths = (lengths + 1) // 2
        hidden = hidden * _mask(lengths, hidden.shape[2]).transpose(1, 2)
        hidden = self.quarter(hidden).transpose(1, 2)
        lengths = (lengths + 1) // 2
        mask = _mask(lengths, hidden.shape[1])
        hidden = hidden * mask
        for block in self.blocks:
            hidden = block(hidden, mask)
        count = lengths[:, None].to(hidden)
        mean = hidden.sum(1) / count
        spread = (((hidden - mean[:, None]) * mask).square().sum(1) / count + 1e-6).sqrt()
        most = hidden.masked_fill(mask == 0, -1e4).amax(1)
        pooled = self.trunk(torch.cat((mean, spread, most), dim=1))
        return self.content(pooled), self.style(pooled)


def _mask(lengths: Tensor, frames: int) -> Float[Tensor, "b t 1"]:
    return (torch.arange(frames) < lengths[:, None]).float()[..., None]


class Classifier:
    """A trained network with the names of its labels and the normalisation of its inputs."""

    def __init__(
        self,
        net: ClassifierNet,
        config: ClassifierConfig,
        contents: Sequence[str],
        styles: Sequence[str],
        mean: Tensor,
        std: Tensor,
    ) -> None:
        self.net, self.config = net, config
        self.contents, self.styles = tuple(contents), tuple(styles)
        self.mean, self.std = mean, std

    def labels(self, take: Take) -> Names:
        """The indices of a take's true labels."""
        return Names(_index(self.contents, take.content), _index(self.styles, take.style))

    @torch.inference_mode()
    def logits(self, takes: Sequence[Take], batch_size: int = 64) -> tuple[Tensor, Tensor]:
        """Logits of content [N, C] and style [N, S], in the takes' order."""
        self.net.eval()
        order = sorted(range(len(takes)), key=lambda k: takes[k].num_frames)
        contents = torch.zeros(len(takes), len(self.contents))
        styles = torch.zeros(len(takes), len(self.styles))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            content, style = self.net(*self._batch([takes[row].features[: self.config.max_frames] for row in rows]))
            contents[rows], styles[rows] = content, style
        return contents, styles

    def hits(self, takes: Sequence[Take]) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
        """Whether content and style of each take are named rightly."""
        contents, styles = self.logits(takes)
        truth = torch.tensor([self.labels(take) for take in takes]).reshape(-1, 2)
        return contents.argmax(1) == truth[:, 0], styles.argmax(1) == truth[:, 1]

    def guesses(self, takes: Sequence[Take]) -> tuple[list[str], list[str]]:
        """The named content and style of each take."""
        contents, styles = self.logits(takes)
        return [self.contents[k] for k in contents.argmax(1)], [self.styles[k] for k in styles.argmax(1)]

    def _batch(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(clip) for clip in clips])
        padded = nn.utils.rnn.pad_sequence([(clip - self.mean) / self.std for clip in clips], batch_first=True)
        return padded, lengths


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else -1


class _Training:
    """The training of one classifier; every draw depends on the configuration's seed alone."""

    def __init__(self, train: Sequence[Take], val: Sequence[Take], config: ClassifierConfig) -> None:
        contents, styles = sorted({take.content for take in train}), sorted({take.style for take in train})
        torch.manual_seed(config.seed)
        net = ClassifierNet(config, len(contents), len(styles))
        mean, std = _statistics(train)
        self.classifier = Classifier(net, config, contents, styles, mean, std)
        self.train, self.val, self.config = train, val, config
        self.truth = torch.tensor([self.classifier.labels(take) for take in train])
        self.weights = _draw_weights(train)
        self.rng = random.Random(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimizer = torch.optim.AdamW(net.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        steps = config.epochs * -(-config.draws // config.batch_size)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.learning_rate, total_steps=steps, pct_start=0.15
        )

    def run(self, progress: Progress | None) -> Classifier:
        """Train until the epochs or the patience are over; the weights with the best validation loss stay."""
        net, config = self.classifier.net, self.config
        best, best_epoch, weights = float("inf"), 0, net.state_dict()
        for epoch in range(config.epochs):
            self._epoch()
            loss = self._validation_loss()
            if loss < best:
                best, best_epoch = loss, epoch
                weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            if progress is not None:
                progress(epoch + 1, config.epochs)
            if epoch - best_epoch >= config.patience:
                break
        net.load_state_dict(weights)
        net.eval()
        return self.classifier

    def _epoch(self) -> None:
        config, net = self.config, self.classifier.net
        net.train()
        rows = self.rng.choices(range(len(self.train)), self.weights, k=config.draws)
        # Clips of like length share a batch, so that little is padded; neighbours are shuffled all the same.
        rows.sort(key=lambda row: self.train[row].num_frames + self.rng.uniform(-12, 12))
        batches = [rows[k : k + config.batch_size] for k in range(0, len(rows), config.batch_size)]
        self.rng.shuffle(batches)
        for batch in batches:
            x, lengths = self.classifier._batch([self._shown(self.train[row].features) for row in batch])
            x = x + config.noise * torch.randn(x.shape, generator=self.generator)
            content, style = net(x, lengths)
            truth = self.truth[batch]
            loss = functional.cross_entropy(content, truth[:, 0], label_smoothing=config.smoothing)
            loss = loss + functional.cross_entropy(style, truth[:, 1], label_smoothing=config.smoothing)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()

    def _shown(self, clip: Tensor) -> Tensor:
        clip = clip[: self.config.max_frames]
        frames = max(8, round(len(clip) * self.rng.uniform(self.config.crop, 1.0)))
        start = self.rng.randint(0, max(0, len(clip) - frames))
        return clip[start : start + frames]

    def _validation_loss(self) -> float:
        contents, styles = self.classifier.logits(self.val)
        truth = torch.tensor([self.classifier.labels(take) for take in self.val])
        loss = functional.cross_entropy(contents, truth[:, 0]) + functional.cross_entropy(styles, truth[:, 1])
        return float(loss)


def _statistics(takes: Sequence[Take]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every column over the takes; columns that hardly move are not blown up."""
    frames = sum(take.num_frames for take in takes)
    mean = (
        sum((take.features.double().sum(0) for take in takes), torch.zeros(MOTION272.width, dtype=torch.float64))
        / frames
    )
    square = sum(((take.features.double() - mean).square().sum(0) for take in takes), torch.zeros_like(mean)) / frames
    std = square.sqrt()
    for part in MOTION272.slices.values():
        std[part] = std[part].clamp_min(max(0.3 * float(std[part].mean()), 1e-4))
    return mean.float(), std.float()


def _draw_weights(takes: Sequence[Take]) -> list[float]:
    """Rare contents and rare styles are drawn more often than their number says, by how rare they are."""
    contents, styles = Counter(take.content for take in takes), Counter(take.style for take in takes)
    return [max(contents[take.content] ** -0.7, styles[take.style] ** -0.7) for take in takes]


def takes_digest(takes: Sequence[Take]) -> str:
    """A hash of everything that training sees of the takes: names, labels and all features."""
    digest = hashlib.sha256()
    for take in takes:
        digest.update(f"{take.name} {take.content} {take.style} {take.num_frames} ".encode())
        digest.update(take.features.numpy().tobytes())
    return digest.hexdigest()


def cached_classifier(
    train: Sequence[Take], val: Sequence[Take], config: ClassifierConfig, cache: Path, progress: Progress | None = None
) -> Classifier:
    """The classifier of exactly these takes and this configuration: from `cache`, else trained now and kept there."""
    key = hashlib.sha256(
        f"{takes_digest(train)} {takes_digest(val)} {json.dumps(asdict(config))}".encode()
    ).hexdigest()[:24]
    path = cache / f"classifier-{key}.safetensors"
    found = _load(path, config)
    if found is None:
        found = train_classifier(train, val, config, progress)
        cache.mkdir(parents=True, exist_ok=True)
        _save(path, found)
    return found


def _save(path: Path, classifier: Classifier) -> None:
    tensors = {f"net.{name}": tensor.contiguous() for name, tensor in classifier.net.state_dict().items()}
    tensors |= {"mean": classifier.mean, "std": classifier.std}
    names = {"contents": json.dumps(classifier.contents), "styles": json.dumps(classifier.styles)}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=names)


def _load(path: Path, config: ClassifierConfig) -> Classifier | None:
    """The classifier in `path`; None where there is none or it cannot be read, so that it is trained again."""
    try:
        with safe_open(str(path), framework="pt") as file:
            names: dict[str, Any] = {key: json.loads(value) for key, value in file.metadata().items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        net = ClassifierNet(config, len(names["contents"]), len(names["styles"]))
        net.load_state_dict({name[4:]: tensor for name, tensor in tensors.items() if name.startswith("net.")})
        return Classifier(net.eval(), config, names["contents"], names["styles"], tensors["mean"], tensors["std"])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
        return None


def train_classifier(
    train: Sequence[Take], val: Sequence[Take], config: ClassifierConfig, progress: Progress | None = None
) -> Classifier:
    """Train on real clips (mirrored copies with their own labels included), stop on `val`."""
    return _Training(train, val, config).run(progress)
