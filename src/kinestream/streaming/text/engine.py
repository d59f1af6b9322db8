"""One step of the model for any number of streams: the same code for one listener and for a batch of them."""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.conditioning.text import TextEncoder, text_encoder
from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import MOTION272, RootState
from kinestream.inference import (
    CompiledNetworks,
    DeviceNetworks,
    ModuleNetworks,
    Networks,
    on_host,
    without_compiled_weights,
)
from kinestream.inference.graph import has_int8_rows
from kinestream.inference.networks import DecoderState, Mode
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.motion import Motion
from kinestream.nn.streaming import join_rows, take_rows
from kinestream.streaming.footlock import FootLockState
from kinestream.streaming.frames import damp_root, stream_chunks
from kinestream.streaming.text.context import Context, Request, advance
from kinestream.streaming.text.control import Control, after_end, fit_context, settle
from kinestream.streaming.text.hold import LOOK_BACK_LATENTS, SETTLE_LATENTS, root_keep, settling_latents
from kinestream.streaming.text.options import SessionOptions
from kinestream.streaming.text.session import Session
from kinestream.streaming.text.timeline import Record, StepResult, keeps_snapshot

# A prompt that has just begun is not over: a sample near the end latent is drawn again, at most so often, and then the
# pose is held for this latent.
MAX_REDRAWS = 8
# A candidate far outside of what the model has seen (guidance throws it there, mostly at a switch never recorded) is
# drawn again so often, each time with half the guidance above 1; the last one stands, since some actions are far out.
MAX_CALMER_DRAWS = 3
# Embeddings of the newest prompts are kept: a prompt that comes again is not encoded again.
MAX_EMBEDDINGS = 256


