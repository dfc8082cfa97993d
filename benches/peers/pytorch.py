#!/usr/bin/env python3
"""slidebench's network in PyTorch: the same data, first weights, batches, loss and optimiser, the same records.

    slidebench export moby --out peer-data
    python benches/peers/pytorch.py train peer-data
    python benches/peers/pytorch.py step --labels 670091        # random data: what a step costs

`README.md` beside this file says what is equal and what is not.
"""

import argparse
import contextlib
import csv
import datetime
import json
import os
import pathlib
import shutil
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

FLOOR = 1e-4  # relative difference of a loss that --check forgives in f32


class Network:
    """Parameters, forward pass and optimiser. The first layer is a row of H weights an input feature."""

    def __init__(self, parameters, training, options):
        self.device = torch.device(options.device)
        self.options, self.training = options, training
        put = lambda array: torch.from_numpy(array).to(self.device)
        count = len(parameters) // 2
        self.weights = [put(parameters[f"layer{i}.weight"]) for i in range(count)]
        self.biases = [put(parameters[f"layer{i}.bias"]) for i in range(count)]
        self.step_number = 0
        # Lazy rows: the first layer's rows that a batch has no feature for stay as they are, moments included.
        self.lazy = options.sparse and training["input-rows"] == "lazy"
        dense = self.weights[self.lazy :] + self.biases
        for tensor in dense:
            tensor.requires_grad_()
        if self.lazy:
            self.first_m = torch.zeros_like(self.weights[0])
            self.first_v = torch.zeros_like(self.weights[0])
        if options.adam == "hand":
            self.dense = [(w, torch.zeros_like(w), torch.zeros_like(w)) for w in dense]
        else:
            betas = (training["beta1"], training["beta2"])
            self.adam = torch.optim.Adam(
                dense, lr=training["learning-rate"], betas=betas, eps=training["epsilon"], fused=True
            )
        narrow = {"bf16": torch.bfloat16}.get(options.precision)
        self.cast = lambda: torch.autocast(self.device.type, narrow) if narrow else contextlib.nullcontext()
        self.loss_of = torch.compile(self.loss) if options.compile else self.loss

    def hidden(self, batch, rows=None):
        """Activations of the last hidden layer, B x H. `rows` are the first layer's rows, one a distinct feature."""
        if batch.dense is not None:
            h = batch.dense @ self.weights[0]
        else:
            table = self.weights[0] if rows is None else rows
            ids = batch.features if rows is None else batch.places
            h = F.embedding_bag(ids, table, batch.offsets, mode="sum", per_sample_weights=batch.values)
        h = torch.relu(h + self.biases[0])
        for weight, bias in zip(self.weights[1:-1], self.biases[1:-1]):
            h = torch.relu(F.linear(h, weight, bias))
        return h

    def loss(self, batch_tensors, rows):
        batch = Batch.of(batch_tensors)
        with self.cast():
            h = self.hidden(batch, rows)
            logits = F.linear(h, self.weights[-1], self.biases[-1])
        if self.options.compile:
            # Written plainly: the compiler fuses it.
            picked = logits[batch.label_rows, batch.labels].float()
            mass = torch.zeros(batch.size, device=logits.device).index_add_(0, batch.label_rows, batch.label_mass)
            return ((mass * torch.logsumexp(logits.float(), 1)).sum() - (batch.label_mass * picked).sum()) / batch.size
        return SoftmaxLoss.apply(logits, batch.label_rows, batch.labels, batch.label_mass)

    def step(self, batch):
        """One step; returns the loss as a tensor on the device, so that nothing waits for it."""
        self.step_number += 1
        rows = self.weights[0][batch.distinct].requires_grad_() if self.lazy else None
        loss = self.loss_of(batch.tensors(), rows)
        loss.backward()
        with torch.no_grad():
            self.update(batch, rows)
        return loss.detach()

    def update(self, batch, rows):
        t, (beta1, beta2) = self.step_number, (self.training["beta1"], self.training["beta2"])
        correction = (1 - beta2**t) ** 0.5
        rate = self.training["learning-rate"] * correction / (1 - beta1**t)
        epsilon = self.training["epsilon"]

        def move(w, m, v, g):
            """Adam as slidebench, TensorFlow and SLIDE's code have it: epsilon beside the uncorrected root."""
            m.lerp_(g, 1 - beta1)
            v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            w.addcdiv_(m, v.sqrt().add_(epsilon), value=-rate)

        if self.lazy:
            place = batch.distinct
            w, m, v = rows.detach(), self.first_m[place], self.first_v[place]
            move(w, m, v, rows.grad)
            for table, part in ((self.weights[0], w), (self.first_m, m), (self.first_v, v)):
                table[place] = part
        if self.options.adam == "hand":
            for w, m, v in self.dense:
                move(w, m, v, w.grad)
                w.grad = None
        else:
            # PyTorch adds epsilon to the corrected root; divided by the correction it is the same formula.
            scaled = epsilon / correction if self.options.adam == "fused" else epsilon
            for group in self.adam.param_groups:
                group["eps"] = scaled
            self.adam.step()
            self.adam.zero_grad(set_to_none=True)

    @torch.no_grad()
    def best(self, batch, k):
        with self.cast():
            logits = F.linear(self.hidden(batch), self.weights[-1], self.biases[-1])
        return logits.topk(min(k, logits.shape[1]), 1).indices.cpu().numpy()


