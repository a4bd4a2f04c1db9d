import pytest
import torch

from methods.contexts import CacheContext

NUM_HEADS, GROUP, WIDTH = 2, 3, 8


def make_context(num_in=20, num_keep=8, extra_query=False, num_sequences=2, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(num_sequences * NUM_HEADS, *shape, generator=generator)

    return CacheContext(
        sizes_BN=torch.ones(num_sequences * NUM_HEADS, num_in),
        num_keep=num_keep,
        layer=0,
        num_layers=1,
        generator=generator,
        keys_BND=2 * draw(num_in, WIDTH),
        values_BND=draw(num_in, WIDTH),
        queries_BGTD=draw(GROUP, num_in + extra_query, WIDTH),
        scaling=WIDTH**-0.5,
        num_heads=NUM_HEADS,
    )


def plain_attention(ctx):
    """One softmax at a time: probability[b][g][t] is a list over the tokens that t may see."""
    return [
        [
            [
                ((ctx.keys_BND[b, : t + 1] @ query_D) * ctx.scaling).softmax(-1).tolist()
                for t, query_D in enumerate(queries_TD)
            ]
            for queries_TD in queries_GTD
        ]
        for b, queries_GTD in enumerate(ctx.queries_BGTD)
    ]


def plain_received(ctx, num_rows):
    """Attention received from the last ``num_rows`` queries, averaged over the group, as lists."""
    received = [[0.0] * ctx.num_in for _ in range(ctx.batch)]
    for b, heads in enumerate(plain_attention(ctx)):
        for rows in heads:
            for row in rows[max(len(rows) - num_rows, 0) :]:
                for token, probability in enumerate(row):
                    received[b][token] += probability / len(heads)
    return received


def kept_by(method, ctx):
    """Positions that the method keeps, per row of the batch."""
    transform = method.transform(ctx)
    assert transform.num_in == ctx.num_in
    assert transform.num_out == ctx.num_keep
    assert torch.equal(transform.rows, torch.arange(ctx.num_keep).expand(ctx.batch, -1))
    assert (transform.weights == 1).all()
    return transform.cols.tolist()


def best(scores, candidates, count):
    """The ``count`` candidates with the highest scores."""
    return sorted(candidates, key=lambda token: -scores[token])[:count]


@pytest.fixture(params=[False, True], ids=["all-cached", "last-query-extra"])
def extra_query(request):
    """Whether the prompt's last token has a query but no entry."""
    return request.param


@pytest.fixture
def context():
    """Makes contexts of random keys, values and queries."""
    return make_context


@pytest.fixture
def attention():
    """Slow, plain attention rows."""
    return plain_attention


@pytest.fixture
def received():
    """Slow, plain attention sums."""
    return plain_received


@pytest.fixture
def kept():
    """Runs a method."""
    return kept_by


@pytest.fixture
def highest():
    """Slow, plain selection."""
    return best
