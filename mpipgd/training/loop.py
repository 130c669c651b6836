"""The one loop of all strategies."""


def train(gradient, transform, store, hooks, *, state, steps, step=0, descend=None):
    """Take the updates `step` … `steps`-1, or until a hook says stop; return the next.

    At each update, for all hosted workers at once:

        g = gradient(w, t);  u, state = transform.update(g, state, w);  store.push(u)

    Store and hooks each name the next step at which they have something to do.
    Between those, `descend(weights, step, until)` takes the updates if it is given.
    """
    while step < steps:
        until = min(steps, store.next(step), hooks.next(step))
        if descend:
            descend(store.pull(), step, until)
        else:
            for t in range(step, until):
                weights = store.pull()
                update, state = transform.update(gradient(weights, t), state, weights)
                store.push(update)
        step = until
        store.synchronize(step)
        if hooks(step, state):
            break
    store.finalize(step)
    return step
