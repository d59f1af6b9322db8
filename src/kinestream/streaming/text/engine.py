"""One step of the model for any number of streams: the same code for one listener and for a batch of them."""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.conditioning.text import TextEncoder, text_encoder
from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import MOTION272
from kinestream.inference import Networks
from kinestream.inference.networks import DecoderState, Mode
from kinestream.streaming.chunk import Chunk
from kinestream.streaming.frames import stream_chunks
from kinestream.streaming.text.context import advance
from kinestream.streaming.text.control import after_end, fit_context
from kinestream.streaming.text.hold import LOOK_BACK_LATENTS, SETTLE_LATENTS, root_keep, settling_latents
from kinestream.streaming.text.networks import Decoded, networks_for, stream_networks
from kinestream.streaming.text.options import SessionOptions
from kinestream.streaming.text.session import Session, TextEngine
from kinestream.streaming.text.step import StreamStep
from kinestream.streaming.text.storage import load_session, save_session

# A prompt that has just begun is not over: a candidate near the end latent is sampled again, at most so often, and then
# the pose is held for this latent.
MAX_EARLY_ENDS = 8
# A candidate far outside of what the model has seen (guidance throws it there, mostly at a switch never recorded) is
# sampled again so often, each time with half the guidance above 1; the last one stands, since some actions are far out.
MAX_CALMER_SAMPLES = 3
# Embeddings of the newest prompts are kept: a prompt that comes again is not encoded again.
MAX_EMBEDDINGS = 256


