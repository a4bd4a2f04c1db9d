"""The names that requests in OpenAI's shape may give as their model."""

from __future__ import annotations

import time
from collections.abc import Mapping

from methods.naming import unknown
from orchestrator.serving.messages import TextCard
from orchestrator.serving.openai_schemas import ModelCard, Request
from orchestrator.serving.points import AUTO, point_name
from orchestrator.serving.router import Route, Routing, UnknownNameError, UnroutableError, Wish
from orchestrator.serving.schemas import ConfigurationCard
from store.releases.release import Configuration, Release, Workload


class Names:
    """Which point a model's name means."""

    def __init__(self, release: Release, router: Routing, cards: Mapping[str, TextCard]) -> None:
        self._router = router
        self._cards = cards
        self._workloads = {
            w.name: w for w in release.workloads if w.configurations[0].trial in cards
        }
        self._created = int(time.time())

    def route(self, request: Request) -> Route:
        """The point for a request.

        Raises UnknownNameError for other names, UnroutableError where a budget cannot be kept.
        """
        workload, trial = self._parsed(request.model, request.has_images)
        wish = Wish(workload, trial, request.max_cost, request.min_quality)
        route = self._router.route(wish)
        if route.configuration.trial not in self._cards:
            raise UnroutableError(
                f"workload {route.workload.name!r} gives no text; ask it with /v1/predict"
            )
        return route

    def cards(self) -> list[ModelCard]:
        """Every name."""
        found = [self._auto(w, f"{w.name}:{AUTO}") for w in self._workloads.values()]
        if len(self._workloads) == 1:
            found = [self._auto(w, AUTO) for w in self._workloads.values()] + found
        return found + [
            self._card(w, c, point_name(w, c))
            for w in self._workloads.values()
            for c in w.configurations
        ]

    def card(self, name: str) -> ModelCard:
        """Of one name. Raises UnknownNameError."""
        cards = {card.id: card for card in self.cards()}
        if name not in cards:
            raise UnknownNameError(unknown("model", name, cards))
        return cards[name]

    def _parsed(self, name: str, has_images: bool) -> tuple[str | None, str | None]:
        """Workload and trial; either may be left to the router."""
        if name == AUTO:
            return self._only_workload(has_images), None
        if name.endswith(f":{AUTO}"):
            return name.removesuffix(f":{AUTO}"), None
        workload, slash, trial = name.rpartition("/")
        known = {c.trial for w in self._workloads.values() for c in w.configurations}
        if trial not in known or (slash and workload not in self._workloads):
            choices = [card.id for card in self.cards()]
            raise UnknownNameError(unknown("model", name, choices))
        return (workload if slash else None), trial

    def _only_workload(self, has_images: bool) -> str:
        """What ``auto`` alone means: the one workload that sees images, or the one that does not.

        Raises UnroutableError where there is not exactly one.
        """
        first = {
            name: self._cards[w.configurations[0].trial] for name, w in self._workloads.items()
        }
        fitting = [name for name, card in first.items() if bool(card.images) == has_images]
        if len(fitting) == 1:
            return fitting[0]
        choices = ", ".join(f"{name}:{AUTO}" for name in first) or "none"
        what = "with" if has_images else "without"
        raise UnroutableError(
            f"{len(fitting)} workloads take prompts {what} images; name one (choices: {choices})"
        )

    def _auto(self, workload: Workload, name: str) -> ModelCard:
        return self._card(workload, workload.configurations[0], name).model_copy(
            update={"configuration": None, "measured": None}
        )

    def _card(self, workload: Workload, configuration: Configuration, name: str) -> ModelCard:
        card = self._cards[configuration.trial]
        return ModelCard(
            id=name,
            created=self._created,
            workload=workload.name,
            configuration=ConfigurationCard.of(configuration),
            measured=configuration.measured,
            tokenizer=card.tokenizer,
            chat_template=card.chat,
            images=card.images,
            context_length=card.context_length,
        )