class Engine:
    """The model, shared by all sessions. It keeps no stream's state, so sessions come and go without touching it.

    `engine.model` has no weights any more but the encoder's, unless its mode is "exact" on the CPU.

    Args:
        model: a text-to-motion model; its `ar.empty_text` is filled in where an imported model lacks it.
        encoder: the sentence encoder; None loads the one that the model names.
        mode: "exact" runs the networks in float32 with all sampling steps; "fast" runs few steps: on the CPU with int8
            weights, on a GPU in bfloat16.
        networks: run these, with what they were made of as `model`; None makes those that mode and device ask for.

    Raises:
        BadInputError: the model and the encoder don't fit together, the features are not motion272, there is no such
            mode, or the model is what another engine has left of it.
        MissingExtraError: fast mode without the extra `fast`, on a processor without AVX-512 VNNI.
    """

    def __init__(
        self,
        model: TextToMotionModel,
        encoder: TextEncoder | None = None,
        *,
        mode: Mode = "exact",
        networks: Networks | None = None,
    ) -> None:
        if model.tae.config.feature_dim != MOTION272.width:
            raise BadInputError(
                f"Streaming needs a model of {MOTION272.name} features ({MOTION272.width} numbers a frame); "
                f"this one has {model.tae.config.feature_dim}."
            )
        if next(model.ar.parameters(), None) is None:
            raise BadInputError("This is the model of another engine, which has let go of its weights; load it again.")
        if mode not in ("exact", "fast"):
            raise BadInputError(f'An engine\'s mode is "exact" or "fast"; got {mode!r}.')
        self.model = model
        model.tae.eval()
        model.ar.eval()
        # What takes time to set up is set up here, so that the first prompt is answered as fast as the others.
        self.encoder = text_encoder(model.text_encoder) if encoder is None else encoder
        self.initial_decoder_state = model.tae.decoder.init_state(1, device="cpu")
        if not model.empty_text_known:
            # A released checkpoint does not hold the embedding of the empty text, which guidance needs.
            model.ar.empty_text.copy_(self._checked(self.encoder.encode_blank()))
        self.networks = _networks(model, mode) if networks is None else networks
        if not isinstance(self.networks, ModuleNetworks):
            # They have their own weights; the others are kept only as long as somebody else does.
            _ = self.fingerprint
            device = isinstance(self.networks, DeviceNetworks)
            self.model = on_host(model) if device else without_compiled_weights(model, self.networks.mode)
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()
        self._embeddings_lock = threading.Lock()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the machine lacks for this mode and what is done instead; for people, to be said once."""
        return self.networks.notes

    @property
    def frames_per_latent(self) -> int:
        """Frames that one step gives."""
        return int(self.model.tae.config.frames_per_latent)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the weights: a saved session goes on only with the model that made it."""
        digest = hashlib.sha256()
        for part in (self.model.tae, self.model.ar):
            for name, tensor in sorted(part.state_dict().items()):
                if name == "empty_text":  # may be filled in after loading
                    continue
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def encode(self, text: str) -> Float[Tensor, " d"]:
        """The embedding of one prompt; BadInputError for an empty or over-long one, or an encoder of another width."""
        with self._embeddings_lock:
            known = self._embeddings.get(text)
            if known is not None:
                self._embeddings.move_to_end(text)
                return known
        embedding = self._checked(self.encoder.encode([text])[0])
        with self._embeddings_lock:
            self._embeddings[text] = embedding
            if len(self._embeddings) > MAX_EMBEDDINGS:
                self._embeddings.popitem(last=False)
        return embedding

    def _checked(self, embedding: Tensor) -> Tensor:
        expected = self.model.ar.config.text_dim
        if embedding.shape != (expected,):
            raise BadInputError(
                f"The text encoder gives {embedding.shape[0]} numbers, but the model was trained with {expected}. "
                f"Use the encoder that the model names: {self.model.text_encoder}."
            )
        return embedding

    def session(self, seed: int = 0, options: SessionOptions | None = None) -> Session:
        """A new stream."""
        return Session(self, seed=seed, options=options)

    def step(self, sessions: Sequence[Session]) -> list[StepResult | None]:
        """One latent for each of these sessions, computed together; the others are not touched.

        Gives None for a session whose stream has ended. A session's frames don't depend on its neighbours (beyond the
        rounding of a batched matrix product). If anything fails, no session has moved.

        Raises:
            BadInputError: a session is listed twice or belongs to another engine.
            KinestreamError: the model gave numbers that are not finite.
        """
        if len({id(session) for session in sessions}) != len(sessions):
            raise BadInputError("A session can make only one step at a time; it is listed twice.")
        if any(session.engine is not self for session in sessions):
            raise BadInputError("A session steps on the engine that made it; got one of another engine.")
        with contextlib.ExitStack() as locks:
            for session in sorted(sessions, key=id):
                locks.enter_context(session.lock)
            turns = [_Turn(session) for session in sessions]
            with torch.inference_mode():
                self._choose_latents(turns)
                self._decode([turn for turn in turns if turn.latent is not None])
            with torch.no_grad():
                self._pose([turn for turn in turns if turn.features is not None])
                records = [turn.record() for turn in turns]
            return [
                turn.session.commit(turn.control, record, turn.decoder, turn.context, turn.settling)
                for turn, record in zip(turns, records, strict=True)
            ]

    def replay_decoder(self, state: DecoderState | None, latents: Float[Tensor, "l c"]) -> DecoderState:
        """The decoder's state after these latents, one by one as they were first decoded; None starts afresh."""
        state = self.initial_decoder_state if state is None else state
        with torch.inference_mode():
            for latent in latents:
                _, state = self.networks.decode(latent[None, None], state)
        return state

    def _choose_latents(self, turns: Sequence[_Turn]) -> None:
        waiting = []
        for turn in turns:
            if turn.control.finished:
                continue
            if turn.control.prompt.kind == "hold":
                self._hold(turn)
            else:
                waiting.append(turn)
        while waiting:
            self._draw(waiting)
            waiting = [turn for turn in waiting if not self._accepts(turn)]

    def _draw(self, turns: Sequence[_Turn]) -> None:
        """Draw a candidate latent for each turn; turns of equal settings share one run of the diffusion head."""
        model = self.model.ar
        for turn in turns:
            turn.control = fit_context(turn.control, turn.index, turn.session.limits)
        for turn, context in zip(turns, advance(self.networks, model, [turn.request() for turn in turns]), strict=True):
            turn.context = context
        groups: dict[tuple[bool, int], list[_Turn]] = {}
        for turn in turns:
            options = turn.session.options
            steps = self.networks.sampling_steps if options.sampling_steps is None else options.sampling_steps
            groups.setdefault((turn.session.guidance != 1.0, steps), []).append(turn)
        for (guided, steps), members in groups.items():
            drawn = self._drawn(members, guided, steps).to(model.latent_mean)
            latents = model.denormalize_latents(drawn).float()
            from_end = (latents - self.model.end_latent.to(latents)).double().square().sum(dim=-1).sqrt()
            facts = torch.stack((from_end, drawn.abs().amax(dim=-1).double()), dim=-1).tolist()
            for turn, latent, (distance, far) in zip(members, latents, facts, strict=True):
                turn.candidate, turn.from_end, turn.deviation = latent, distance, far

    def _drawn(self, turns: Sequence[_Turn], guided: bool, steps: int) -> Float[Tensor, "b c"]:
        """Normalised candidates; networks on a device decode them, too, before anybody knows whether they are taken."""
        contexts = [turn.context for turn in turns if turn.context is not None]
        noise = torch.stack([turn.noise(steps, self.model.ar.config.latent_dim) for turn in turns], dim=1)
        scale = noise.new_tensor([turn.guidance for turn in turns])
        if isinstance(self.networks, DeviceNetworks):
            drawn, frames, decoders = self.networks.draw(
                [context.state for context in contexts],
                scale if guided else None,
                noise,
                [turn.session.decoder for turn in turns],
            )
            for turn, decoded in zip(turns, zip(frames, decoders, strict=True), strict=True):
                turn.ahead = decoded
            return drawn
        return self.networks.sample(
            torch.stack([context.condition[0] for context in contexts]),
            torch.stack([context.condition[1] for context in contexts]) if guided else None,
            scale,
            SamplingNoise(noise[0], noise[1:]),
            steps,
        )

    def _accepts(self, turn: _Turn) -> bool:
        """Whether the turn is settled: its candidate is a latent to decode, or nothing is left to act."""
        candidate, session = turn.candidate, turn.session
        assert candidate is not None, "a candidate was drawn"
        if not math.isfinite(turn.from_end):
            raise KinestreamError(
                "The model gave a latent that is not finite. The weights are damaged, or the guidance is far too high."
            )
        threshold = session.options.stop_threshold
        threshold = self.model.stop_threshold if threshold is None else threshold
        usual = self.model.usual_latents
        ends = turn.from_end < threshold
        if usual is not None and not ends and turn.deviation > usual and turn.calmer_draws < MAX_CALMER_DRAWS:
            turn.attempt += 1
            turn.calmer_draws += 1
            turn.guidance = 1.0 + 0.5 * (turn.guidance - 1.0)
            return False
        if not ends:
            turn.latent = candidate
            return True
        turn.attempt += 1
        if turn.index - turn.control.restarted < session.limits.min_latents:
            turn.redraws += 1
            if turn.redraws > MAX_REDRAWS:
                turn.latent = self._settling(turn, turn.index)[0]
            return turn.latent is not None
        before = turn.control.prompt
        turn.control = after_end(turn.control, turn.index, session.limits, session.idle)
        turn.ended = turn.ended or (before.kind == "text" and turn.control.prompt is not before)
        if turn.control.prompt.kind == "hold" and not turn.control.finished:
            self._hold(turn)
        return turn.control.finished or turn.latent is not None

    def _hold(self, turn: _Turn) -> None:
        since = turn.index - turn.control.began
        if since >= SETTLE_LATENTS:
            turn.latent = turn.session.timeline[turn.index - 1].result.latent
        else:
            turn.latent = self._settling(turn, turn.control.began)[since]
        turn.keep = root_keep(since, self.frames_per_latent)

    def _settling(self, turn: _Turn, start: int) -> Tensor:
        """The latents of coming to rest at `start`; they follow from the features before it and are never saved."""
        known = turn.settling
        if known is None or known[0] != start:
            timeline = turn.session.timeline
            first = max(timeline.first, start - LOOK_BACK_LATENTS)
            recent = timeline.features(first, start) if start > first else torch.zeros(0, MOTION272.width)
            settling = settling_latents(self.model.tae, self.model.statistics, recent)
            known = (start, settling.to(self.model.ar.latent_mean.device))
            turn.settling = known
        return known[1]

    def _decode(self, turns: Sequence[_Turn]) -> None:
        if not turns:
            return
        ahead = [turn.ahead if turn.latent is turn.candidate else None for turn in turns]
        rest = [turn for turn, decoded in zip(turns, ahead, strict=True) if decoded is None]
        others = iter(self._decoded(rest) if rest else [])
        frames, decoders = zip(*[next(others) if decoded is None else decoded for decoded in ahead], strict=True)
        features = self.model.statistics.denormalize(torch.stack(frames).float())
        if not bool(torch.isfinite(features).all()):
            raise KinestreamError("The decoder gave frames that are not finite. The weights are damaged.")
        for row, turn in enumerate(turns):
            turn.features, turn.decoder = features[row], decoders[row]

    def _decoded(self, turns: Sequence[_Turn]) -> list[tuple[Float[Tensor, "t d"], DecoderState]]:
        """The frames of each turn's latent, and the decoder's state after them."""
        states = [self.initial_decoder_state if turn.decoder is None else turn.decoder for turn in turns]
        latents = torch.stack([turn.latent for turn in turns if turn.latent is not None])[:, None]
        if isinstance(self.networks, DeviceNetworks):
            return list(zip(*self.networks.decode_each(latents, states), strict=True))
        if len(turns) == 1:
            frames, state = self.networks.decode(latents, states[0])
            return [(frames[0], state)]
        frames, state = self.networks.decode(latents, join_rows(states))
        return [(frames[row], take_rows(state, [row])) for row in range(len(turns))]

    def _pose(self, turns: Sequence[_Turn]) -> None:
        if not turns:
            return
        features = [turn.damped_features() for turn in turns]
        roots, feet = [turn.session.root for turn in turns], [turn.session.feet for turn in turns]
        for turn, moving, posed in zip(turns, features, stream_chunks(features, roots, feet), strict=True):
            turn.features, turn.posed = moving, posed


