"""What a compression method is.

A method is a frozen pydantic object: its fields are its hyperparameters, its module's docstring
cites its paper, its folder is the place where it attaches. A method that reduces tokens turns a
context into a :class:`~methods.transform.TokenTransform`; the few kinds of compression that no W
describes have protocols of their own in their folders.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from methods.contexts import TokenContext
from methods.infeasible import InfeasibleError as InfeasibleError
from methods.places import Place
from methods.schedule import Schedule, Uniform
from methods.transform import TokenTransform


class Paper(BaseModel):
    """Where a method comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    arxiv: str | None = None
    """arXiv id without version, for example ``2210.09461``."""
    code: str | None = None
    """Address of the authors' implementation."""
    catalogue: str | None = None
    """Row of ``methods/catalogue.csv``, if the paper is one of its 135 methods."""


class Part(NamedTuple):
    """One method at work, with its budget; a stack of methods has several."""

    method: Method
    schedule: Schedule
    keep_ratio: float
    at: Place | None = None
    """Where, if it could be at several places and the first is not meant."""


class Method(BaseModel):
    """A compression method; its fields are its hyperparameters.

    Subclasses live one to a file; the file's name, with dashes, is the method's id, its folder the
    family. Raise ``version`` whenever a change alters numbers: trials measured with the old version
    are then not reused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: ClassVar[int] = 1
    paper: ClassVar[Paper | None] = None
    """None for controls, which no paper claims."""
    places: ClassVar[tuple[Place, ...]] = ()
    """Where the method attaches."""
    home: ClassVar[Schedule] = Uniform()
    """The schedule its paper uses: what ``paper`` stands for among a sweep's schedules."""
    environment: ClassVar[str | None] = None
    """Environment whose workers measure the method; None is that of this project."""

    @classmethod
    def id(cls) -> str:
        """What the method is called: its file's name, with dashes."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    def attaches_to(self) -> tuple[Place, ...]:
        """Where this very method attaches: ``places``, unless hyperparameters decide it."""
        return self.places

    @property
    def components(self) -> tuple[Method, ...]:
        """Other methods that this one is made of."""
        return ()

    @property
    def revision(self) -> int:
        """What tells results of older code apart: its own version, raised by its components'."""
        return self.version + sum(part.revision - 1 for part in self.components)

    @property
    def fixed_ratio(self) -> float | None:
        """The one keep ratio there is, for methods that have no budget to turn; else None.

        A quantiser's is its bits over those of the model's weights.
        """
        return None

    @property
    def simulated(self) -> frozenset[str]:
        """Costs whose saving is only simulated; the method enters no frontier over them."""
        return frozenset()

    def parts(self, schedule: Schedule, keep_ratio: float) -> list[Part]:
        """What is attached to a model for it: the method itself."""
        return [Part(self, schedule, keep_ratio)]

    def changes_nothing(self, keep_ratio: float) -> bool:
        """Whether the method at this ratio is exactly the uncompressed model."""
        return keep_ratio == 1.0 and self.fixed_ratio is None


ContextT = TypeVar("ContextT", bound=TokenContext)


class TokenMethod(Method, Generic[ContextT]):
    """A method that reduces tokens by a W.

    It attaches at the places of the context class that it is written for.
    """

    needs_cls: ClassVar[bool] = False
    """Whether the class token's attention is needed; models without one are then impossible."""
    needs_tower: ClassVar[bool] = False
    """Whether attention or keys of a VLM's vision tower are needed, in the layer whose output is
    projected; see also :meth:`tower_layers`."""
    needs_attention: ClassVar[bool] = False
    """Whether the block's whole attention is needed (it costs N x N)."""
    needs_next_attention: ClassVar[bool] = False
    """Whether the next block's attention is needed, computed one step ahead."""
    needs_future: ClassVar[bool] = False
    """Whether what tokens will be good for is needed, which a rehearsal without compression finds
    out: attention to come for a cache, relevance for the answer elsewhere."""
    proportional_attention: ClassVar[bool] = False
    """Whether later blocks add log(size) to attention logits, as ToMe proposes (eq. 1)."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for context in cls.__pydantic_generic_metadata__["args"]:
            if isinstance(context, type) and issubclass(context, TokenContext):
                cls.places = context.places

    def tower_layers(self, num_layers: int, selected: int, /) -> frozenset[int]:
        """Layers of a VLM's vision tower whose attention or keys are read, of 0 to num_layers - 1.

        ``selected`` is the one whose output is projected. Queries and keys of all others are not
        kept in memory.
        """
        parts = (part for part in self.components if isinstance(part, TokenMethod))
        read = [part.tower_layers(num_layers, selected) for part in parts]
        return frozenset({selected} if self.needs_tower else ()).union(*read)

    def transform(self, ctx: ContextT) -> TokenTransform:
        """W with exactly ``ctx.num_keep`` rows over ``ctx.num_in`` columns."""
        raise NotImplementedError

    def attention_scale(self, num_in: int, num_now: int) -> float:  # noqa: ARG002
        """Factor on attention logits once ``num_in`` tokens have become ``num_now``."""
        return 1.0

    def unmerge_weights(self, ctx: ContextT, transform: TokenTransform) -> Tensor | None:  # noqa: ARG002
        """How a dense prediction undoes this W, [B, N, K] with convex rows; None: as W says."""
        return None


class ScoringMethod(TokenMethod[ContextT], Generic[ContextT]):
    """A method that scores every token and keeps the best, in their original order."""

    def score(self, ctx: ContextT) -> Tensor:
        """Importance of every token, [B, N]; higher is kept. Ties keep the earlier token."""
        raise NotImplementedError

    def transform(self, ctx: ContextT) -> TokenTransform:
        """Prune to the ``ctx.num_keep`` best-scored tokens."""
        return TokenTransform.keep(top_indices(self.score(ctx), ctx.num_keep), ctx.num_in)


def top_indices(scores_BN: Tensor, num_keep: int) -> Tensor:
    """Indices of the ``num_keep`` highest scores per row, ascending, [B, num_keep].

    A stable sort decides ties for the earlier token, on every device alike.
    """
    order_BN = scores_BN.argsort(dim=-1, descending=True, stable=True)
    return order_BN[..., :num_keep].sort(dim=-1).values
