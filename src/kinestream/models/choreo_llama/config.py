"""Configuration of the music-to-dance model."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from kinestream.nn.config import ModelConfig

BRIDGES = ("linear", "attention", "cadence", "released")
ARRANGEMENTS = ("aligned", "prefix")
DANCE_INPUTS = ("embeddings", "indices")

_SIZES = (
    "num_codebooks", "num_codes", "code_dim", "music_dim", "genre_dim", "num_genres", "reference_dim", "num_references",
    "num_bands", "bridge_heads", "hidden_dim", "num_layers", "num_heads", "num_kv_heads", "head_dim", "mlp_dim",
    "window_steps", "window_music_frames", "music_frames_per_position", "window_reference_frames",
    "reference_frames_per_position",
)  # fmt: skip


@dataclass(frozen=True)
class ChoreoLlamaConfig(ModelConfig):
    """Sizes of ChoreoLLaMA and of its bridges (InfiniteDance, sections 4.2 and 5.1)."""

    num_codebooks: int = 3
    """Codes per token step (K)."""
    num_codes: int = 512
    """Codes per codebook."""
    code_dim: int = 1024
    """Values per code vector (C_q)."""
    music_dim: int = 1024
    """Values per frame of music features (C_m; MuQ: 1024)."""
    genre_dim: int = 256
    """Values per genre embedding (C_g)."""
    num_genres: int = 6
    """Genres that the model knows; -1 stands for an unknown one."""
    reference_dim: int = 259
    """Values per frame of a reference dance (C_x)."""
    num_references: int = 10
    """References per window at most (k)."""
    bridge: str = "cadence"
    """What makes conditions: "linear" (music and genre only), "attention" (references through attention), "cadence"
    (the paper's Cadence-MoE) or "released" (the release's variant)."""
    num_bands: int = 2
    """Bands of the spectrum, one expert each (b)."""
    bridge_heads: int = 8
    """Attention heads of an expert."""
    arrangement: str = "prefix"
    """Where conditions stand: "prefix", before all dance tokens of the window (paper, release), or "aligned", added to
    the tokens of their own time."""
    dance_input: str = "embeddings"
    """Codes go in as projected code vectors ("embeddings") or as learnt rows per index ("indices", an ablation)."""
    dance_hidden_dim: int = 0
    """Width of a hidden layer in the projection of code vectors; 0 for a single linear layer."""
    hidden_dim: int = 2048
    """Width of the LLaMA (C_L)."""
    num_layers: int = 16
    """Layers of the LLaMA."""
    num_heads: int = 32
    """Attention heads."""
    num_kv_heads: int = 8
    """Heads of keys and values."""
    head_dim: int = 64
    """Values per attention head."""
    mlp_dim: int = 8192
    """Inner width of the MLP."""
    rope_factor: float = 32.0
    """Stretching of slow rotary frequencies (Llama 3.2: 32); 1 for plain rotary positions."""
    dropout: float = 0.0
    """Dropout of the inputs and of the attention, in training."""
    window_steps: int = 96
    """Token steps of a window."""
    window_music_frames: int = 320
    """Frames of music features that such a window lasts."""
    music_frames_per_position: int = 1
    """Neighbouring frames of music features that are put together into one position."""
    window_reference_frames: int = 384
    """Motion frames that such a window lasts."""
    reference_frames_per_position: int = 1
    """Neighbouring reference frames that are put together into one position; where that doesn't give as many positions
    as the music has, references are interpolated to the music's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _SIZES:
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}.")
        for name, choices in (("bridge", BRIDGES), ("arrangement", ARRANGEMENTS), ("dance_input", DANCE_INPUTS)):
            self.require(
                getattr(self, name) in choices,
                f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}.",
            )
        self.require(self.dance_hidden_dim >= 0, f"dance_hidden_dim must not be negative, got {self.dance_hidden_dim}.")
        self.require(
            self.num_heads % self.num_kv_heads == 0,
            f"num_heads {self.num_heads} must be a multiple of num_kv_heads {self.num_kv_heads}.",
        )
        self.require(self.head_dim % 2 == 0, f"head_dim must be even, got {self.head_dim}.")
        self.require(
            self.hidden_dim % self.bridge_heads == 0,
            f"hidden_dim {self.hidden_dim} must be a multiple of bridge_heads {self.bridge_heads}.",
        )
        self.require(self.rope_factor >= 1, f"rope_factor must be at least 1, got {self.rope_factor}.")
        self.require(0.0 <= self.dropout < 1.0, f"dropout must be in [0, 1), got {self.dropout}.")
        self._check_windows()

    def _check_windows(self) -> None:
        self.require(
            self.window_music_frames % self.music_frames_per_position == 0,
            f"window_music_frames {self.window_music_frames} must be a multiple of music_frames_per_position.",
        )
        positions = self.window_music_frames // self.music_frames_per_position
        if self.arrangement == "aligned":
            self.require(
                positions == self.window_steps,
                f"aligned conditions need one position per step: {positions} positions, {self.window_steps} steps.",
            )
            self.require(
                self.bridge != "released", "the released bridge makes conditions for a prefix, not aligned ones."
            )
        self.require(
            self.window_reference_frames % self.reference_frames_per_position == 0,
            f"window_reference_frames {self.window_reference_frames} is no multiple of reference_frames_per_position.",
        )

    @property
    def music_frames_per_step(self) -> Fraction:
        """Frames of music features that one token step lasts."""
        return Fraction(self.window_music_frames, self.window_steps)

    @property
    def reference_frames_per_step(self) -> Fraction:
        """Motion frames that one token step lasts."""
        return Fraction(self.window_reference_frames, self.window_steps)

    @property
    def uses_references(self) -> bool:
        """Whether references change anything."""
        return self.bridge != "linear"

    @property
    def capacity(self) -> int:
        """Positions that a whole window needs."""
        tokens = self.window_steps * self.num_codebooks
        return (
            tokens
            if self.arrangement == "aligned"
            else tokens + self.window_music_frames // self.music_frames_per_position
        )

    @classmethod
    def paper(cls) -> ChoreoLlamaConfig:
        """The published size: Llama-3.2-1B, MuQ features at 25 Hz, windows of 12.8 s, 10 references of HumanML259."""
        return cls()

    @classmethod
    def default(
        cls, music_dim: int, num_genres: int, code_dim: int = 256, reference_dim: int = 272
    ) -> ChoreoLlamaConfig:
        """The size of the packaged model: music at 30 Hz, windows of 8 s, conditions aligned with the tokens."""
        return cls(
            code_dim=code_dim,
            music_dim=music_dim,
            genre_dim=32,
            num_genres=num_genres,
            reference_dim=reference_dim,
            arrangement="aligned",
            bridge_heads=4,
            hidden_dim=256,
            num_layers=6,
            num_heads=4,
            num_kv_heads=4,
            mlp_dim=704,
            rope_factor=1.0,
            dropout=0.1,
            window_steps=60,
            window_music_frames=240,
            music_frames_per_position=4,
            window_reference_frames=240,
            reference_frames_per_position=4,
        )