def _networks(model: TextToMotionModel, mode: Mode) -> Networks:
    if model.ar.latent_mean.device.type != "cpu":
        return DeviceNetworks(model, mode)
    return ModuleNetworks(model) if mode == "exact" and not has_int8_rows() else CompiledNetworks(model, mode)


class _Turn:
    """One session's part of a step: nothing of it reaches the session before the whole step has succeeded."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.index = session.index
        before = session.control
        self.control: Control = settle(before, self.index, session.limits, session.idle)
        self.ended = before.prompt.kind == "text" and self.control.prompt is not before.prompt
        self.context: Context | None = session.context
        self.decoder: DecoderState | None = session.decoder
        self.settling: tuple[int, Tensor] | None = session.settling
        self.attempt = 0
        self.redraws = 0
        self.calmer_draws = 0
        self.guidance = session.guidance
        self.from_end = self.deviation = 0.0
        self.candidate: Tensor | None = None
        self.ahead: tuple[Tensor, DecoderState] | None = None
        self.latent: Tensor | None = None
        self.keep: Tensor | None = None
        self.features: Tensor | None = None
        self.posed: tuple[Motion, RootState, FootLockState | None] | None = None

    def request(self) -> Request:
        """What the autoregressive model has to know of this stream."""
        guided = self.session.guidance != 1.0
        return Request(self.control, self.index, guided, self.context, self.session.timeline.latents)

    def noise(self, steps: int, latent_dim: int) -> Float[Tensor, "s c"]:
        """All noise of this turn's latent."""
        return latent_noise(self.session.seed, self.index, self.attempt, steps, latent_dim)

    def damped_features(self) -> Float[Tensor, "t 272"]:
        """What was decoded, its root at rest where the body holds or the stream begins."""
        assert self.features is not None, "a latent was decoded"
        features, keep = self.features.clone(), self.keep
        if self.index == 0:
            # A stream starts at the origin facing +Z: its first frame has no frame before it to move from.
            keep = torch.ones(len(features)) if keep is None else keep.clone()
            keep[0] = 0.0
        return features if keep is None else damp_root(features, keep)

    def record(self) -> Record | None:
        """What the step adds to the session's timeline; None when the stream has ended."""
        if self.latent is None or self.features is None or self.posed is None:
            return None
        features, (motion, root, feet) = self.features, self.posed
        prompt = self.control.prompt
        result = StepResult(
            index=self.index,
            first_frame=self.index * len(features),
            prompt=prompt.text,
            kind=prompt.kind,
            started=self.index == self.control.began,
            ended=self.ended,
            latent=self.latent.clone(),
            features=features,
            motion=replace(motion, name=prompt.text),
        )
        return Record(result, self.control, root, feet, self.decoder if keeps_snapshot(self.index) else None)


def latent_noise(seed: int, index: int, attempt: int, steps: int, latent_dim: int) -> Float[Tensor, "s c"]:
    """All noise of one latent: it depends on seed, latent and attempt only, never on what was drawn before.

    Row 0 starts the chain, the others are its steps' fresh noise.
    """
    generator = torch.Generator().manual_seed(_mixed_seed(seed, index, attempt))
    return torch.randn(steps + 1, latent_dim, generator=generator)


def _mixed_seed(seed: int, index: int, attempt: int) -> int:
    """A 63-bit seed from three numbers; neighbours get unrelated noise."""
    message = f"{seed} {index} {attempt}".encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little") >> 1