class SoftmaxLoss(torch.autograd.Function):
    """Cross-entropy with mass 1/n on each true label: autograd's own version makes three more B x L tensors."""

    @staticmethod
    def forward(ctx, logits, rows, labels, mass):
        size = logits.shape[0]
        lse = torch.logsumexp(logits.float(), 1)
        whole = torch.zeros(size, device=logits.device).index_add_(0, rows, mass)  # 1, or 0 for a row without labels
        ctx.save_for_backward(logits, lse, whole, rows, labels, mass)
        picked = logits[rows, labels].float()
        return ((whole * lse).sum() - (mass * picked).sum()) / size

    @staticmethod
    def backward(ctx, grad):
        logits, lse, whole, rows, labels, mass = ctx.saved_tensors
        share = grad / logits.shape[0]
        # log-sum-exp moved by the logarithm of the row's share: one pass for subtraction, one for exp.
        shift = (lse - torch.log(whole * share)).unsqueeze(1)
        gradient = torch.sub(logits, shift).exp_()  # f32, whatever the logits are
        gradient.index_put_((rows, labels), (-mass * share).to(gradient.dtype), accumulate=True)
        return gradient.to(logits.dtype), None, None, None


class Batch:
    """B samples on the device."""

    NAMES = ("features", "places", "distinct", "values", "offsets", "dense", "label_rows", "labels", "label_mass")

    @classmethod
    def of(cls, tensors):
        batch = cls()
        batch.__dict__.update(zip(cls.NAMES, tensors))
        batch.size = (batch.offsets if batch.dense is None else batch.dense).shape[0]
        return batch

    def tensors(self):
        return tuple(getattr(self, name) for name in self.NAMES)


class Split:
    """One side of a data set: compressed rows of features (or dense ones) and label lists, as numpy arrays."""

    def __init__(self, tensors, side):
        get = lambda name: tensors.get(f"{side}.{name}")
        self.offsets, self.indices, self.values = get("offsets"), get("indices"), get("values")
        self.dense, self.label_offsets, self.labels = get("dense"), get("label_offsets"), get("labels")

    def batch(self, rows, device):
        move = lambda array: to_device(np.ascontiguousarray(array), device)
        tensors = dict.fromkeys(Batch.NAMES)
        if self.dense is None:
            entries, lengths = spans(self.offsets, rows)
            features = self.indices[entries].astype(np.int64)
            distinct, places = np.unique(features, return_inverse=True)
            starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
            tensors |= {"features": move(features), "places": move(places), "distinct": move(distinct)}
            tensors |= {"values": move(self.values[entries]), "offsets": move(starts)}
        else:
            tensors["dense"] = move(self.dense[rows])
        entries, counts = spans(self.label_offsets, rows)
        tensors["label_rows"] = move(np.repeat(np.arange(len(rows)), counts))
        tensors["labels"] = move(self.labels[entries].astype(np.int64))
        tensors["label_mass"] = move(np.repeat((1 / np.maximum(counts, 1)).astype(np.float32), counts))
        return Batch.of([tensors[name] for name in Batch.NAMES])

    def truth(self, rows):
        return [self.labels[int(self.label_offsets[r]) : int(self.label_offsets[r + 1])] for r in rows]


