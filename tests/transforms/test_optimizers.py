"""Transforms: formulas written out, chains, clips, and where an l1 penalty rests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipgd.config.options import TrainConfig
from mpipgd.errors import UsageError
from mpipgd.objectives import build_objective
from mpipgd.objectives.weights import views
from mpipgd.training.build import build_optimizer
from mpipgd.transforms.base import IDENTITY, chain, flatten, stateless
from mpipgd.transforms.optimizers import (
    OPTIMIZERS,
    clip_norm,
    clip_weights,
    decay,
)

from ..support import problem

each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def rate(t):
    return 0.1 / (1 + np.asarray(t, dtype=float))


def scale(factor):
    return stateless(lambda g, w: g * factor)


def constant(lr):
    return lambda t: np.full(np.shape(t), lr)


def torch_like(name, gradients, w, mu=0.9, weight_decay=0.0):
    """Return the weights after PyTorch's formulas, one weight and step at a time."""
    for j in range(w.size):
        v = m = 0.0
        for t, g in enumerate(gradients[:, j], 1):
            if name in ("momentum", "nesterov"):
                v = mu * v + g
                g = v if name == "momentum" else g + mu * v
            elif name == "adagrad":
                v += g**2
                g /= v**0.5 + 1e-10
            elif name == "rmsprop":
                v = 0.99 * v + 0.01 * g**2
                g /= v**0.5 + 1e-8
            elif name in ("adam", "adamw"):
                m, v = mu * m + (1 - mu) * g, 0.999 * v + 0.001 * g**2
                g = m / (1 - mu**t) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
            w[j] *= 1 - 0.1 / t * weight_decay
            w[j] -= 0.1 / t * g
    return w


def descend(transform, gradients, w):
    state = transform.init(w)
    for g in gradients:
        u, state = transform.update(g.copy(), state, w)
        w += u
    return w, state


@each_optimizer
def test_optimizer_equals_the_formulas(name):
    gradients = np.random.default_rng(0).normal(size=(20, 1, 6))
    w, _ = descend(OPTIMIZERS[name](rate), gradients, np.ones((1, 6)))
    expected = torch_like(name, gradients[:, 0], np.ones(6))
    np.testing.assert_allclose(w[0], expected, rtol=1e-12)


def test_adamw_decays_besides_the_gradient():
    gradients = np.random.default_rng(0).normal(size=(20, 1, 6))
    decays = np.array([0.3, 0.3, 0.3, 0.3, 0.3, 0.0])
    transform = OPTIMIZERS["adamw"](rate, weight_decay=decays)
    w, _ = descend(transform, gradients, np.ones((1, 6)))
    expected = torch_like("adamw", gradients[:, 0], np.ones(6), weight_decay=0.3)
    np.testing.assert_allclose(w[0, :5], expected[:5], rtol=1e-12)
    without = torch_like("adam", gradients[:, 0], np.ones(6))
    np.testing.assert_allclose(w[0, 5], without[5], rtol=1e-12)


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_adamw_leaves_intercepts(model):
    header, _, _ = problem()
    for decay_option, expected in ((None, 0.01), (0.2, 0.2)):
        options = TrainConfig(optimizer="adamw", weight_decay=decay_option, model=model)
        objective = build_objective(options, header)
        transform = build_optimizer(options, objective, constant(1.0), slice(None))
        g, w = np.zeros((1, objective.size)), np.ones((1, objective.size))
        g -= objective.l2_weights  # whose decay is part of the gradient
        u, _ = transform.update(g, transform.init(w), w)
        for name, view in views(u[0], objective.shapes).items():
            decays = name == "coef" or name.startswith("W")
            np.testing.assert_allclose(view, -expected if decays else 0, rtol=1e-6)


def test_weight_decay_is_adamws():
    with pytest.raises(UsageError, match="--weight-decay takes --optimizer adamw"):
        TrainConfig(optimizer="adam", weight_decay=0.1)


@each_optimizer
def test_replicas_keep_to_themselves(name):
    gradients = np.random.default_rng(1).normal(size=(10, 3, 37))
    make = lambda: chain(  # noqa: E731
        decay(np.full(37, 0.1)), clip_norm(5.0), OPTIMIZERS[name](rate)
    )
    together, _ = descend(make(), gradients, np.ones((3, 37)))
    for k in range(3):
        alone, _ = descend(make(), gradients[:, k : k + 1], np.ones((1, 37)))
        np.testing.assert_array_equal(together[k], alone[0])


