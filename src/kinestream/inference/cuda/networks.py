"""Text to motion for many streams on a device: streams hold slots in its memory, and a step is two captured graphs.

A step of any number of streams is padded to a fixed size. The transformer's part and the rest (all modulations, all
sampling steps, the decoder) are each captured once a size as a CUDA graph and replayed: the processor sends indices,
latents and noise, and waits once, for latents and frames. Joining and leaving a batch moves indices only. On the CPU
the same functions run as they are.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel
from kinestream.errors import BadInputError
from kinestream.inference.compiled import FAST_STEPS
from kinestream.inference.cuda.graphs import Replayed, to_device, to_host
from kinestream.inference.cuda.programs import SlotHead, SlotTransformer
from kinestream.inference.cuda.slots import Slot, SlotContexts, SlotDecoder, SlotPool
from kinestream.inference.networks import Mode
from kinestream.inference.twins import AnyModule, hollow
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.nn.diffusion import SolverStep, ancestral_steps, fast_sampling
from kinestream.nn.motion_convs import ConvStates

# Streams of one run of the networks; more are run one batch after the other.
MAX_STREAMS = 4096
# Contexts that are started together: each brings a whole context of positions.
MAX_STARTS = 64


class DeviceNetworks:
    """The networks of a model on its device.

    Contexts and decoder states are slots in the device's memory (see `bytes_a_context`, `bytes_a_decoder`), free again
    when nothing holds them. All inputs may lie in main memory; what `sample_frames` and `decode` give lies there.

    Args:
        model: its weights are read where they lie and kept where their precision is the same; nothing is changed.
        mode: "exact" is float32 and all sampling steps, "fast" is few steps in the fastest precision that the device
            has.
        precision: of weights and products, another than the mode's.
        streams: slots to begin with; they are doubled as needed.
    """

    def __init__(
        self, model: TextToMotionModel, mode: Mode, *, precision: torch.dtype | None = None, streams: int = 16
    ) -> None:
        self.mode = mode
        self.device = model.ar.latent_mean.device
        self.notes: tuple[str, ...] = ()
        if precision is None:
            precision, self.notes = fastest_precision(self.device, mode)
        self.precision = precision
        self._schedule = model.ar.head.schedule
        whole = self._schedule.num_steps
        self.sampling_steps = whole if mode == "exact" else min(FAST_STEPS, whole)
        self._plans: dict[int, tuple[SolverStep, ...]] = {}
        self.config = model.ar.config
        self._shapes = [tuple(state.shape[1:]) for state in model.tae.decoder.init_state(1).convs]
        self._sizes = [channels * places for channels, places in self._shapes]
        self._lock = threading.RLock()
        with torch.inference_mode():
            self._transformer = SlotTransformer(model.ar, precision)
            self._head = SlotHead(model.ar.head, precision)
            self._decoder = copy.deepcopy(model.tae.decoder).float().eval()
            self._latent_mean, self._latent_std = model.ar.latent_mean.float(), model.ar.latent_std.float()
            rows, on = 2 * streams + 2, self.device
            # Keys and values of each layer, then the conditions.
            layers, shape = self.config.num_layers, self._transformer.cache_shape
            caches = [torch.zeros(rows, *shape, dtype=precision, device=on) for _ in range(layers)]
            self._contexts = SlotPool([*caches, torch.zeros(rows, self.config.hidden_dim, device=on)])
            self._decoders = SlotPool([torch.zeros(rows, sum(self._sizes), device=on)])
        self._step, self._fill, self._decode = (
            Replayed(run, self.device) for run in (self._run_step, self._run_fill, self._run_decode)
        )
        self._samplings: dict[bool, Replayed] = {}

    def warm_up(self, streams: int) -> None:
        """Take slots for so many guided streams and capture what steps of up to so many need, so that none has to."""
        count = 1 << (streams - 1).bit_length()
        while count:
            self._rehearse(count)
            count //= 2

    def _rehearse(self, streams: int) -> None:
        texts, latents = torch.zeros(2, self.config.text_dim), torch.zeros(2 * streams, 1, self.config.latent_dim)
        started = self.prefill_each([texts] * streams, [None] * streams)
        _, joined = self.step(latents, self.join([state for _, state in started]))
        contexts = [joined[[2 * row, 2 * row + 1]] for row in range(streams)]
        noise = torch.zeros(self.sampling_steps + 1, streams, self.config.latent_dim)
        self.sample_frames(contexts, torch.ones(streams), noise, [None] * streams)
        self.decode_each(latents[:streams], [None] * streams)

    @property
    def bytes_a_context(self) -> int:
        """Memory of one context; a guided stream has two."""
        return self._contexts.bytes_a_slot

    @property
    def bytes_a_decoder(self) -> int:
        """Memory of one decoder state; a stream has one, and one for each 16 latents that it can go back."""
        return self._decoders.bytes_a_slot

    @property
    def contexts_in_use(self) -> int:
        """How many contexts are held by somebody."""
        return len(self._contexts)

    # What every kind of networks does.

    def prefill(self, text: Tensor, history: Tensor | None) -> tuple[SlotContexts, SlotContexts]:
        """Start contexts."""
        return self.prefill_each([text], [history])[0]

    @torch.inference_mode()
    def prefill_each(
        self, texts: Sequence[Float[Tensor, "r e"]], histories: Sequence[Float[Tensor, "r k c"] | None]
    ) -> list[tuple[SlotContexts, SlotContexts]]:
        """As `prefill` for many streams at once, each with its own number of rows and latents."""
        most = self.config.context_latents
        if any(history is not None and history.shape[1] > most for history in histories):
            raise BadInputError(f"More latents than fit into the context of {most}; pass the newest ones only.")
        counts = [0 if history is None else history.shape[1] for history in histories]
        lengths = [count for count, text in zip(counts, texts, strict=True) for _ in text]
        rows = torch.zeros(len(lengths), most, self.config.latent_dim)
        place = 0
        for text, history in zip(texts, histories, strict=True):
            if history is not None:
                rows[place : place + len(text), : history.shape[1]] = history
            place += len(text)
        with self._lock:
            slots = self._contexts.take(len(lengths))
            together = torch.cat(list(texts))
            for part in _parts(len(lengths), MAX_STARTS):
                self._padded(self._fill, [_indices(slots[part]), lengths[part]], together[part], rows[part])
        for slot, length in zip(slots, lengths, strict=True):
            slot.written = length + 1
        started, place = [], 0
        for text in texts:
            mine = slice(place, place + len(text))
            state = SlotContexts(slots[mine], [length + 1 for length in lengths[mine]])
            started.append((state, state))
            place = mine.stop
        return started

    @torch.inference_mode()
    def step(self, latents: Float[Tensor, "r 1 c"], state: SlotContexts) -> tuple[SlotContexts, SlotContexts]:
        """Go on by one latent."""
        if max(state.lengths) > self.config.context_latents:
            raise BadInputError("The context is full; start it anew with the newest latents.")
        with self._lock:
            slots = self._writable(state)
            for part in _parts(len(slots), 2 * MAX_STREAMS):
                self._padded(self._step, [_indices(slots[part]), list(state.lengths[part])], latents[part, 0])
        after = SlotContexts(slots, [length + 1 for length in state.lengths])
        return after, after

    def join(self, states: Sequence[SlotContexts]) -> SlotContexts:
        """Put contexts together."""
        if len(states) == 1:
            return states[0]
        return SlotContexts(
            [slot for state in states for slot in state.slots],
            [length for state in states for length in state.lengths],
        )

    def take(self, state: SlotContexts, rows: Sequence[int]) -> SlotContexts:
        """Take rows out."""
        return state[rows]

    @torch.inference_mode()
    def conditions(self, state: SlotContexts) -> Float[Tensor, "r h"]:
        """The values of a context's conditions, in main memory; they are kept for a slot's newest context."""
        with self._lock:
            indices = to_device(torch.tensor(self._newest(state)), self.device)
            return self._contexts.tensors[-1].index_select(0, indices).cpu()

    @torch.inference_mode()
    def sample(
        self,
        cond: Float[Tensor, "b h"] | SlotContexts,
        uncond: Float[Tensor, "b h"] | SlotContexts | None,
        guidance_scale: Float[Tensor, " b"],
        noise: SamplingNoise,
        steps: int,
    ) -> Float[Tensor, "b c"]:
        """The chain alone; not captured."""
        given = [part for part in (cond, uncond) if part is not None]
        rows = [self.conditions(part) if isinstance(part, SlotContexts) else part for part in given]
        conditions, scale, first, others = (
            to_device(values, self.device) for values in (torch.stack(rows), guidance_scale, noise.initial, noise.steps)
        )
        chain = torch.cat([first[None], others])
        with self._lock:
            return self._head.sample(conditions, None if uncond is None else scale, chain, self._plan(steps))

    def decode(
        self, latents: Float[Tensor, "b 1 c"], state: ConvStates | SlotDecoder
    ) -> tuple[Float[Tensor, "b t d"], SlotDecoder]:
        """The new frames of one row."""
        frames, states = self.decode_each(latents, [state])
        return frames, states[0]

    # What only these do.

    @torch.inference_mode()
    def decode_each(
        self, latents: Float[Tensor, "b 1 c"], states: Sequence[ConvStates | SlotDecoder | None]
    ) -> tuple[Float[Tensor, "b t d"], list[SlotDecoder]]:
        """The new frames of each row; a state None is that before the first latent."""
        with self._lock:
            old, new = self._placed(states), self._decoders.take(len(states))
            frames = [
                self._padded(self._decode, [_indices(old[part]), _indices(new[part])], latents[part, 0])
                for part in _parts(len(states), MAX_STREAMS)
            ]
            return to_host(torch.cat(frames)), [SlotDecoder(slot, self._decoder_tensors) for slot in new]

    @torch.inference_mode()
    def sample_frames(
        self,
        contexts: Sequence[SlotContexts],
        guidance: Float[Tensor, " b"] | None,
        noise: Float[Tensor, "s b c"],
        states: Sequence[ConvStates | SlotDecoder | None],
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b t d"], list[SlotDecoder]]:
        """A normalised latent of each stream and its normalised frames: the one time that the processor waits.

        contexts: of each stream, with the text and, with guidance, without it. noise: what the chain begins with, then
        that of each of its S - 1 steps. states: of the decoders; None is that before the first latent. Nothing that is
        given here is changed, so what is sampled can be thrown away.
        """
        guided, steps = guidance is not None, len(noise) - 1
        scale = noise.new_ones(len(contexts)) if guidance is None else guidance
        with self._lock:
            run = self._sampling(guided, steps)
            columns = [list(rows) for rows in zip(*map(self._newest, contexts), strict=True)]
            old, new = self._placed(states), self._decoders.take(len(states))
            columns += [_indices(old), _indices(new)]
            sampled = [
                self._padded(run, [column[part] for column in columns], scale[part], noise[:, part].transpose(0, 1))
                for part in _parts(len(contexts), MAX_STREAMS)
            ]
            together = to_host(torch.cat(sampled))
        latents, frames = together[:, : noise.shape[2]], together[:, noise.shape[2] :]
        frames = frames.unflatten(1, (-1, self._decoder.config.feature_dim))
        return latents, frames, [SlotDecoder(slot, self._decoder_tensors) for slot in new]

    # Functions of fixed shapes; indices come as rows of one tensor.

    def _run_step(self, indices: Tensor, latents: Tensor) -> Tensor:
        *caches, kept = self._contexts.tensors
        conditions = self._transformer.step(latents, indices[0], indices[1], caches)
        kept.index_copy_(0, indices[0], conditions)
        return conditions

    def _run_fill(self, indices: Tensor, text: Tensor, history: Tensor) -> Tensor:
        *caches, kept = self._contexts.tensors
        conditions = self._transformer.fill(text, history, indices[0], indices[1], caches)
        kept.index_copy_(0, indices[0], conditions)
        return conditions

    def _run_decode(self, indices: Tensor, latents: Tensor) -> Tensor:
        states = self._decoders.tensors[0]
        flat = states.index_select(0, indices[0]).split(self._sizes, dim=1)
        convs = [part.unflatten(1, shape) for part, shape in zip(flat, self._shapes, strict=True)]
        frames, after = self._decoder.step(latents[:, None], ConvStates(tuple(convs)))
        states.index_copy_(0, indices[1], torch.cat([state.flatten(1) for state in after.convs], dim=1))
        return frames

    def _run_sample(
        self, indices: Tensor, scale: Tensor, noise: Tensor, plan: Sequence[SolverStep], guided: bool
    ) -> Tensor:
        conditions = self._contexts.tensors[-1][indices[:-2]]
        latents = self._head.sample(conditions, scale if guided else None, noise.transpose(0, 1), plan)
        frames = self._run_decode(indices[-2:], latents * self._latent_std + self._latent_mean)
        return torch.cat([latents, frames.flatten(1)], dim=1)

    # Around them.

    def _padded(self, run: Replayed, indices: list[list[int]], *inputs: Tensor) -> Tensor:
        """Run on a batch of a fixed size, the next power of two; padding rows work in the scratch slot."""
        count = len(indices[0])
        size = 1 << (count - 1).bit_length()
        together = torch.tensor([row + [SlotPool.SCRATCH] * (size - count) for row in indices])
        padded = [torch.cat([part, part.new_zeros(size - count, *part.shape[1:])]).contiguous() for part in inputs]
        memory = (self._contexts.generation, self._decoders.generation)
        return run(size, memory, *(to_device(values, self.device) for values in (together, *padded)))[:count]

    def _sampling(self, guided: bool, steps: int) -> Replayed:
        known = self._samplings.get(guided)
        if steps == self.sampling_steps and known is not None:
            return known
        function = partial(self._run_sample, plan=self._plan(steps), guided=guided)
        # Only the usual number of steps is captured: a graph takes memory, and anybody may ask for any number.
        if steps != self.sampling_steps:
            return Replayed(function, self.device, captured=False)
        return self._samplings.setdefault(guided, Replayed(function, self.device))

    def _writable(self, state: SlotContexts) -> list[Slot]:
        """Slots in which these contexts are the newest: their own, or copies where others have gone on in them."""
        slots, behind = list(state.slots), []
        for row, (slot, length) in enumerate(zip(slots, state.lengths, strict=True)):
            if slot.written == length:
                slot.written = length + 1
            else:
                behind.append(row)
        if behind:
            fresh = self._contexts.take(len(behind))
            self._contexts.copy(_indices([slots[row] for row in behind]), _indices(fresh))
            for row, slot in zip(behind, fresh, strict=True):
                slot.written = state.lengths[row] + 1
                slots[row] = slot
        return slots

    def _newest(self, state: SlotContexts) -> list[int]:
        newest = all(slot.written == length for slot, length in zip(state.slots, state.lengths, strict=True))
        assert newest, "conditions are asked for before others go on in the same slot"
        return _indices(state.slots)

    def _placed(self, states: Sequence[ConvStates | SlotDecoder | None]) -> list[Slot | None]:
        """Where the states lie; what comes from main memory is brought to a slot."""
        return [state.slot if isinstance(state, SlotDecoder) else state and self._uploaded(state) for state in states]

    def _uploaded(self, state: ConvStates) -> Slot:
        (slot,) = self._decoders.take(1)
        flat = torch.cat([tensor.flatten(1) for tensor in state.convs], dim=1)
        self._decoders.tensors[0][slot.index] = to_device(flat[0].float(), self.device)
        return slot

    @torch.inference_mode()
    def _decoder_tensors(self, slot: Slot) -> tuple[Tensor, ...]:
        with self._lock:
            flat = self._decoders.tensors[0][slot.index].cpu()[None]
        return tuple(
            part.unflatten(1, shape) for part, shape in zip(flat.split(self._sizes, 1), self._shapes, strict=True)
        )

    def _plan(self, steps: int) -> tuple[SolverStep, ...]:
        if steps not in self._plans:
            chain = self._schedule
            exact = self.mode == "exact"
            self._plans[steps] = ancestral_steps(chain.respaced(steps)) if exact else fast_sampling(chain, steps)
        return self._plans[steps]


def on_host(model: TextToMotionModel) -> TextToMotionModel:
    """The model without the weights that `DeviceNetworks` has, its buffers in main memory.

    The autoencoder's encoder stays where it is, with its weights: it is used when a body comes to rest.
    """
    tae = _hollow(model.tae)
    tae.encoder = model.tae.encoder
    return replace(model, tae=tae, ar=_hollow(model.ar))


def _hollow(module: AnyModule) -> AnyModule:
    twin = hollow(module)
    for part in twin.modules():
        part._buffers = {name: None if values is None else values.cpu() for name, values in part._buffers.items()}
    return twin


def fastest_precision(device: torch.device, mode: Mode) -> tuple[torch.dtype, tuple[str, ...]]:
    """What weights and products are in, and what is to be said of it."""
    if mode == "exact" or device.type != "cuda":
        return torch.float32, ()
    if torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16, ()
    name = torch.cuda.get_device_name(device)
    return torch.float32, (f"{name} is slow in bfloat16, so fast mode has few sampling steps, in float32.",)


def _indices(slots: Sequence[Slot | None]) -> list[int]:
    return [SlotPool.ZEROS if slot is None else slot.index for slot in slots]


def _parts(count: int, most: int) -> list[slice]:
    return [slice(first, min(first + most, count)) for first in range(0, count, most)]
