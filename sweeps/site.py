"""One model with one task and seed: which combinations run there, and what a budget means."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, TypeVar

from methods.backbones.base import Backbone
from methods.backbones.registry import adapter_for
from methods.base import InfeasibleError, Method
from methods.places import Place
from methods.registry import entry as method_entry
from methods.schedule import Schedule, Uniform, num_held
from sweeps.keep import Keep
from sweeps.models import Model, ModelError
from sweeps.tasks.base import Task
from sweeps.trial import BASELINE, MeasureSpec, Named, TrialSpec

T = TypeVar("T")


class Refusal(Exception):  # noqa: N818 - an answer, not an error
    """Why a combination cannot run, in one sentence."""


class Site:
    """One opened model with one task and seed: what can be compressed there, and how far."""

    def __init__(self, model: Model, task: Task[Any, Any], seed: int, measure: MeasureSpec) -> None:
        self.model = model
        self.name = model.weights.name
        self.task = task
        self.seed = seed
        self.measure = measure
        self.ratios: dict[tuple[Keep, Schedule], float | Refusal] = {}
        self.reasons: dict[str, str | None] = {}
        self.layers: dict[Place, int] = {}

    def require_match(self) -> None:
        """Raises Refusal where model and task do not fit each other."""
        here = self.adapter.places[0]
        if here != self.task.place:
            raise Refusal(
                f"task {self.task.id} needs a model with {self.task.place} tokens, "
                f"{self.name} has {here} tokens"
            )
        reason = self._read(lambda: self.task.incompatible_with(self.model.config))
        if reason is not None:
            raise Refusal(reason)

    def trial(
        self, method: Method, named: Named, keep: Keep, schedule: Schedule | None
    ) -> TrialSpec:
        """The trial of one combination; a schedule of None is the paper's own. Raises Refusal."""
        reason = self._why_not(method, named)
        if reason is not None:
            raise Refusal(reason)
        fixed = method.fixed_ratio
        schedule = method.home if schedule is None or fixed is not None else schedule
        ratio = self._ratio(keep, schedule) if fixed is None else fixed
        self._require_fit(method, schedule, ratio)
        if method.changes_nothing(ratio):
            return self._baseline
        if named.id == BASELINE:
            raise Refusal(f"{BASELINE} keeps every token, so it runs at keep 1.0 only")
        return self._spec(named, schedule, ratio)

    @cached_property
    def adapter(self) -> type[Backbone]:
        """What opens the model."""
        try:
            return adapter_for(self.model.config)
        except ValueError as error:
            raise ModelError(f"{self.name}: {error}") from None

    @cached_property
    def num_tokens(self) -> int:
        """Tokens of one example that can be compressed."""
        return self._read(lambda: self.task.num_tokens(self.model.config))

    @cached_property
    def num_layers(self) -> int:
        """Layers in which they can be."""
        return self._read(lambda: self.adapter.layers_in(self.model.config))

    @cached_property
    def _baseline(self) -> TrialSpec:
        return self._spec(self._identity, Uniform(), 1.0)

    @cached_property
    def _identity(self) -> Named:
        entry = method_entry(BASELINE)
        return Named(id=entry.id, version=entry.method.version)

    def _spec(self, method: Named, schedule: Schedule, ratio: float) -> TrialSpec:
        """Built without validation: every part has been validated, and plans may be long."""
        own = {"method": method, "schedule": schedule, "keep_ratio": ratio}
        return self._blank.model_copy(update=own)

    @cached_property
    def _blank(self) -> TrialSpec:
        """What all trials here share, to be copied; on its own it is the baseline."""
        task = Named(
            id=self.task.id, version=self.task.version, params=self.task.model_dump(mode="json")
        )
        return TrialSpec.model_construct(
            task=task,
            data=self.task.data_fingerprint(),
            backbone=self.model.weights,
            method=self._identity,
            schedule=Uniform(),
            keep_ratio=1.0,
            seed=self.seed,
            measure=self.measure,
        )

    def _why_not(self, method: Method, named: Named) -> str | None:
        key = named.canonical
        if key not in self.reasons:
            self.reasons[key] = self._reason(method)
        return self.reasons[key]

    def _reason(self, method: Method) -> str | None:
        try:
            stages = self.adapter.stages(method, method.home, 1.0)
        except InfeasibleError as error:
            return f"{error} ({self.name})"
        config = self.model.config
        found = (self._read(partial(self.adapter.why_not, config, s.method)) for s in stages)
        idle = (self.task.nothing_for(stage.place) for stage in stages)
        reasons = itertools.chain(found, idle)
        return next((reason for reason in reasons if reason is not None), None)

    def _require_fit(self, method: Method, schedule: Schedule, ratio: float) -> None:
        """Raises Refusal where a schedule needs other layers, or stages cannot work together."""
        stages = self.adapter.stages(method, schedule, ratio)
        layers = [self._layers_at(stage.place) for stage in stages]
        try:
            for stage, num_layers in zip(stages, layers, strict=True):
                stage.schedule.held(stage.keep_ratio, num_layers)
        except ValueError as error:
            raise Refusal(str(error)) from None
        reason = self.adapter.why_not_together(stages, self.num_layers)
        if reason is not None:
            raise Refusal(reason)

    def _layers_at(self, place: Place) -> int:
        if place not in self.layers:
            read = partial(self.adapter.layers_at, self.model.config, place)
            self.layers[place] = self._read(read)
        return self.layers[place]

    def _ratio(self, keep: Keep, schedule: Schedule) -> float:
        """The keep ratio that a budget means here. Raises Refusal."""
        if (keep, schedule) not in self.ratios:
            try:
                self.ratios[keep, schedule] = self._resolved(keep, schedule)
            except Refusal as error:
                self.ratios[keep, schedule] = error
        found = self.ratios[keep, schedule]
        if isinstance(found, Refusal):
            raise Refusal(str(found))
        return found

    def _resolved(self, keep: Keep, schedule: Schedule) -> float:
        if keep.unit == "ratio":
            ratio = keep.amount
            if ratio < 1 and num_held(ratio, self.num_tokens) == self.num_tokens:
                raise Refusal(f"keep {keep.label} of {self.num_tokens} tokens removes none")
            return ratio
        tokens = int(keep.amount) if keep.unit == "tokens" else self._affordable(keep, schedule)
        if tokens > self.num_tokens:
            raise Refusal(f"{keep.label}: there are only {self.num_tokens}")
        return tokens / self.num_tokens

    def _affordable(self, keep: Keep, schedule: Schedule) -> int:
        """The most tokens whose keys and values, summed over layers, fit the bytes."""
        if "kv" not in self.adapter.places:
            raise Refusal(f"{keep.label}: {self.name} has no key/value cache")
        per_token = self._kv_bytes_per_token
        whole = per_token * self.num_tokens
        if keep.amount > whole:
            raise Refusal(f"{keep.label}: the whole cache takes {whole:,} bytes")

        def num_bytes(tokens: int) -> float:
            try:
                held = schedule.held(tokens / self.num_tokens, self.num_layers)
            except ValueError as error:
                raise Refusal(str(error)) from None
            layers = sum(num_held(fraction, self.num_tokens) for fraction in held)
            return layers * per_token / self.num_layers

        fitting = bisect_right(range(1, self.num_tokens + 1), keep.amount, key=num_bytes)
        if not fitting:
            raise Refusal(f"{keep.label}: one token takes {num_bytes(1):,.0f} bytes here")
        return fitting

    @cached_property
    def _kv_bytes_per_token(self) -> int:
        adapter: Any = self.adapter  # adapters of the place kv have it
        dtype = self.model.weights.dtype
        return self._read(lambda: int(adapter.kv_bytes_per_token(self.model.config, dtype)))

    def _read(self, read: Callable[[], T]) -> T:
        """What a config says; one that lacks or garbles a value is no usable model."""
        try:
            return read()
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ModelError(
                f"config.json of {self.name} is not usable ({type(error).__name__}: {error})"
            ) from None