@each_optimizer
def test_dumped_state_goes_on_like_the_original(name):
    gradients = np.random.default_rng(2).normal(size=(10, 2, 4))
    transform = chain(scale(0.5), OPTIMIZERS[name](rate))
    straight, _ = descend(transform, gradients, np.ones((2, 4)))
    w, state = descend(transform, gradients[:6], np.ones((2, 4)))
    dump = {path: array.copy() for path, array in flatten(state).items()}
    fresh = transform.init(w)
    for path, array in flatten(fresh).items():
        array[...] = dump[path]
    for g in gradients[6:]:
        w += transform.update(g.copy(), fresh, w)[0]
    np.testing.assert_array_equal(w, straight)


def test_state_paths_name_the_place_in_the_chain():
    transform = chain(decay(None), scale(2.0), OPTIMIZERS["adam"](rate))
    paths = flatten(transform.init(np.ones((1, 2))))
    assert list(paths) == ["1/t", "1/mean", "1/square"]


@each_optimizer
def test_float32_stays_float32(name):
    gradients = np.ones((3, 1, 4), dtype=np.float32)
    transform = OPTIMIZERS[name](rate, l1_weights=np.ones(4, dtype=np.float32))
    _, state = descend(transform, gradients, np.ones((1, 4), dtype=np.float32))
    u, _ = transform.update(gradients[0], state, np.ones((1, 4), dtype=np.float32))
    kinds = {array.dtype for path, array in flatten(state).items() if path != "t"}
    assert u.dtype == np.float32 and kinds <= {np.dtype(np.float32)}


def lasso():
    """Return (A, b, beta, optimum) of ½ wᵀAw - bᵀw + beta ‖w‖₁, A diagonal."""
    A, b, beta = np.array([1.0, 2.0, 0.5, 1.5]), np.array([1.0, -0.1, 0.2, -2.0]), 0.3
    return A, b, np.full(4, beta), np.sign(b) * np.maximum(np.abs(b) - beta, 0) / A


@each_optimizer
def test_l1_rests_at_the_optimum_with_exact_zeros(name):
    A, b, beta, optimum = lasso()
    decaying = lambda t: 0.1 / (1 + np.asarray(t) / 200)  # noqa: E731
    lr = constant(0.5) if name == "adagrad" else decaying
    transform = OPTIMIZERS[name](lr, l1_weights=beta)
    w = np.full((1, 4), 0.5)
    state = transform.init(w)
    for _ in range(4000):
        w += transform.update(A * w - b, state, w)[0]
    np.testing.assert_allclose(w[0], optimum, atol=1e-4)
    assert (w[0][optimum == 0] == 0.0).all() and (optimum == 0).any()


def test_decay_adds_the_gradient_of_the_penalty():
    g, _ = decay(np.array([0.5, 0.0])).update(np.ones((1, 2)), {}, np.full((1, 2), 4.0))
    np.testing.assert_array_equal(g, [[3.0, 1.0]])


def test_identities_fall_out_of_a_chain():
    link = scale(2.0)
    assert chain(decay(None), clip_norm(None), clip_weights(None)) is IDENTITY
    assert chain(decay(None), link) is link


def test_links_of_a_chain_apply_in_order():
    sgd = OPTIMIZERS["sgd"](constant(1.0))
    for links, expected in (
        ((clip_norm(1.0), scale(3.0), sgd), -3.0),
        ((scale(3.0), clip_norm(1.0), sgd), -1.0),
    ):
        w, _ = descend(chain(*links), np.full((1, 1, 1), 10.0), np.zeros((1, 1)))
        assert w[0, 0] == pytest.approx(expected)


def test_clip_norm_shortens_long_gradients_only():
    g = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    clipped, _ = clip_norm(1.0).update(g.copy(), {}, g)
    np.testing.assert_allclose(clipped, [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]])


numbers = st.floats(-10, 10)


@settings(deadline=None)
@given(numbers, numbers, st.floats(1e-3, 10))
def test_clipped_weights_stay_within_bounds(w, u, c):
    weights = np.clip([[w]], -c, c)
    step, _ = clip_weights(c).update(np.array([[u]]), {}, weights)
    assert abs((weights + step)[0, 0]) <= c
    if abs(weights[0, 0] + u) < 0.999 * c:
        assert step[0, 0] == u


def test_rates_beyond_a_block_are_those_of_the_schedule():
    sgd = OPTIMIZERS["sgd"](lambda t: np.asarray(t, dtype=float))
    state = sgd.init(np.zeros((1, 1)))
    for t in (0, 1023, 1024, 5000, 3, 4):
        state["t"][...] = t
        u, state = sgd.update(np.ones((1, 1)), state, np.zeros((1, 1)))
        assert u[0, 0] == -t and state["t"] == t + 1