class Engine(TextEngine):
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
        MissingExtraError: fast mode without the extra `fast`, on a processor without AVX2.
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
                f"Streaming needs a model of {MOTION272.name} features ({MOTION272.width} values a frame); "
                f"this one has {model.tae.config.feature_dim}."
            )
        if next(model.ar.parameters(), None) is None:
            raise BadInputError("This is the model of another engine, which has released its weights; load it again.")
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
        self.networks = networks_for(model, mode) if networks is None else networks
        self._networks, kept = stream_networks(model, self.networks)
        if kept is not model:
            # They have their own weights; the others are kept only as long as somebody else does.
            _ = self.fingerprint
            self.model = kept
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()
        self._embeddings_lock = threading.Lock()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the machine lacks for this mode and what is done instead; for people, to be said once."""
        return self.networks.notes

    @property
    def frames_per_step(self) -> int:
        """Frames of one latent, which a step makes."""
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
                f"The text encoder gives {embedding.shape[0]} values, but the model was trained with {expected}. "
                f"Use the encoder that the model names: {self.model.text_encoder}."
            )
        return embedding

    def session(self, seed: int = 0, options: SessionOptions | None = None) -> Session:
        """A new stream."""
        return Session(self, seed=seed, options=options)

    def save(self, session: Session, path: Path) -> None:
        """What `Session.save` does."""
        save_session(session, path)

    def restore(self, path: Path) -> Session:
        """What `Session.restore` gives."""
        return load_session(path, self)

    def _step(self, sessions: Sequence[Session]) -> list[Chunk | None]:
        """If anything fails, no session has moved."""
        with contextlib.ExitStack() as locks:
            for session in sorted(sessions, key=id):
                locks.enter_context(session.lock)
            streams = [StreamStep(session) for session in sessions]
            with torch.inference_mode():
                self._choose_latents(streams)
                self._decode([stream for stream in streams if stream.latent is not None])
            with torch.no_grad():
                self._pose([stream for stream in streams if stream.features is not None])
                records = [stream.record() for stream in streams]
            return [
                stream.session.commit(stream.control, record, stream.decoder, stream.context, stream.settling)
                for stream, record in zip(streams, records, strict=True)
            ]

    def replay_decoder(self, state: DecoderState | None, latents: Float[Tensor, "l c"]) -> DecoderState:
        """The decoder's state after these latents, one by one as they were first decoded; None starts afresh."""
        state = self.initial_decoder_state if state is None else state
        with torch.inference_mode():
            for latent in latents:
                _, state = self.networks.decode(latent[None, None], state)
        return state

    def _choose_latents(self, streams: Sequence[StreamStep]) -> None:
        waiting = []
        for stream in streams:
            if stream.control.finished:
                continue
            if stream.control.prompt.kind == "hold":
                self._hold(stream)
            else:
                waiting.append(stream)
        while waiting:
            self._sample(waiting)
            waiting = [stream for stream in waiting if not self._accepts(stream)]

    def _sample(self, streams: Sequence[StreamStep]) -> None:
        """Sample a candidate latent for each stream; streams of equal settings share one run of the diffusion head."""
        model = self.model.ar
        for stream in streams:
            stream.control = fit_context(stream.control, stream.index, stream.session.limits)
        for stream, context in zip(
            streams, advance(self.networks, model, [stream.request() for stream in streams]), strict=True
        ):
            stream.context = context
        groups: dict[tuple[bool, int], list[StreamStep]] = {}
        for stream in streams:
            options = stream.session.options
            steps = self.networks.sampling_steps if options.sampling_steps is None else options.sampling_steps
            groups.setdefault((stream.session.guidance != 1.0, steps), []).append(stream)
        for (guided, steps), members in groups.items():
            sampled = self._candidates(members, guided, steps).to(model.latent_mean)
            latents = model.denormalize_latents(sampled).float()
            from_end = (latents - self.model.end_latent.to(latents)).double().square().sum(dim=-1).sqrt()
            facts = torch.stack((from_end, sampled.abs().amax(dim=-1).double()), dim=-1).tolist()
            for stream, latent, (distance, far) in zip(members, latents, facts, strict=True):
                stream.candidate, stream.from_end, stream.deviation = latent, distance, far

    def _candidates(self, streams: Sequence[StreamStep], guided: bool, steps: int) -> Float[Tensor, "b c"]:
        """Normalised candidates; what is decoded with them waits until they are taken."""
        contexts = [stream.context for stream in streams if stream.context is not None]
        noise = torch.stack([stream.noise(steps, self.model.ar.config.latent_dim) for stream in streams], dim=1)
        scale = noise.new_tensor([stream.guidance for stream in streams]) if guided else None
        decoders = [stream.session.decoder for stream in streams]
        sampled, decoded = self._networks.sample(contexts, scale, noise, decoders)
        for stream, ahead in zip(streams, decoded, strict=True):
            stream.ahead = ahead
        return sampled

    def _accepts(self, stream: StreamStep) -> bool:
        """Whether the stream is settled: its candidate is a latent to decode, or nothing is left to act."""
        candidate, session = stream.candidate, stream.session
        assert candidate is not None, "a candidate was sampled"
        if not math.isfinite(stream.from_end):
            raise KinestreamError(
                "The model gave a latent that is not finite. The weights are damaged, or the guidance is far too high."
            )
        threshold = session.options.stop_threshold
        threshold = self.model.stop_threshold if threshold is None else threshold
        usual = self.model.usual_latents
        ends = stream.from_end < threshold
        if usual is not None and not ends and stream.deviation > usual and stream.calmer_samples < MAX_CALMER_SAMPLES:
            stream.attempt += 1
            stream.calmer_samples += 1
            stream.guidance = 1.0 + 0.5 * (stream.guidance - 1.0)
            return False
        if not ends:
            stream.latent = candidate
            return True
        stream.attempt += 1
        if stream.index - stream.control.restarted < session.limits.min_latents:
            stream.early_ends += 1
            if stream.early_ends > MAX_EARLY_ENDS:
                stream.latent = self._settling(stream, stream.index)[0]
            return stream.latent is not None
        before = stream.control.prompt
        stream.control = after_end(stream.control, stream.index, session.limits, session.idle)
        stream.ended = stream.ended or (before.kind == "text" and stream.control.prompt is not before)
        if stream.control.prompt.kind == "hold" and not stream.control.finished:
            self._hold(stream)
        return stream.control.finished or stream.latent is not None

    def _hold(self, stream: StreamStep) -> None:
        since = stream.index - stream.control.began
        if since >= SETTLE_LATENTS:
            stream.latent = stream.session.timeline[stream.index - 1].chunk.tokens
        else:
            stream.latent = self._settling(stream, stream.control.began)[since]
        stream.keep = root_keep(since, self.frames_per_step)

    def _settling(self, stream: StreamStep, start: int) -> Tensor:
        """The latents of coming to rest at `start`; they follow from the features before it and are never saved."""
        known = stream.settling
        if known is None or known[0] != start:
            timeline = stream.session.timeline
            first = max(timeline.first, start - LOOK_BACK_LATENTS)
            recent = timeline.features(first, start) if start > first else torch.zeros(0, MOTION272.width)
            settling = settling_latents(self.model.tae, self.model.statistics, recent)
            known = (start, settling.to(self.model.ar.latent_mean.device))
            stream.settling = known
        return known[1]

    def _decode(self, streams: Sequence[StreamStep]) -> None:
        if not streams:
            return
        ahead = [stream.ahead if stream.latent is stream.candidate else None for stream in streams]
        rest = [stream for stream, decoded in zip(streams, ahead, strict=True) if decoded is None]
        others = iter(self._decoded(rest) if rest else [])
        frames, decoders = zip(*[next(others) if decoded is None else decoded for decoded in ahead], strict=True)
        features = self.model.statistics.denormalize(torch.stack(frames).float())
        if not bool(torch.isfinite(features).all()):
            raise KinestreamError("The decoder gave frames that are not finite. The weights are damaged.")
        for row, stream in enumerate(streams):
            stream.features, stream.decoder = features[row], decoders[row]

    def _decoded(self, streams: Sequence[StreamStep]) -> list[Decoded]:
        states = [self.initial_decoder_state if stream.decoder is None else stream.decoder for stream in streams]
        latents = torch.stack([stream.latent for stream in streams if stream.latent is not None])[:, None]
        return self._networks.decode(latents, states)

    def _pose(self, streams: Sequence[StreamStep]) -> None:
        if not streams:
            return
        features = [stream.damped_features() for stream in streams]
        roots, feet = [stream.session.root for stream in streams], [stream.session.feet for stream in streams]
        for stream, moving, posed in zip(streams, features, stream_chunks(features, roots, feet), strict=True):
            stream.features, stream.posed = moving, posed