def spans(offsets, rows):
    """Places of all entries of `rows`, one row after another, and the rows' lengths."""
    starts = offsets[rows].astype(np.int64)
    lengths = offsets[rows + 1].astype(np.int64) - starts
    ends = np.cumsum(lengths)
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
    return places, lengths


def to_device(array, device):
    tensor = torch.from_numpy(array)
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def wait(options):
    if options.device != "cpu":
        torch.cuda.synchronize()


def name(options):
    mode = "compiled" if options.compile else "eager"
    return f"pytorch-{'cpu' if options.device == 'cpu' else 'gpu'}:{mode}-{options.precision}"


def device_name(options):
    if options.device != "cpu":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as cpu:
        return next((line.split(":", 1)[1].strip() for line in cpu if line.startswith("model name")), "CPU")
    return "CPU"


def precision_at(split, rows, network, batch_size, options):
    """P@1, P@3, P@5 over the rows that have labels, and how many have."""
    hits, counted = np.zeros(3), 0
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        best = network.best(split.batch(part, options.device), 5)
        for truth, answer in zip(split.truth(part), best):
            if len(truth):
                found = np.isin(answer, truth)
                hits += [found[:k].sum() / k for k in (1, 3, 5)]
                counted += 1
    return hits / max(counted, 1), counted


class Records:
    """Appends rows to `<results>/<date>-<machine>/<experiment>-<peer>.csv`, in the columns slidebench writes."""

    def __init__(self, folder, meta, options):
        day = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        place = pathlib.Path(options.results) / f"{day}-{meta['machine']}"
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "machine.toml").exists():
            shutil.copy(folder / "machine.toml", place)
        self.path, self.columns = place / f"{options.experiment}-pytorch.csv", meta["columns"]
        if not self.path.exists():
            self.line(self.columns)
        elif self.path.open().readline().rstrip("\n").split(",") != self.columns:
            sys.exit(f"{self.path}: its columns are those of another version of slidebench; move it aside")

    def line(self, cells):
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)
            file.flush()
            os.fsync(file.fileno())

    def row(self, cells):
        unknown = cells.keys() - set(self.columns)
        assert not unknown, f"records have no columns {unknown}"
        self.line(["" if cells.get(column) is None else cells[column] for column in self.columns])


def train(options):
    from safetensors.numpy import load_file

    folder = pathlib.Path(options.folder)
    meta = json.loads((folder / "meta.json").read_text())
    tensors = load_file(folder / "data.safetensors")
    train_split, test_split = Split(tensors, "train"), Split(tensors, "test")
    training = meta["training"]
    if options.learning_rate:
        training["learning-rate"] = options.learning_rate
    options.sparse = train_split.dense is None
    started = time.perf_counter()
    parameters = load_file(folder / "parameters.safetensors")
    loaded = time.perf_counter()
    network = Network(parameters, training, options)
    wait(options)
    setup = time.perf_counter() - loaded
    size, order = training["batch"], tensors["order"].astype(np.int64)
    if options.check:
        sys.exit(check(network, train_split, order[0], size, meta["check"]["losses"], options))

    rows = order.shape[1]
    per_epoch = -(-rows // size)
    last = options.steps or order.shape[0] * per_epoch
    if last > order.shape[0] * per_epoch:
        sys.exit(f"--steps {last} wants more than the {order.shape[0]} epochs that were exported: export more --epochs")
    records = Records(folder, meta, options)
    facts = {
        "experiment": options.experiment,
        "dataset": meta["dataset"],
        "fingerprint": meta["fingerprint"],
        "engine": name(options),
        "options": "{}",
        "seed": meta["seed"],
        "threads": torch.get_num_threads(),
        "batch": size,
        "learning_rate": training["learning-rate"],
        "stage": "train",
        "settings": f"pytorch {torch.__version__} {name(options)} {options.adam} {meta['seed']} {training} {last}",
        "status": "ok",
        "inference": "dense",
        "device": device_name(options),
        "precision": options.precision,
        "software": "false",
        "notes": f"pytorch={torch.__version__}; adam={options.adam}; compiled={str(options.compile).lower()}",
        "flops_per_step": meta["check"].get("flops_per_step"),
    }
    clock = {"train": 0.0, "cpu": 0.0}
    step, seen, loss, turn = 0, 0, None, 0
    spacing = max(per_epoch / options.evaluations, 1.0)

    def evaluate(chosen, kind):
        before = time.perf_counter()
        (p1, p3, p5), counted = precision_at(test_split, chosen, network, size, options)
        now = time.perf_counter()
        memory = 0 if options.device == "cpu" else torch.cuda.max_memory_allocated()
        records.row(facts | {
            "evaluation": kind, "eval_rows": counted, "step": step, "samples": seen, "epoch": seen / rows,
            "loss": loss, "p1": p1, "p3": p3, "p5": p5, "train_s": clock["train"], "cpu_s": clock["cpu"],
            "total_s": now - started, "setup_s": setup, "eval_s": now - before, "device_bytes": memory or None,
            "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        })
        print(f"{name(options)} step {step}: loss {loss}, P@1 {p1:.4f} on {counted}, {clock['train']:.2f} s", flush=True)

    sample = tensors["sample"].astype(np.int64)
    evaluate(sample, "sample")
    while step < last:
        turn += 1
        pause = min(int(turn * spacing + 0.5), last)
        losses, weights = [], []
        wall, cpu = time.perf_counter(), time.process_time()
        while step < pause:
            epoch, at = divmod(step, per_epoch)
            chosen = order[epoch, at * size : (at + 1) * size]
            losses.append(network.step(train_split.batch(chosen, options.device)))
            weights.append(len(chosen))
            step, seen = step + 1, seen + len(chosen)
        wait(options)
        clock["train"] += time.perf_counter() - wall
        clock["cpu"] += time.process_time() - cpu
        if losses:
            loss = float(np.average([float(l) for l in losses], weights=weights))
            if not np.isfinite(loss):
                records.row(facts | {"status": "failed", "reason": f"diverged at step {step}", "step": step})
                sys.exit(f"diverged: the loss is {loss} at step {step}")
            evaluate(sample, "sample")
    evaluate(np.arange(len(test_split.label_offsets) - 1), "full")
    print(f"records: {records.path}")


def check(network, split, order, size, wanted, options):
    """Compares the first losses with dense-cpu's; returns the exit code."""
    worst = 0.0
    for step, loss in enumerate(wanted):
        ours = float(network.step(split.batch(order[step * size : (step + 1) * size], options.device)))
        worst = max(worst, abs(ours - loss) / max(abs(loss), 1e-30))
        print(f"step {step + 1:3}  dense-cpu {loss:.7f}  {name(options)} {ours:.7f}  {abs(ours - loss) / loss:.1e}")
    floor = FLOOR if options.precision == "f32" else 2e-2
    if not wanted:
        print("nothing to compare with: export with --check 20", file=sys.stderr)
        return 1
    print(f"largest relative difference {worst:.1e}, {'within' if worst <= floor else 'NOT within'} {floor:g}")
    return int(worst > floor)


def random_split(rng, rows, inputs, labels):
    """76 features and 5 labels a row, as in examples/dense_step.rs."""
    draw = lambda count, below: [np.unique(rng.integers(0, below, count)) for _ in range(rows)]
    offsets = lambda lists: np.concatenate(([0], np.cumsum([len(l) for l in lists]))).astype(np.uint64)
    features, truth = draw(76, inputs), draw(5, labels)
    indices = np.concatenate(features).astype(np.uint32)
    return Split({
        "x.offsets": offsets(features), "x.indices": indices, "x.values": np.full(len(indices), 0.1, np.float32),
        "x.label_offsets": offsets(truth), "x.labels": np.concatenate(truth).astype(np.uint32),
    }, "x")  # fmt: skip


def step(options):
    """Times steps on random data in the shape of Amazon-670K."""
    rng = np.random.default_rng(1)
    inputs, hidden, labels, size = options.inputs, options.hidden, options.labels, options.batch
    draw = lambda rows, width: rng.standard_normal((rows, width), np.float32) * (2 / (rows + width)) ** 0.5
    parameters = {
        "layer0.weight": draw(inputs, hidden), "layer0.bias": np.zeros(hidden, np.float32),
        "layer1.weight": draw(labels, hidden), "layer1.bias": np.zeros(labels, np.float32),
    }  # fmt: skip
    options.sparse = True
    training = {"learning-rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "input-rows": "lazy"}
    network = Network(parameters, training, options)
    split = random_split(rng, 8 * size, inputs, labels)
    batches = [split.batch(np.arange(i * size, (i + 1) * size), options.device) for i in range(8)]
    for batch in batches[:3]:  # the first allocate and compile
        network.step(batch)
    wait(options)
    times, cpus = [], []
    block = 1 if options.device == "cpu" else 10  # a GPU's queue is filled before it is timed
    for turn in range(options.steps):
        before, cpu = time.perf_counter(), time.process_time()
        for i in range(block):
            loss = network.step(batches[(turn * block + i) % 8])
        wait(options)
        times.append((time.perf_counter() - before) / block)
        cpus.append((time.process_time() - cpu) / block)
    flops = 6 * size * hidden * labels
    best = statistics.median(times)
    print(
        f"{name(options)} {device_name(options)} L {labels} threads {torch.get_num_threads()} adam {options.adam}: "
        f"{best * 1e3:.2f} ms a step (least {min(times) * 1e3:.2f}), {statistics.median(cpus):.3f} CPU s, "
        f"{flops / best / 1e9:.0f} GFLOP/s, loss {float(loss):.4f}"
        + ("" if options.device == "cpu" else f", {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    trains = verbs.add_parser("train", help="train on what `slidebench export` wrote, and record it")
    trains.set_defaults(run=train)
    trains.add_argument("folder")
    trains.add_argument("--check", action="store_true", help="compare the first losses with dense-cpu's, and end")
    trains.add_argument("--steps", type=int, help="[default: all epochs that were exported]")
    trains.add_argument("--learning-rate", type=float, help="instead of the exported one")
    trains.add_argument("--evaluations", type=int, default=4, help="an epoch [default: 4]")
    trains.add_argument("--experiment", default="default", help="whose figures to join [default: default]")
    trains.add_argument("--results", default="results")
    steps = verbs.add_parser("step", help="time steps on random data")
    steps.set_defaults(run=step)
    for flag, default in {"inputs": 135_909, "hidden": 128, "labels": 670_091, "batch": 256, "steps": 5}.items():
        steps.add_argument(f"--{flag}", type=int, default=default)
    for verb in (trains, steps):
        verb.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
        verb.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32")
        verb.add_argument("--compile", action="store_true", help="torch.compile the loss and its gradient")
        verb.add_argument("--adam", choices=["fused", "plain-fused", "hand"], default="fused",
                          help="fused with epsilon rescaled to our formula; as PyTorch has it; or our formula by hand")  # fmt: skip
        verb.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this PyTorch sees no CUDA device; --device cpu runs without one")
    if options.precision == "tf32" and options.device == "cpu":
        sys.exit("tf32 is a CUDA precision; use f32 or bf16 on a CPU")
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high" if options.precision == "tf32" else "highest")
    options.run(options)


if __name__ == "__main__":
    main()
